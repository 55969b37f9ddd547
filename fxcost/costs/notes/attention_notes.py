"""How attention ran, read off the graph: in fused calls, or written out, its scores going through memory."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# sympy and torch are typed in part.

from collections.abc import Callable, Collection, Iterable, Iterator

from torch.fx import Graph, Node

from fxcost.costs.model import SKIPPED_IN, operator_name
from fxcost.graph import OUTPUTS, WEIGHT, TensorSpec, operations, placeholders
from fxcost.passes.flops import FLOPS
from fxcost.passes.traffic import Attention
from fxcost.passes.verdict import VERDICT

FUSED = "no score matrix in memory, softmax not counted"
UNFUSED = "the score matrix goes through memory"
WRITTEN_OUT = "the score matrix goes through memory, softmax counted"
SOFTMAX = frozenset({"aten.softmax.int", "aten._softmax.default", "aten._safe_softmax.default"})
ADDING = frozenset({"addmm", "addbmm", "baddbmm"})


def attention_notes(graph: Graph, attention: Attention, *, decodes: bool, causal_skip: bool) -> tuple[str, ...]:
    """What is assumed of attention in a graph that passes have run over; nothing where there is none."""
    fused = [node for node in operations(graph) if FLOPS[node].rule == "attention"]
    written = list(_written_out(graph))
    together = len(fused) + len(written)
    notes: list[str] = []
    if fused:
        share = f" in {len(fused)} of {together} calls" if written else ""
        notes.append(
            f"attention is fused{share}: {FUSED}" if attention == "fused" else f"attention is unfused{share}: {UNFUSED}"
        )
    if written:
        share = f" in {len(written)} of {together} calls" if fused else ""
        notes.append(f"attention is written out by the model's own code{share}: {WRITTEN_OUT}")
    if decodes:
        biased = any(map(_is_masked, fused)) or any(biased for _, biased in written)
        notes.append(f"attention reads all of the cache and {'a mask or bias of the model' if biased else 'no mask'}")
    if decodes and causal_skip:
        notes.append(f"{SKIPPED_IN}0 of {together} attentions: the newest token sees all that came before it")
    elif not together and causal_skip:
        notes.append(f"{SKIPPED_IN}0 attentions: there is none")
    elif together and not decodes:
        notes.append(_masked(fused, len(written), causal_skip))
    return tuple(notes)


def _masked(fused: Collection[Node], written: int, asked: bool) -> str:
    """What became of the pairs that causal masks hide."""
    skipped, together = sum(FLOPS[node].skips_masked for node in fused), len(fused) + written
    if not asked:
        return "masked pairs of causal attention are counted"
    if skipped == together:
        return "masked pairs of causal attention are skipped"
    return (
        f"{SKIPPED_IN}{skipped} of {together} attentions: the others hide nothing, "
        "are given a mask as a tensor, or lengths that differ, or are written out, and count in full"
    )


def _is_masked(fused: Node) -> bool:
    """Whether a fused call reads a number for each key; attention sinks are one for each head."""
    call = VERDICT[fused].call
    mask = call.arguments.get("attn_mask", call.arguments.get("attn_bias")) if call else None
    return isinstance(mask, TensorSpec) and mask.shape[-1] != 1


def _written_out(graph: Graph) -> Iterator[tuple[Node, bool]]:
    """Each softmax between two products of activations, and whether a mask or bias enters on the way to it.

    Routers and classifiers have a softmax after a product with a weight.
    """
    weights = {OUTPUTS[node][0].storage for node in placeholders(graph) if node in WEIGHT}

    def is_product(node: Node) -> bool:
        return _is_contraction(node) and len(_factors(node, weights)) > 1

    for node in operations(graph):
        if str(node.target) not in SOFTMAX:
            continue
        before = _reached(node, lambda each: each.all_input_nodes)
        scores = set(filter(is_product, before))
        if scores and any(map(is_product, _reached(node, lambda each: each.users))):
            yield node, _is_biased(scores, before)


def _is_contraction(node: Node) -> bool:
    return node.op == "call_function" and FLOPS[node].matrix != 0 and FLOPS[node].rule != "attention"


def _factors(node: Node, weights: Collection[int]) -> list[TensorSpec]:
    """What a product multiplies that is no weight; what it adds is no factor."""
    call = VERDICT[node].call
    addend = _addend(node)
    return (
        [t for name, t in call.tensors if t.storage not in weights and not (addend and name == "self")] if call else []
    )


def _addend(node: Node) -> Node | None:
    """What a product adds to its result, where its operator takes such a tensor."""
    first = node.args[0] if operator_name(str(node.target)) in ADDING else None
    return first if isinstance(first, Node) else None


def _reached(start: Node, onward: Callable[[Node], Iterable[Node]]) -> dict[Node, None]:
    """The nodes from ``start`` on, up to the nearest contractions, in the order they are met."""
    found: dict[Node, None] = {}
    ahead = [start]
    while ahead:
        for node in onward(ahead.pop()):
            if node not in found:
                found[node] = None
                if node.op == "call_function" and FLOPS[node].matrix == 0:
                    ahead.append(node)
    return found


def _is_biased(scores: Collection[Node], before: Collection[Node]) -> bool:
    """Whether more than a scale meets the scores: an addend of the product, or a tensor with a number for each key."""
    chain = set(scores)
    for node in sorted(before):
        if any(each in chain for each in node.all_input_nodes) and not _is_contraction(node):
            chain.add(node)
    addends = filter(None, map(_addend, scores))
    others = (each for node in chain - set(scores) for each in node.all_input_nodes if each not in chain)
    return any(spec.shape and spec.shape[-1] != 1 for each in (*addends, *others) for spec in OUTPUTS[each])
