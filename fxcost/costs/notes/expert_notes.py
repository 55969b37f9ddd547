"""How experts of a mixture ran, read off the graph: those that a router picks, or all of them."""

from collections import defaultdict
from collections.abc import Collection, Iterator

from torch.fx import Graph, Node

from fxcost.graph import LAYER, OUTPUTS, WEIGHT, operations, placeholders
from fxcost.passes.flops import FLOPS
from fxcost.passes.verdict import VERDICT

BATCHED = frozenset({"aten.bmm.default", "aten.matmul.default", "aten.baddbmm.default"})


def expert_notes(graph: Graph) -> tuple[str, ...]:
    """What is assumed of experts in a graph that passes have run over; nothing where there are none."""
    notes: list[str] = []
    if any(FLOPS[node].rule == "grouped_matrix_product" for node in operations(graph)):
        notes.append(
            "tokens pick experts uniformly: of E experts Touched(E, k, tokens) = E·(1 − (1 − k/E)^tokens) are read where each "
            "token picks k, an expectation (--experts most: as many as there can be)"
        )
    modules: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
    for node, number in _all_multiplied(graph):
        modules[LAYER[node].module_type, number].add(LAYER[node].module)
    notes += [
        f"all {number} experts run on every token in {len(paths)} layers: {name} multiplies them all, whatever a router picks"
        for (name, number), paths in modules.items()
    ]
    return tuple(notes)


def _all_multiplied(graph: Graph) -> Iterator[tuple[Node, int]]:
    """Each product of all experts' matrices at once, and how many they are; experts that are shared are meant to run."""
    weights = {OUTPUTS[node][0].storage for node in placeholders(graph) if node in WEIGHT}
    for node in operations(graph):
        name = LAYER[node].module_type
        if str(node.target) in BATCHED and name.endswith("Experts") and "Shared" not in name:
            number = _experts(node, weights)
            if number > 1:
                yield node, number


def _experts(node: Node, weights: Collection[int]) -> int:
    """How many matrices of a weight a product takes; 0 where it takes none."""
    call = VERDICT[node].call
    held = [tensor for _, tensor in call.tensors if tensor.storage in weights] if call else []
    return next((int(t.shape[0]) for t in held if len(t.shape) == 3 and t.shape[0].is_Integer), 0)
