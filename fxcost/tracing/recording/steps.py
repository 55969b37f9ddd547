"""What a recording holds: the calls of operators in their order, and the tensors that run through them."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportPrivateUsage=false
# Torch's storages and trees are private and typed in part; this folder is the border that keeps them from the rest.

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch._ops import OpOverload

from fxcost.graph import Layer
from fxcost.tracing.sizes.tensors import Layout, layout_of, storage_of, tensors_in

_OPERATORS = torch.library.Library("fxcost", "DEF")
_OPERATORS.define("leaf(Tensor[] inputs, Tensor[] weights) -> Tensor[]")
_OPERATORS.define("unreached(Tensor[] weights) -> Tensor[]")
_OPERATORS.define("unseen() -> Tensor")
LEAF, UNREACHED, UNSEEN = (getattr(torch.ops.fxcost, name).default for name in ("leaf", "unreached", "unseen"))
"""Stand for a submodule that is not looked into, for what follows one that cannot be run, and for work that no run records."""


@dataclass(frozen=True)
class Step:
    """One call of an operator."""

    operator: OpOverload
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any
    layer: Layer

    @cached_property
    def taken(self) -> tuple[torch.Tensor, ...]:
        """The tensors that it is called with."""
        return tuple(tensors_in((self.args, self.kwargs)))

    @cached_property
    def made(self) -> tuple[torch.Tensor, ...]:
        """Its results."""
        return tuple(tensors_in(self.result))


@dataclass
class Recording:
    """The operators that ran, in their order, and the modules that called them."""

    steps: list[Step] = field(default_factory=list)
    modules: dict[str, str] = field(default_factory=dict)
    output: Any = None
    ended: str = ""
    """The leaf that could not be run, and why; nothing after it is recorded."""
    assumptions: list[str] = field(default_factory=list)
    """What the model was told that it asked for, other than in a plain run."""

    asks_layout: bool = False
    """Whether the model's code asked how a tensor lies in memory."""
    made_of_numbers: list[torch.Tensor] = field(default_factory=list[torch.Tensor])
    """Tensors that the model's code made without any of its data."""
    layouts: dict[int, Layout] = field(default_factory=dict)
    """Of tensors that steps took or gave, by identity: asking torch takes long."""

    def layout(self, tensor: torch.Tensor) -> Layout:
        """How a tensor of the run lies in memory."""
        found = self.layouts.get(id(tensor))
        if found is None:
            found = self.layouts[id(tensor)] = layout_of(tensor)
        return found

    def assume(self, assumption: str) -> None:
        """Write down once what the run takes for granted."""
        if assumption not in self.assumptions:
            self.assumptions.append(assumption)


def originals(recording: Recording, known: Iterable[int]) -> dict[int, torch.Tensor]:
    """For tensors that no step gave, the result that each is another handle of: torch hands out copies of new tensors.

    ``known`` are the identities of the tensors that the run was given.
    """
    made: dict[int, torch.Tensor] = {}
    known = set(known)
    found: dict[int, torch.Tensor] = {}

    def look_at(tensors: Iterable[torch.Tensor]) -> set[int]:
        storages: set[int] = set()
        for tensor in tensors:
            storage = storage_of(tensor)
            storages.add(storage)
            if id(tensor) not in known and storage in made:
                found[id(tensor)] = made[storage]
        return storages

    for step in recording.steps:
        taken = look_at(step.taken)
        for tensor in step.made:
            known.add(id(tensor))
            if (storage := storage_of(tensor)) not in taken:
                made.setdefault(storage, tensor)
    look_at(tensors_in(recording.output))
    return found
