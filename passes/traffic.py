"""Memory traffic of each operation when it runs alone: each distinct input read once, each output written once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import sympy
from torch.fx import Graph, Node

from fxcost.graph import LAYER, OUTPUTS, STATE, WEIGHT, Key, TensorSpec, placeholders
from fxcost.graph.pipeline import Pass, graph_pass, per_kind
from fxcost.ops.rules import Call, Verdict, amounts_of, telling_layer
from fxcost.passes.verdict import VERDICT
from fxcost.request import Attention

GrowingCounts = dict[str, dict[str, sympy.Expr]]
"""Element counts by role (``weight``, ``state``, ``activation``), then by dtype."""
ZERO = sympy.Integer(0)


TensorPlace = tuple[Literal["argument", "output"], int]
"""Which of an operation's tensors: its place among the arguments that are tensors, or among the outputs."""


@dataclass(frozen=True)
class Moved:
    """Elements that an operation moves of one tensor."""

    tensor: TensorPlace | None
    """None for scores, which the operation alone sees."""
    role: str
    dtype: str
    read: sympy.Expr = ZERO
    written: sympy.Expr = ZERO


@dataclass(frozen=True)
class Traffic:
    """Elements an operation moves from and to main memory."""

    accesses: tuple[Moved, ...] = ()

    @cached_property
    def reads(self) -> GrowingCounts:
        """Elements read by role and dtype."""
        return _counted((each.role, each.dtype, each.read) for each in self.accesses)

    @cached_property
    def writes(self) -> GrowingCounts:
        """Elements written by role and dtype."""
        return _counted((each.role, each.dtype, each.written) for each in self.accesses)


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
    accesses: list[Moved] = []
    own_reads = amounts_of(rule, call, "reads") if rule else {}
    own_writes = amounts_of(rule, call, "writes") if rule else {}
    for place, name, tensor in _distinct(call):
        role = roles.get(tensor.storage, "activation")
        accesses.append(Moved(place, role, tensor.dtype, read=own_reads.get(name, tensor.stored)))
    for place, output in _fresh(call):
        role = roles.get(output.storage, "activation")
        accesses.append(Moved(place, role, output.dtype, written=own_writes.get("output", output.stored)))
    if attention == "math" and rule is not None and rule.scores is not None:
        passed = SCORE_PASSES * rule.scores(call)
        accesses.append(Moved(None, "activation", call.output.dtype, passed, passed))
    return Traffic(tuple(each for each in accesses if each.read != 0 or each.written != 0))


def _distinct(call: Call) -> list[tuple[TensorPlace, str, TensorSpec]]:
    """Tensor arguments with their places, one that is passed twice kept once."""
    seen: dict[object, tuple[TensorPlace, str, TensorSpec]] = {}
    for place, (name, tensor) in enumerate(call.tensors):
        seen.setdefault(
            (tensor.storage, tensor.offset, tensor.shape, tensor.strides), (("argument", place), name, tensor)
        )
    return list(seen.values())


def _fresh(call: Call) -> list[tuple[TensorPlace, TensorSpec]]:
    """Outputs that the call writes: those that alias no input, unless it works in place."""
    if not call.outputs:
        return [(("argument", at), each) for at, (name, each) in enumerate(call.tensors) if name in call.writes_to]
    inputs = {tensor.storage for _, tensor in call.tensors}
    return [
        (("output", place), output)
        for place, output in enumerate(call.outputs)
        if call.writes_to or output.storage not in inputs
    ]


SCORE_PASSES = 2
"""Scores are written by Q·Kᵀ and read by softmax; probabilities are written by softmax and read by P·V."""


def _counted(moved: Iterable[tuple[str, str, sympy.Expr]]) -> GrowingCounts:
    counts: GrowingCounts = {}
    for role, dtype, elements in moved:
        if elements != 0:
            by_dtype = counts.setdefault(role, {})
            by_dtype[dtype] = by_dtype.get(dtype, ZERO) + elements
    return counts


traffic = traffic_pass()
"""The traffic pass as it is used unless asked otherwise."""
