"""DeepSpeed 0.19: functions it replaces, `@` and fused attention too (`profiling/flops_profiler/profiler.py`)."""

from fxcost.verify.conventions.calflops import by_functions
from fxcost.verify.conventions.ledger import (
    RECURRENT,
    TRANSPOSED,
    Counted,
    Resize,
    Row,
    extra,
    product_of_shapes,
    resized,
    with_bias,
)
from fxcost.verify.conventions.ptflops import OPERATORS


def deepspeed(row: Row) -> Counted:
    """As calflops, which began as its copy, with more products replaced and with calflops's slips mended."""
    if row.op == "matmul":
        return product_of_shapes(row)
    if not row.by_name or row.owned_by(*RECURRENT):
        return by_functions(row)
    if row.op in {"mm", "bmm", "scaled_dot_product_attention"}:
        return Counted(row.macs)
    if row.op in TRANSPOSED:
        return with_bias(row)
    if row.op in OPERATORS:
        return extra(f"{row.op} is counted where it is called by name", row.given)
    if row.op.startswith("upsample") and isinstance(row.asked, Resize) and row.asked.size is None:
        return resized(row)
    return by_functions(row)
