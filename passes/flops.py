"""Arithmetic of each operation by the unit it runs on, and whether a rule was there to tell."""

from collections.abc import Mapping
from dataclasses import dataclass

import sympy
from torch.fx import Graph, Node

from fxcost.graph import LAYER, Key
from fxcost.graph.pipeline import Pass, graph_pass, per_kind
from fxcost.ops.rules import Call, Rule, Verdict, amount_of, telling_layer
from fxcost.passes.verdict import VERDICT
from fxcost.work import MULTIPLY_ADD, Coverage


@dataclass(frozen=True)
class Flops:
    """What one operation computes, in FLOPs."""

    matrix: sympy.Expr
    """Contractions: two FLOPs for each multiply-add."""
    vector: sympy.Expr
    """All else."""
    coverage: Coverage
    rule: str
    reason: str
    skips_masked: bool = False
    """Whether the pairs that a causal mask hides are left out."""


FLOPS: Key[Flops] = Key("fxcost.flops")

ZERO = sympy.Integer(0)


def flops_pass(*, causal_skip: bool = False) -> Pass[Flops]:
    """The arithmetic pass; with ``causal_skip`` causal attention counts only the pairs that its mask keeps."""

    @graph_pass(provides=FLOPS, requires=(VERDICT, LAYER))
    def flops(graph: Graph) -> Mapping[Node, Flops]:
        def work(node: Node) -> Flops:
            with telling_layer(node):
                return _work(VERDICT[node], causal_skip)

        return per_kind(graph, work)

    return flops


def _work(verdict: Verdict, causal_skip: bool) -> Flops:
    rule, call = verdict.rule, verdict.call
    if rule is None or verdict.coverage == "unknown":
        return Flops(ZERO, ZERO, "unknown", "", verdict.unknown_why)
    if verdict.coverage == "free" or call is None:
        return Flops(ZERO, ZERO, "free", rule.name, rule.reason)
    matrix = MULTIPLY_ADD * amount_of(rule, call, rule.macs, "MACs")
    vector = amount_of(rule, call, rule.vector, "FLOPs")
    if causal_skip and _is_causal(call, rule):
        reason = f"{rule.reason}; masked pairs skipped"
        return Flops(matrix * _kept_pairs(call), vector, "counted", rule.name, reason, skips_masked=True)
    return Flops(matrix, vector, "counted", rule.name, rule.reason)


def _is_causal(call: Call, rule: Rule) -> bool:
    """Whether a call masks the upper half of a square score matrix by itself; a mask tensor may hide anything."""
    square = rule.scores is not None and call["query"].shape[-2] == call["key"].shape[-2]
    return square and call["is_causal"] is True


def _kept_pairs(call: Call) -> sympy.Expr:
    """The share of pairs of a square score matrix that are kept: (S + 1) / 2S, those below its diagonal.

    Where each query sees the last W keys, m(2S − m + 1) / 2S² with m = min(S, W): the first m see 1 to m, the others m.
    """
    length, window = call["query"].shape[-2], call.arguments.get("window")
    if window is None:
        return (length + 1) / (2 * length)
    seen: sympy.Expr = sympy.Min(length, window)  # pyright: ignore[reportUnknownVariableType]  # sympy leaves it open
    return seen * (2 * length - seen + 1) / (2 * length**2)  # pyright: ignore[reportUnknownVariableType]


flops = flops_pass()
"""The arithmetic pass as it is used unless asked otherwise."""
