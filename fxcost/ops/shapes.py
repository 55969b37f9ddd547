"""Shapes of operands that meet."""

from collections.abc import Sequence

import sympy

Shape = Sequence[sympy.Expr]


def broadcast(left: Shape, right: Shape) -> tuple[sympy.Expr, ...]:
    """The common shape of two that broadcast against each other."""
    rank = max(len(left), len(right))
    ones = sympy.Integer(1)
    padded = ([*[ones] * (rank - len(shape)), *shape] for shape in (left, right))
    return tuple(b if a == 1 else a for a, b in zip(*padded, strict=True))


def met(left: Shape, right: Shape) -> sympy.Expr:
    """How many pairs of elements two shapes make when they broadcast."""
    return sympy.Mul(*broadcast(left, right))
