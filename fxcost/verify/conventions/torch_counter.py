"""torch 2.13's own FlopCounterMode: matrix products, convolutions and attention (`torch/utils/flop_counter.py`)."""

from fxcost.ops.matrix.einsum import steps_of
from fxcost.verify.conventions.ledger import NOTHING, Counted, Row

MISSED = frozenset(
    {"mv", "addmv", "dot", "vdot", "linalg_vecdot", "addbmm", "bilinear", "affine_grid_generator", "conv_tbc"}
    | {"_grouped_mm", "_int_mm"}
)
"""Contractions that torch does not break down into operators of the counter's registry."""


def torch_counter(row: Row) -> Counted:
    """All multiply-adds of contractions, but for products with a vector and those that its registry lacks."""
    if row.op in {"matmul", "linear", "inner"} and len(row.inputs[1]) == 1:
        return Counted(instead=f"{row.op} with a vector is not counted")
    if row.op == "einsum" and isinstance(row.asked, str):
        return _einsum(row, row.asked)
    return NOTHING if row.op in MISSED else Counted(row.macs)


def _einsum(row: Row, equation: str) -> Counted:
    """Torch sums a letter in a batch of products where both operands have more than one of it, else multiplies (`sumproduct_pair`, `ATen/native/Linear.cpp`)."""
    missed = sum(
        int(step.combinations)
        for step in steps_of(equation, row.inputs)
        if step.contracted and all(1 in (step.left[letter], step.right[letter]) for letter in step.contracted)
    )
    reason = "an einsum over an axis of size 1 is a multiplication to torch, and not counted"
    return Counted(row.macs - missed, instead=reason)
