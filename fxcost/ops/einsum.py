"""Multiply-adds of an einsum, read from its equation."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# sympy and torch are typed in part.

from dataclasses import dataclass

import sympy
import torch

from fxcost.ops.rules import MULTIPLY_ADD, Call, Rule, register

aten = torch.ops.aten


@dataclass(frozen=True)
class _Step:
    """Two operands of an einsum meeting: the letters they have, and those summed away."""

    met: frozenset[str]
    summed_in_both: bool
    summed_in_one: bool


def _equation(call: Call) -> str:
    return call["equation"].replace(" ", "")


def _einsum_steps(call: Call) -> tuple[list[_Step], dict[str, sympy.Expr]]:
    """Operands meet from left to right; an ellipsis is written out in letters that no equation has."""
    left, arrow, right = _equation(call).partition("->")
    operands, terms = call["tensors"], left.split(",")
    lengths = [len(o.shape) - len(t.replace("...", "")) for t, o in zip(terms, operands, strict=True)]
    dots = "".join(chr(0x100 + i) for i in range(max(lengths)))
    terms = [t.replace("...", dots[len(dots) - n :]) for t, n in zip(terms, lengths, strict=True)]
    letters = "".join(terms)
    result = set(right.replace("...", dots) if arrow else dots + "".join(c for c in letters if letters.count(c) == 1))
    sizes: dict[str, sympy.Expr] = {}
    for letter, size in (pair for t, o in zip(terms, operands, strict=True) for pair in zip(t, o.shape, strict=True)):
        sizes[letter] = size if sizes.get(letter, 1) == 1 else sizes[letter]
    steps: list[_Step] = []
    held = set(terms[0])
    for index, term in enumerate(terms[1:], start=1):
        gone = (held | set(term)) - result.union(*terms[index + 1 :])
        steps.append(_Step(frozenset(held | set(term)), bool(gone & held & set(term)), bool(gone & (held ^ set(term)))))
        held = (held | set(term)) - gone
    return steps, sizes


def _einsum_macs(call: Call) -> sympy.Expr:
    steps, sizes = _einsum_steps(call)
    return sympy.Add(*(sympy.Mul(*(sizes[c] for c in step.met)) for step in steps if step.summed_in_both))


def _einsum_flops(call: Call) -> sympy.Expr:
    steps, sizes = _einsum_steps(call)
    outer = (sympy.Mul(*(sizes[c] for c in step.met)) for step in steps if not step.summed_in_both)
    return MULTIPLY_ADD * _einsum_macs(call) + sympy.Add(*outer)


def _sums_one_operand(call: Call) -> bool:
    """Sums inside one operand, and diagonals, have no formula here; nor have complex numbers."""
    steps, _ = _einsum_steps(call)
    terms = _equation(call).replace("...", "").partition("->")[0].split(",")
    repeats = any(len(set(term)) < len(term) for term in terms)
    return call.is_complex or repeats or not steps or any(step.summed_in_one for step in steps)


register(
    Rule(
        "einsum",
        "matrix",
        _einsum_flops,
        "operands meet from left to right: a multiply-add for each combination of their letters where they share one that "
        "is summed, a product where they do not",
        macs=_einsum_macs,
        unknown_when=_sums_one_operand,
    ),
    aten.einsum,
)
