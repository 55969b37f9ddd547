"""Arithmetic of norms, and of distances and similarities between vectors."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# sympy and torch are typed in part.

import math
from typing import Any

import sympy
import torch

from fxcost.ops.rules import Call, op, per_output
from fxcost.ops.shapes import met

aten = torch.ops.aten

WITHOUT_POWERS = (0, 1, 2, math.inf, -math.inf)
"""Norms that need one operation an element before they sum or compare: is it zero, absolute value, square."""


def of_norm(p: float) -> int:
    """For each element of a norm: take the absolute value or square (else also a power), and add or compare."""
    return 2 if p in WITHOUT_POWERS else 3


def of_difference(p: float) -> int:
    """For each pair of elements: subtract, then as the norm of the difference."""
    return 1 + of_norm(p)


def of_root(p: float) -> int:
    return 0 if p in (0, 1, math.inf) else 1


def _order(call: Call) -> Any:
    """A norm's p; None and "fro" stand for a square root of squares."""
    given = next((call[name] for name in ("ord", "p", "pow") if name in call.arguments), 2)
    return 2 if given is None or given == "fro" else given


def _is_of_a_matrix(call: Call) -> bool:
    """Whether the norm is one of a matrix as a whole, such as its largest singular value."""
    if "linalg" not in call.operator or "vector" in call.operator or call["ord"] in (None, "fro"):
        return False
    dims = call["dim"]
    axes = len(call["self"].shape) if dims is None else 1 if isinstance(dims, int) else len(dims)
    return axes == 2


@op(
    aten.norm, aten.linalg_vector_norm, aten.frobenius_norm, aten.norm_except_dim, aten.linalg_norm,
    aten.linalg_matrix_norm,
    reason="for each element an absolute value or square, for other orders than 0, 1, 2 and ∞ a power as well, and an "
    "addition or comparison; the root is one a row and not counted",
    unknown_when=_is_of_a_matrix,
    unknown_why="a norm of a matrix by an order takes its singular values or sums of its rows, which has no rule",
)  # fmt: skip
def norm(call: Call) -> sympy.Expr:
    return of_norm(_order(call)) * call.tensors[0][1].elements


@op(
    aten.cdist, aten._cdist_forward, aten._euclidean_dist,
    reason="for each pair of elements subtract, absolute value or square, add; for each pair of rows a root. Counted by "
    "this formula also where torch takes Euclidean distances of many rows from a matrix product",
)  # fmt: skip
def distances(call: Call) -> sympy.Expr:
    p = call.arguments.get("p", 2)
    return call.output.elements * (of_difference(p) * call["x1"].shape[-1] + of_root(p))


@op(aten.pdist, aten._pdist_forward, reason="as cdist, for each two rows once")
def distances_within(call: Call) -> sympy.Expr:
    return call.output.elements * (of_difference(call["p"]) * call["self"].shape[-1] + of_root(call["p"]))


@op(
    aten.pairwise_distance,
    reason="for each pair of elements subtract, add eps, absolute value or square, add; for each pair of rows a root",
)
def paired_distance(call: Call) -> sympy.Expr:
    return (of_difference(call["p"]) + 1) * met(call["x1"].shape, call["x2"].shape) + of_root(
        call["p"]
    ) * call.output.elements


@op(
    aten.cosine_similarity,
    reason="x·y / max(‖x‖·‖y‖, eps): three products and sums for each pair of elements; two roots, a product, a maximum "
    "and a division for each pair of rows",
)
def cosine_similarity(call: Call) -> sympy.Expr:
    return 6 * met(call["x1"].shape, call["x2"].shape) + 5 * call.output.elements


per_output(3, aten.cross, aten.linalg_cross, reason="two products and a difference")
per_output(1, aten.outer, aten.ger, aten.kron, reason="one product for each output element")


@op(aten.addr, reason="a product and a sum, and a multiplication for each of alpha and beta that is not 1")
def sum_with_outer_product(call: Call) -> sympy.Expr:
    return (2 + (call["alpha"] != 1) + (call["beta"] != 1)) * call.output.elements


@op(aten.dist, reason="subtract, absolute value or square, add for each pair of elements; one root")
def distance(call: Call) -> sympy.Expr:
    p = call["p"]
    return of_difference(p) * met(call["self"].shape, call["other"].shape) + of_root(p)
