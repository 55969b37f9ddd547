"""Models whose code in transformers copies or converts the cache, which serving engines do not."""

from torch.fx import Graph

from fxcost.errors import FxcostError
from fxcost.graph import LAYER, operations
from fxcost.passes.flops import FLOPS
from fxcost.passes.traffic import TRAFFIC


def refuse_copies(ref: str, graph: Graph) -> None:
    """Raise `FxcostError` where anything but a product of attention reads the cache, in a graph that passes have run over."""
    for node in operations(graph):
        if "state" in TRAFFIC[node].reads and FLOPS[node].matrix == 0:
            raise FxcostError(
                f"{ref}: {LAYER[node].module} runs {node.target} over its whole cache before attention, as this model's code in "
                "transformers has it;\n--mode decode would count what no serving engine moves"
            )
