"""thop 0.1.1: hooks on modules by their very class (`thop/profile.py`, `vision/basic_hooks.py`, `rnn_hooks.py`)."""

from math import prod

from torch import nn

from fxcost.verify.conventions.ledger import (
    ADAPTIVE_AVERAGES,
    AVERAGE_POOLS,
    CONVOLUTION_MODULES,
    NORMALIZATIONS,
    NOTHING,
    RECURRENT,
    TRANSPOSED_MODULES,
    Counted,
    Row,
    extra,
    is_affine,
    recurrent,
    through_the_tree,
)

UPSAMPLING = {"nearest": 1, "linear": 5, "bilinear": 11, "bicubic": 224 + 35}
PER_UNIT = {"lstm": 8, "gru": 7, "rnn": 1}
"""Additions and products for each hidden element and step; biases are 2 for each gate more."""


def thop(row: Row) -> Counted:
    """Multiply-adds of convolution and linear modules; normalization, pooling and softmax modules by elements."""
    return through_the_tree(_once(row), row, 1, power=2)


def _once(row: Row) -> Counted:
    owner = row.owner
    if row.owned_by(*CONVOLUTION_MODULES, nn.Linear):
        return Counted(row.macs)
    if row.owned_by(*TRANSPOSED_MODULES):
        groups = int(getattr(owner, "groups", 1))
        counted = row.given * (row.inputs[0][1] // groups) * prod(row.inputs[1][2:])
        return Counted(counted, instead="transposed convolutions are counted by their outputs")
    if row.owned_by(*NORMALIZATIONS, nn.SyncBatchNorm):
        per = 4 if is_affine(owner, "affine", "elementwise_affine") else 2
        return extra(f"{type(owner).__name__} is counted, {per} for each element", per * row.taken)
    if row.owned_by(*RECURRENT):
        return recurrent(row, PER_UNIT, 2)
    return _by_elements(row)


def _by_elements(row: Row) -> Counted:
    owner, name = row.owner, type(row.owner).__name__
    if row.owned_by(nn.Softmax):
        features = row.inputs[0][owner.dim or 0] if isinstance(owner, nn.Softmax) else 1
        return extra("Softmax is counted, 3 for each element less 1 a row", row.taken // features * (3 * features - 1))
    if row.owned_by(nn.PReLU):
        return extra("PReLU is counted, 1 for each element", row.taken)
    if row.owned_by(*AVERAGE_POOLS):
        return extra(f"{name} is counted, 1 for each output", row.given)
    if row.owned_by(*ADAPTIVE_AVERAGES):
        window = prod(a / b for a, b in zip(row.inputs[0][2:], row.outputs[0][2:], strict=True))
        return extra(f"{name} is counted, its window and 1 for each output", int((window + 1) * row.given))
    if isinstance(owner, nn.Upsample) and row.owned_by(nn.Upsample, nn.UpsamplingBilinear2d, nn.UpsamplingNearest2d):
        per = UPSAMPLING.get(owner.mode, 0)
        return extra(f"{name} is counted, {per} for each output", per * row.given)
    return NOTHING
