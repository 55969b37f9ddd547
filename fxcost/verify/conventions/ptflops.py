"""ptflops 0.7: hooks on modules by class, and functions it replaces (`pytorch_engine.py`, `pytorch_ops.py`)."""

from collections.abc import Iterator
from itertools import zip_longest
from math import prod
from typing import Any

from torch import nn

from fxcost.verify.conventions.ledger import (
    ADAPTIVE_AVERAGES,
    ADAPTIVE_MAXIMA,
    AVERAGE_POOLS,
    CONVOLUTION_MODULES,
    MAXIMUM_POOLS,
    NORMALIZATIONS,
    NOTHING,
    RECURRENT,
    TRANSPOSED_MODULES,
    Counted,
    Row,
    extra,
    is_affine,
    product_of_shapes,
    recurrent,
    resized,
    through_the_tree,
    with_bias,
)

ACTIVATIONS = (nn.ReLU, nn.PReLU, nn.ELU, nn.LeakyReLU, nn.ReLU6, nn.GELU)
POOLS = (*AVERAGE_POOLS, *MAXIMUM_POOLS, *ADAPTIVE_AVERAGES, *ADAPTIVE_MAXIMA)
HOOKED = frozenset(
    {*ACTIVATIONS, *POOLS, *NORMALIZATIONS, *CONVOLUTION_MODULES, *TRANSPOSED_MODULES, *RECURRENT}
    | {nn.GroupNorm, nn.Linear, nn.Upsample, nn.MultiheadAttention}
)
TIMM_ATTENTION = "timm.layers.attention.Attention"

PER_UNIT = {"lstm": 10, "gru": 7, "rnn": 1}

FUNCTIONS = frozenset(
    {"relu", "prelu", "elu", "relu6", "hardtanh", "gelu", "silu", "softmax", "avg_pool1d", "avg_pool2d", "avg_pool3d"}
    | {"max_pool1d", "max_pool2d", "max_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"}
    | {"adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d"}
)
TENSOR_PRODUCTS = frozenset({"matmul", "mm", "bmm", "addmm", "baddbmm"})
OPERATORS = frozenset({"add", "mul"})
"""Written ``+`` and ``*`` they are not seen."""


def ptflops(row: Row) -> Counted:
    """What hooks count of the outermost module they know, and once more what replaced functions see."""
    hooked, called = through_the_tree(_hooked(row), row, 1), _called(row)
    again = f"{row.op} is counted again, by the function that its module calls"
    extras = tuple((again if hooked.extras else reason, amount) for reason, amount in called.extras)
    instead = again if hooked.macs and called.macs else hooked.instead or called.instead
    return Counted(hooked.macs + called.macs, (*hooked.extras, *extras), instead)


def _is_hooked(module: nn.Module) -> bool:
    return type(module) in HOOKED or _is_timms(module)


def _is_timms(module: nn.Module) -> bool:
    kind = type(module)
    return f"{kind.__module__}.{kind.__name__}" == TIMM_ATTENTION


def _hooked(row: Row) -> Counted:
    around = next((type(module).__name__ for module in row.above if _is_hooked(module)), "")
    if around or not _is_hooked(row.owner):
        return Counted(0, instead=f"what {around} holds is not counted beside it") if around else NOTHING
    name = type(row.owner).__name__
    if row.owned_by(nn.MultiheadAttention) or _is_timms(row.owner):
        return _attention(row)
    if row.owned_by(nn.Linear, *CONVOLUTION_MODULES, *TRANSPOSED_MODULES):
        return with_bias(row)
    if row.owned_by(*RECURRENT):
        return recurrent(row, PER_UNIT, 2)
    if row.owned_by(*ACTIVATIONS):
        return extra(f"{row.op} is counted, 1 for each element", row.given)
    if row.owned_by(*POOLS):
        return extra(f"{row.op} is counted, 1 for each element", row.taken)
    if row.owned_by(*NORMALIZATIONS, nn.GroupNorm):
        per = 2 if is_affine(row.owner, "affine") else 1
        return extra(f"{name} is counted, {per} for each element", per * row.taken)
    if row.owned_by(nn.Upsample):
        return extra("Upsample is counted, 1 for each output of the first sample", row.given // row.outputs[0][0])
    return NOTHING


def pointwise(row: Row) -> Counted:
    """A sum or product of two tensors, whose shapes are lined up from the first dimension, not as torch does."""
    lined_up = zip_longest(*row.inputs, fillvalue=1)
    return extra(f"{row.op} is counted where it is called by name", prod(map(max, lined_up)))


def _attention(row: Row) -> Counted:
    """The hook of nn.MultiheadAttention, or of timm's, has formulas for all of it, fused or written out."""
    if row.op == "scaled_dot_product_attention":
        scores = prod(row.inputs[0][:-1]) * row.inputs[1][-2]
        return Counted(row.macs, ((SCALING, row.taken), (SOFTMAX, scores), *_no_bias(row.owner, row.taken)))
    if row.op == "linear":
        return with_bias(row)
    if row.op == "softmax":
        heads = row.given // row.outputs[0][-1] * getattr(row.owner, "head_dim", 0)
        return Counted(row.macs, ((SOFTMAX, row.given), *_no_bias(row.owner, heads)))
    return extra(SCALING, row.given) if row.op == "mul" else Counted(row.macs)


def _no_bias(owner: Any, outputs: int) -> Iterator[tuple[str, int]]:
    """A bias of the output projection of nn.MultiheadAttention is counted whether or not it has one."""
    if isinstance(owner, nn.MultiheadAttention) and getattr(owner.out_proj, "bias", None) is None:
        yield "a bias of the output is counted, which MultiheadAttention has none of", outputs


SCALING = "scaling of queries is counted"
SOFTMAX = "softmax of attention is counted"


def _called(row: Row) -> Counted:
    """Through a function that was replaced."""
    if not row.by_name:
        return NOTHING
    if row.op in FUNCTIONS:
        return extra(f"{row.op} is counted, 1 for each element", row.taken)
    if row.op in OPERATORS:
        return pointwise(row)
    if row.op == "matmul":
        return product_of_shapes(row)
    if row.op in TENSOR_PRODUCTS:
        return Counted(row.macs, (("biases are counted", row.taken),)) if "add" in row.op else Counted(row.macs)
    if row.op.startswith("upsample"):
        return resized(row)
    return NOTHING
