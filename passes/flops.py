"""Arithmetic of each operation: FLOPs, multiply-adds, the unit it runs on, and whether a rule was there to tell."""

from collections.abc import Mapping
from dataclasses import dataclass

import sympy
from torch.fx import Graph, Node

from fxcost.graph import LAYER, Key
from fxcost.graph.pipeline import Pass, graph_pass, per_kind
from fxcost.ops.rules import MULTIPLY_ADD, Call, Coverage, Rule, Unit, Verdict, amount_of, telling_layer, unit_of
from fxcost.passes.verdict import VERDICT


@dataclass(frozen=True)
class Flops:
    """What one operation computes, in FLOPs and, for contractions only, in multiply-adds."""

    flops: sympy.Expr
    macs: sympy.Expr
    unit: Unit
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
        return Flops(ZERO, ZERO, "vector", "unknown", "", verdict.unknown_why)
    if verdict.coverage == "free" or call is None:
        return Flops(ZERO, ZERO, rule.unit, "free", rule.name, rule.reason)
    if causal_skip and _is_causal(call, rule):
        macs = amount_of(rule, call, rule.macs, "MACs") * _kept_pairs(call)
        return Flops(
            MULTIPLY_ADD * macs,
            macs,
            rule.unit,
            "counted",
            rule.name,
            f"{rule.reason}; masked pairs skipped",
            skips_masked=True,
        )
    work = amount_of(rule, call, rule.flops, "FLOPs"), amount_of(rule, call, rule.macs, "MACs")
    return Flops(*work, unit_of(rule, call), "counted", rule.name, rule.reason)


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
