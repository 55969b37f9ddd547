"""What is traced: a model, and what it is called with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from fxcost.inputs import Arguments


@dataclass(frozen=True)
class Source:
    """A model ready to trace: its module, or the path of an exported program, and its inputs' usual sizes."""

    ref: str
    module: torch.nn.Module | None
    arguments: Arguments
    defaults: Mapping[str, int] = field(default_factory=dict[str, int])
    reaches: Mapping[str, tuple[int | str, int | str]] = field(default_factory=dict[str, tuple[int | str, int | str]])
    """The least and the greatest value in an input, by its name, where that is known: a number or a symbol."""
    program: Path | None = None
    leaves: tuple[str, ...] = ()
    """Submodules that stand for what no formula of sizes tells, each counted as one unknown call."""
    assumptions: tuple[str, ...] = ()
    """What is taken for granted of the way it is called."""
