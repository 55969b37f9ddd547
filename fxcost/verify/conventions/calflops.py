"""calflops 0.3: functions it replaces, while a module runs (`calflops/pytorch_ops.py`); a multiply-add is 2 FLOPs."""

from math import prod

from fxcost.verify.conventions.ledger import (
    CONVOLUTIONS,
    NOTHING,
    RECURRENT,
    TRANSPOSED,
    TRANSPOSED_MODULES,
    Counted,
    Resize,
    Row,
    einsum,
    extra,
    product_of_shapes,
    recurrent,
    through_the_tree,
    with_bias,
)
from fxcost.verify.conventions.ptflops import FUNCTIONS, OPERATORS, pointwise

NORMALIZATIONS = frozenset({"layer_norm", "group_norm", "instance_norm"})
PER_UNIT = {"lstm": 10 - 8, "gru": 7 - 6, "rnn": 1 - 2}
"""A sum of n products is 2n − 1 here, twice for each gate."""


def calflops(row: Row) -> Counted:
    """Products, convolutions with bias, normalizations, activations, pooling and softmax that are called by name."""
    return through_the_tree(by_functions(row), row, 2)


def by_functions(row: Row) -> Counted:
    """What its functions and hooks find in one operation, wherever it stands in the model."""
    if row.owned_by(*RECURRENT):
        return recurrent(row, PER_UNIT, 2)
    if not row.by_name:
        return NOTHING
    if row.op == "linear":
        return Counted(row.macs)
    if row.op == "matmul":
        return product_of_shapes(row)
    if row.op == "einsum":
        return einsum(row, 2)
    if row.op in {"addmm", "baddbmm"}:
        return Counted(row.macs, (("biases are counted", row.taken),))
    if row.op in CONVOLUTIONS:
        return with_bias(row)
    if row.op in TRANSPOSED:
        return _transposed(row)
    return _by_elements(row)


def _transposed(row: Row) -> Counted:
    weight, groups = row.inputs[1], int(getattr(row.owner, "groups", 1))
    counted = prod(row.inputs[0][2:]) * row.inputs[0][0] * prod(weight[2:]) * weight[0] * (weight[1] // groups)
    extras = (("biases of transposed convolutions are counted by the output of a plain one", _bias_of_plain(row)),)
    return Counted(counted, extras, "grouped transposed convolutions are divided by their groups twice")


def _bias_of_plain(row: Row) -> int:
    owner, image = row.owner, row.inputs[0]
    if not isinstance(owner, TRANSPOSED_MODULES) or owner.bias is None:
        return 0
    sizes = zip(image[2:], owner.kernel_size, owner.stride, owner.padding, owner.dilation, strict=True)
    plain = [(n + 2 * int(pad) - (dilation * (k - 1) + 1)) // step + 1 for n, k, step, pad, dilation in sizes]
    return row.inputs[1][1] * image[0] * prod(plain)


def _by_elements(row: Row) -> Counted:
    if row.op == "batch_norm":
        per = 2 if len(row.inputs) > 3 else 1
        return extra(f"batch_norm is counted, {per} for each element", per * row.taken)
    if row.op in NORMALIZATIONS:
        per = 5 if len(row.inputs) > 1 else 4
        return extra(f"{row.op} is counted, {per} for each element", per * row.taken)
    if row.op in FUNCTIONS | {"leaky_relu"}:
        return extra(f"{row.op} is counted, 1 for each element", row.taken)
    if row.op in OPERATORS:
        return pointwise(row)
    if row.op.startswith("upsample"):
        return _resized(row)
    return NOTHING


def _resized(row: Row) -> Counted:
    size = row.asked.size if isinstance(row.asked, Resize) else None
    if size is None:  # a product with the scale is computed and thrown away
        return extra(f"{row.op} is counted, 1 for each input", row.taken)
    if isinstance(size, int):
        return extra(f"{row.op} is counted, 1 for each pixel of one new side", size)
    return extra(f"{row.op} is counted, 1 for each pixel of the new size", prod(size))
