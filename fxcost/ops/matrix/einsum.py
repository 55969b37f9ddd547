"""Multiply-adds of an einsum, read from its equation."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# sympy and torch are typed in part.

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sympy
import torch

from fxcost.ops.rules import COMPLEX_PRODUCT, Call, Rule, register
from fxcost.ops.vector import complex_numbers

aten = torch.ops.aten


@dataclass(frozen=True)
class ContractionStep:
    """Two operands of an einsum meeting: each with the sizes of its letters, and the letters that are summed away."""

    left: Mapping[str, Any]
    right: Mapping[str, Any]
    summed: frozenset[str]

    @property
    def met(self) -> Mapping[str, Any]:
        """The sizes of all letters; one that is 1 in one operand is as large as in the other."""
        both = {**self.left, **self.right}
        return {letter: size if self.left.get(letter, 1) == 1 else self.left[letter] for letter, size in both.items()}

    @property
    def combinations(self) -> Any:
        """How many pairs of elements meet."""
        return sympy.Mul(*self.met.values())

    @property
    def contracted(self) -> frozenset[str]:
        """The letters that both operands have and the result has not."""
        return self.summed & self.left.keys() & self.right.keys()

    @property
    def sums_one(self) -> bool:
        """Whether a letter is summed away that one operand alone has."""
        return self.summed != self.contracted


def steps_of(equation: str, shapes: Sequence[Sequence[Any]]) -> list[ContractionStep]:
    """Operands meet from left to right; an ellipsis is written out in letters that no equation has."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    lengths = [len(shape) - len(term.replace("...", "")) for term, shape in zip(terms, shapes, strict=True)]
    dots = "".join(chr(0x100 + i) for i in range(max(lengths)))
    terms = [term.replace("...", dots[len(dots) - n :]) for term, n in zip(terms, lengths, strict=True)]
    letters = "".join(terms)
    result = set(right.replace("...", dots) if arrow else dots + "".join(c for c in letters if letters.count(c) == 1))
    operands = [dict(zip(term, shape, strict=True)) for term, shape in zip(terms, shapes, strict=True)]
    steps: list[ContractionStep] = []
    held: Mapping[str, Any] = operands[0]
    for index, operand in enumerate(operands[1:], start=1):
        kept = result.union(*terms[index + 1 :])
        step = ContractionStep(held, operand, frozenset((held.keys() | operand.keys()) - kept))
        steps.append(step)
        held = {letter: size for letter, size in step.met.items() if letter in kept}
    return steps


def _steps(call: Call) -> list[ContractionStep]:
    return steps_of(call["equation"], [operand.shape for operand in call["tensors"]])


def _macs(call: Call) -> sympy.Expr:
    each = COMPLEX_PRODUCT if call.is_complex else 1
    return each * sympy.Add(*(step.combinations for step in _steps(call) if step.contracted))


def _products(call: Call) -> sympy.Expr:
    each = complex_numbers.PRODUCT if call.is_complex else 1
    return each * sympy.Add(*(step.combinations for step in _steps(call) if not step.contracted))


def _has_no_formula(call: Call) -> bool:
    """Sums inside one operand, and diagonals, have no formula here; nor have complex numbers that meet real ones."""
    mixed = len({operand.is_complex for operand in call["tensors"]}) > 1
    steps = _steps(call)
    return mixed or _takes_diagonals(call) or not steps or any(step.sums_one for step in steps)


def _takes_diagonals(call: Call) -> bool:
    terms = call["equation"].replace(" ", "").replace("...", "").partition("->")[0].split(",")
    return any(len(set(term)) < len(term) for term in terms)


def _reads(call: Call) -> Mapping[str, sympy.Expr]:
    """Of a diagonal, which has no formula here, not all of an operand: no more than nothing is sure."""
    return {"tensors": sympy.Integer(0)} if _takes_diagonals(call) else {}


register(
    Rule(
        "einsum",
        "operands meet from left to right: a multiply-add for each combination of their letters where they share one that "
        f"is summed, a product where they do not; of complex numbers {COMPLEX_PRODUCT} real multiply-adds, and "
        f"{complex_numbers.PRODUCT} operations",
        macs=_macs,
        vector=_products,
        reads=_reads,
        unknown_when=_has_no_formula,
    ),
    aten.einsum,
)
