"""Parameters of each operation: every distinct one counted once, at the operation that uses it first."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch.fx import Graph, Node

from fxcost.graph import OUTPUTS, PARAMETER, WEIGHT, Key, operations, placeholders
from fxcost.graph.pipeline import graph_pass
from fxcost.passes.verdict import VERDICT


@dataclass(frozen=True)
class Parameters:
    """How many parameter elements an operation is the first to use, and whether it uses any that came before."""

    count: int
    shared: bool


PARAMETERS: Key[Parameters] = Key("fxcost.parameters")


@graph_pass(provides=PARAMETERS, requires=(VERDICT, OUTPUTS, PARAMETER))
def parameters(graph: Graph) -> Mapping[Node, Parameters]:
    """Count parameters by the storage they live in, so that a view of one is still that one."""
    sizes = _sizes(graph)
    seen: set[int] = set()
    table: dict[Node, Parameters] = {}
    for node, storages in used_storages(graph).items():
        used = storages & sizes.keys()
        table[node] = Parameters(sum(sizes[storage] for storage in used - seen), bool(used & seen))
        seen |= used
    return table


def used_storages(graph: Graph) -> Mapping[Node, set[int]]:
    """The storages that each operation works on; none for one that only makes a view."""
    return {
        node: set()
        if VERDICT[node].coverage == "free"
        else {tensor.storage for source in node.all_input_nodes for tensor in OUTPUTS[source]}
        for node in operations(graph)
    }


def _sizes(graph: Graph) -> dict[int, int]:
    return {OUTPUTS[n][0].storage: PARAMETER[n] for n in placeholders(graph) if n in PARAMETER}


def unused_parameters(graph: Graph) -> Mapping[str, tuple[int, ...]]:
    """Parameters that no operation uses, by name: the shape of each."""
    used = set[int]().union(*used_storages(graph).values())
    left: dict[int, tuple[str, tuple[int, ...]]] = {}
    for node in placeholders(graph):
        if node in PARAMETER and OUTPUTS[node][0].storage not in used:
            (tensor,) = OUTPUTS[node]
            left.setdefault(tensor.storage, (WEIGHT[node], tuple(map(int, tensor.shape))))
    return dict(left.values())
