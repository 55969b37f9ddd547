"""What each layer of a PyTorch model costs, as formulas, and where it stands on a machine's roofline."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fxcost.api import CostModel, load, trace
    from fxcost.costs.model import Cost, LayerCost
    from fxcost.errors import FxcostError
    from fxcost.graph import Key
    from fxcost.graph.pipeline import Pass, Pipeline, graph_pass
    from fxcost.machines.sheets import Platform, load_platform, platform_names
    from fxcost.ops import contraction, free, op, per_input, per_output

_HOMES = {
    "trace": "api",
    "load": "api",
    "Cost": "costs.model",
    "CostModel": "api",
    "LayerCost": "costs.model",
    "FxcostError": "errors",
    "Platform": "machines.sheets",
    "load_platform": "machines.sheets",
    "platform_names": "machines.sheets",
    "Key": "graph",
    "Pass": "graph.pipeline",
    "Pipeline": "graph.pipeline",
    "graph_pass": "graph.pipeline",
    "contraction": "ops",
    "free": "ops",
    "op": "ops",
    "per_input": "ops",
    "per_output": "ops",
}
"""Public names and the modules that hold them, which load when a name is first used: torch and sympy are slow."""

__all__ = [
    "Cost",
    "CostModel",
    "FxcostError",
    "Key",
    "LayerCost",
    "Pass",
    "Pipeline",
    "Platform",
    "contraction",
    "free",
    "graph_pass",
    "load",
    "load_platform",
    "op",
    "per_input",
    "per_output",
    "platform_names",
    "trace",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fxcost' has no attribute {name!r}")
    return getattr(import_module(f"fxcost.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
