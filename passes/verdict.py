"""What is known of each operation: counted by a rule, free, or unknown; the first pass, which others read."""

from collections.abc import Mapping

from torch.fx import Graph, Node

from fxcost.graph import LAYER, OUTPUTS, SIZE, Key, operations
from fxcost.graph.pipeline import graph_pass
from fxcost.ops.rules import Verdict, judge, telling_layer

VERDICT: Key[Verdict] = Key("fxcost.verdict")


@graph_pass(provides=VERDICT, requires=(OUTPUTS, SIZE, LAYER))
def verdict(graph: Graph) -> Mapping[Node, Verdict]:
    """Judge each operation once, with its call as rules read it."""
    found: dict[Node, Verdict] = {}
    for node in operations(graph):
        with telling_layer(node):
            found[node] = judge(node)
    return found
