"""fvcore 0.1.5: operators of a jit trace (`fvcore/nn/flop_count.py`, `jit_handles.py`); one multiply-add is one FLOP."""

from fxcost.verify.conventions.ledger import (
    CONVOLUTIONS,
    NOTHING,
    TRANSPOSED,
    Counted,
    Row,
    einsum,
    extra,
    product_of_shapes,
)

PRODUCTS = frozenset({"addmm", "bmm", "mm", "linear"})
RESAMPLINGS = {"upsample_nearest2d": 1, "upsample_bilinear2d": 4, "grid_sampler": 4}


def fvcore(row: Row) -> Counted:
    """Products and convolutions without bias; normalizations, 2D resampling and adaptive pooling by elements."""
    if row.op == "matmul":
        return product_of_shapes(row)
    if row.op == "einsum":
        return Counted(row.macs) if _is_known(row.asked) else einsum(row, 1)
    if row.overload == "padding":
        return Counted(instead=f"{row.op} with its padding given by name is not counted")
    if row.op in PRODUCTS | CONVOLUTIONS | TRANSPOSED or row.op.endswith("_cell"):
        return Counted(row.macs)
    if row.op == "batch_norm":
        per = 2 if len(row.inputs) > 3 else 1
        return extra(f"batch_norm is counted, {per} for each element", per * row.taken)
    if row.op in {"layer_norm", "group_norm", "instance_norm"}:
        per = 5 if len(row.inputs) > 1 else 4
        return extra(f"{row.op} is counted, {per} for each element", per * row.taken)
    if row.op in RESAMPLINGS:
        return extra(f"{row.op} is counted, {RESAMPLINGS[row.op]} for each output", RESAMPLINGS[row.op] * row.given)
    if row.op == "adaptive_avg_pool2d":
        return extra("adaptive_avg_pool2d is counted, 1 for each input", row.taken)
    return NOTHING


def _is_known(equation: object) -> bool:
    """Whether it has a formula of its own for an equation, whatever its letters are."""
    if not isinstance(equation, str):
        return False
    letters = dict.fromkeys(filter(str.isalpha, equation))
    return equation.translate({ord(x): 97 + i for i, x in enumerate(letters)}) in {"abc,abd->acd", "abc,adc->adb"}
