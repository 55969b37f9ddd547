"""What a model is traced and evaluated for: the options that Python and the command line share, and their defaults."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch.fx import Graph

    from fxcost.graph.pipeline import Pass

Attention = Literal["fused", "math"]
"""How attention touches memory."""
Mode = Literal["forward", "decode"]
"""What a model is run for."""
Fusion = Literal["none", "pointwise", "epilogue", "ideal"]
"""Which operations run as one kernel: each alone; as torch.compile joins them; contractions with what follows them; all."""
Experts = Literal["expected", "most"]
"""How many experts are read: as expected under uniform routing, or each choice another as long as there are others."""
Cache = Literal["ignore", "ideal"]
"""Whether what stays in a machine's last-level cache from call to call counts as moved: ignored, or kept there ideally."""
Look = Callable[["Graph", tuple[str, ...]], None]
"""Is given a graph, and the names of its annotations."""


@dataclass(frozen=True)
class Request:
    """What to trace a model for."""

    symbolic: str | None = None
    """Such as ``H%32,W,B``; None for every symbol its inputs have."""
    sizes: Mapping[str, int] | None = None
    budget: float = 60.0
    """Seconds a trace may take before sizes of images are fixed."""
    attention: Attention = "fused"
    causal_skip: bool = False
    strict: bool = False
    passes: "tuple[Pass[Any], ...]" = ()
    leaves: tuple[str, ...] = ()
    """Paths of submodules, each counted as one unknown call."""
    mode: Mode = "forward"
    look: Look | None = None
    """Is shown the graph once all passes have run."""
