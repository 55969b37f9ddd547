"""Memory traffic of each operation when it runs alone: each distinct input read once, each output written once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import sympy
from torch.fx import Graph, Node

from fxcost.graph import LAYER, OUTPUTS, STATE, WEIGHT, Key, TensorSpec, placeholders
from fxcost.graph.pipeline import Pass, graph_pass, per_kind
from fxcost.ops.rules import Call, Verdict, amounts_of, telling_layer
from fxcost.passes.verdict import VERDICT

Attention = Literal["fused", "math"]
GrowingCounts = dict[str, dict[str, sympy.Expr]]
"""Element counts by role (``weight``, ``state``, ``activation``), then by dtype."""


@dataclass(frozen=True)
class Traffic:
    """Elements an operation moves from and to main memory, by role and dtype."""

    reads: GrowingCounts = field(default_factory=dict)
    writes: GrowingCounts = field(default_factory=dict)


TRAFFIC: Key[Traffic] = Key("fxcost.traffic")


def traffic_pass(*, attention: Attention = "fused") -> Pass[Traffic]:
    """The traffic pass; with ``attention="math"`` attention also moves its score matrix."""

    @graph_pass(provides=TRAFFIC, requires=(VERDICT, OUTPUTS, WEIGHT, STATE, LAYER))
    def traffic(graph: Graph) -> Mapping[Node, Traffic]:
        roles = _roles(graph)

        def roles_of(node: Node) -> object:
            given = (tensor for each in (*node.all_input_nodes, node) for tensor in OUTPUTS[each])
            return tuple(roles.get(tensor.storage) for tensor in given)

        def moved(node: Node) -> Traffic:
            with telling_layer(node):
                return _moved(VERDICT[node], roles, attention)

        return per_kind(graph, moved, apart=roles_of)

    return traffic


def _roles(graph: Graph) -> Mapping[int, str]:
    """What each storage holds that is no activation: views of a weight or of the cache are still that."""
    weights = {OUTPUTS[n][0].storage: "weight" for n in placeholders(graph) if n in WEIGHT}
    return weights | {OUTPUTS[n][0].storage: "state" for n in placeholders(graph) if n in STATE}


def _moved(verdict: Verdict, roles: Mapping[int, str], attention: Attention) -> Traffic:
    call, rule = verdict.call, verdict.rule
    if call is None or verdict.coverage == "free":
        return Traffic()
    reads: GrowingCounts = {}
    writes: GrowingCounts = {}
    own_reads = amounts_of(rule, call, "reads") if rule else {}
    own_writes = amounts_of(rule, call, "writes") if rule else {}
    for name, tensor in _distinct(call):
        role = roles.get(tensor.storage, "activation")
        _add(reads, role, tensor.dtype, own_reads.get(name, tensor.stored))
    for output in _fresh(call):
        role = roles.get(output.storage, "activation")
        _add(writes, role, output.dtype, own_writes.get("output", output.stored))
    if attention == "math" and rule is not None and rule.scores is not None:
        for counts in (reads, writes):
            _add(counts, "activation", call.output.dtype, SCORE_PASSES * rule.scores(call))
    return Traffic(reads, writes)


def _distinct(call: Call) -> list[tuple[str, TensorSpec]]:
    """Tensor arguments, one that is passed twice kept once."""
    seen: dict[object, tuple[str, TensorSpec]] = {}
    for name, tensor in call.tensors:
        seen.setdefault((tensor.storage, tensor.offset, tensor.shape, tensor.strides), (name, tensor))
    return list(seen.values())


def _fresh(call: Call) -> list[TensorSpec]:
    """Outputs that the call writes: those that alias no input, unless it works in place."""
    if not call.outputs:
        return [tensor for name, tensor in call.tensors if name in call.writes_to]
    inputs = {tensor.storage for _, tensor in call.tensors}
    return [output for output in call.outputs if call.writes_to or output.storage not in inputs]


SCORE_PASSES = 2
"""Scores are written by Q·Kᵀ and read by softmax; probabilities are written by softmax and read by P·V."""


def _add(counts: GrowingCounts, role: str, dtype: str, elements: sympy.Expr) -> None:
    if elements != 0:
        by_dtype = counts.setdefault(role, {})
        by_dtype[dtype] = by_dtype.get(dtype, sympy.Integer(0)) + elements


traffic = traffic_pass()
"""The traffic pass as it is used unless asked otherwise."""
