"""torch 2.13's own FlopCounterMode: matrix products, convolutions and attention (`torch/utils/flop_counter.py`)."""

from fxcost.conventions.ledger import NOTHING, Count, Row

MISSED = frozenset(
    {"mv", "addmv", "dot", "vdot", "linalg_vecdot", "addbmm", "bilinear", "affine_grid_generator", "conv_tbc"}
    | {"_grouped_mm", "_int_mm"}
)
"""Contractions that torch does not break down into operators of the counter's registry."""


def torch_counter(row: Row) -> Count:
    """All multiply-adds of contractions, but for products with a vector and those that its registry lacks."""
    if row.op in {"matmul", "linear", "inner"} and len(row.inputs[1]) == 1:
        return Count(instead=f"{row.op} with a vector is not counted")
    return NOTHING if row.op in MISSED else Count(row.macs)
