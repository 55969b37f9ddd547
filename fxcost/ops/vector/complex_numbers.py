"""Arithmetic of complex numbers, in real operations."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# sympy and torch are typed in part.

import sympy
import torch
from torch._ops import OpOverloadPacket

from fxcost.graph import TensorSpec
from fxcost.ops.rules import Call, op

aten = torch.ops.aten

PRODUCT = 6
"""(a + bi)(c + di): four products, a difference and a sum."""
QUOTIENT = 11
"""(a + bi)/(c + di): six products and three sums for numerators and denominator, two divisions."""
PARTS = 2
"""A complex number is two real ones: so much a sum, or a product with a real number, costs."""


def _operands_are_complex(call: Call) -> tuple[bool, bool]:
    left, right = (call[name] for name in list(call.arguments)[:2])
    return _is_complex(left), _is_complex(right)


def _is_complex(value: object) -> bool:
    return value.is_complex if isinstance(value, TensorSpec) else isinstance(value, complex)


@op(
    aten.mul, aten.multiply,
    reason=f"{PRODUCT} for a product of two complex numbers, {PARTS} for one with a real number", numbers="complex",
)  # fmt: skip
def complex_product(call: Call) -> sympy.Expr:
    return (PRODUCT if all(_operands_are_complex(call)) else PARTS) * call.output.elements


@op(
    aten.div, aten.divide, aten.true_divide,
    reason=f"{QUOTIENT} for a quotient of two complex numbers, {PARTS} for one by a real number",
    unknown_when=lambda call: not _operands_are_complex(call)[0],
    unknown_why="a real number divided by a complex one has no rule", numbers="complex",
)  # fmt: skip
def complex_quotient(call: Call) -> sympy.Expr:
    return (QUOTIENT if _operands_are_complex(call)[1] else PARTS) * call.output.elements


@op(
    aten.add, aten.sub, aten.subtract,
    reason="each part is added apart; a real number has one part only",
    unknown_when=lambda call: call["alpha"] != 1,
    unknown_why="a sum of complex numbers with a factor has no rule", numbers="complex",
)  # fmt: skip
def complex_sum(call: Call) -> sympy.Expr:
    return (PARTS if all(_operands_are_complex(call)) else 1) * call.output.elements


def _each(factor: int, *operators: OpOverloadPacket, reason: str) -> None:
    @op(*operators, reason=reason, numbers="complex")
    def complex_function(call: Call) -> sympy.Expr:  # pyright: ignore[reportUnusedFunction]  # the table holds it
        return factor * call.output.elements


_each(4, aten.abs, aten.absolute, reason="√(a² + b²): two products, a sum, a root")
_each(1, aten.angle, reason="atan2 of the two parts")
_each(2, aten.neg, aten.negative, reason="each part is negated")
_each(1, aten.conj_physical, aten._conj_physical, reason="the imaginary part is negated")
_each(4, aten.polar, reason="length times the cosine and the sine of the angle")
_each(5, aten.exp, reason="exp of the real part times the cosine and the sine of the imaginary one")


@op(aten.sum, reason="each part of each element reduced is added", numbers="complex")
def complex_total(call: Call) -> sympy.Expr:
    return PARTS * call.tensors[0][1].elements


@op(aten.mean, reason="each part of each element is added, and each part of the result divided", numbers="complex")
def complex_mean(call: Call) -> sympy.Expr:
    return PARTS * (call.tensors[0][1].elements + call.output.elements)
