"""Arithmetic of normalizations, softmax, pooling and reductions."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# sympy and torch are typed in part.

from typing import Any

import sympy
import torch

from fxcost.formulas.with_sympy import apply
from fxcost.ops.rules import Call, op, per_input, per_output

aten = torch.ops.aten

SOFTMAX = 5
"""Maximum, subtract, exp, sum, divide; the count LLM-Viewer uses too (arXiv:2402.16363)."""
STANDARDIZE = 5
"""Mean, subtract, square, variance, scale; what is done once for each row or channel is not counted."""
BATCH_NORM_EVAL = 2
"""A multiply and an add for each element: mean, variance, weight and bias fold into a scale and a shift a channel."""
RMS = 3
"""Square, sum, scale."""

per_output(
    SOFTMAX,
    aten.softmax,
    aten.log_softmax,
    aten._softmax,
    aten._log_softmax,
    aten._safe_softmax,
    aten.special_softmax,
    aten.special_log_softmax,
    reason="maximum, subtract, exp, sum, divide",
)
per_input(
    1,
    aten.sum, aten.amax, aten.amin, aten.argmax, aten.argmin, aten.any, aten.all, aten.prod, aten.max, aten.min,
    aten.histc, aten._is_all_true, aten._is_any_true,
    reason="one addition or comparison for each element reduced",
)  # fmt: skip
per_input(2, aten.aminmax, aten._aminmax, reason="a comparison for the least and one for the greatest of each element")
per_input(2, aten.nansum, reason="is it a number, and an addition, for each element reduced")
per_input(2, aten.count_nonzero, reason="is it zero, and an addition, for each element")
per_input(
    4, aten.var, aten.std, aten.var_mean, aten.std_mean, reason="mean, subtract, square, sum for each element reduced"
)
per_output(
    1, aten.cumsum, aten.cumprod, aten.cummax, aten.cummin,
    reason="one addition, product or comparison for each output element",
)  # fmt: skip
per_output(7, aten.logcumsumexp, reason="a maximum and a log(1 + exp(−|a − b|)) to add each element, as logaddexp")
per_output(3, aten._weight_norm, aten._weight_norm_interface, reason="a square, a sum and a scale for each element")


def _given(call: Call, *names: str) -> int:
    return sum(call.arguments.get(name) is not None for name in names)


@op(
    aten.logsumexp,
    aten.special_logsumexp,
    reason="maximum, subtract, exp, sum for each element reduced; log and add for each output element",
)
def log_of_sum(call: Call) -> sympy.Expr:
    return 4 * call.tensors[0][1].elements + 2 * call.output.elements


@op(aten.diff, reason="one difference for each element of each pass; a pass is one place shorter than what it is given")
def differences(call: Call) -> sympy.Expr:
    dim, given = call["dim"], (call[name] for name in ("prepend", "self", "append"))
    others = sympy.Mul(*(size for axis, size in enumerate(call.output.shape) if axis != dim % len(call.output.shape)))
    length = sympy.Add(*(tensor.shape[dim] for tensor in given if tensor is not None))
    left = (length - taken for taken in range(1, call["n"] + 1))
    return others * sympy.Add(*(n if n.is_nonnegative else apply(sympy.Max, n, sympy.Integer(0)) for n in left))


@op(aten.trace, reason="one addition for each element of the diagonal")
def trace(call: Call) -> sympy.Expr:
    return apply(sympy.Min, *call["self"].shape)


@op(aten.nanmean, reason="two sums and a look for numbers, for each element reduced, and a division for each result")
def mean_of_numbers(call: Call) -> sympy.Expr:
    return 3 * call["self"].elements + call.output.elements


@op(aten.mean, reason="one addition for each element reduced, one division for each output element")
def mean(call: Call) -> sympy.Expr:
    return call.tensors[0][1].elements + call.output.elements


@op(
    aten.layer_norm,
    aten.group_norm,
    aten.native_layer_norm,
    aten.native_group_norm,
    reason="mean, subtract, square, variance, scale; then weight and bias",
)
def standardization(call: Call) -> sympy.Expr:
    return (STANDARDIZE + _given(call, "weight", "bias")) * call.output.elements


@op(aten.rms_norm, aten._fused_rms_norm, reason="square, sum, scale; then the weight")
def root_mean_square(call: Call) -> sympy.Expr:
    return (RMS + _given(call, "weight")) * call.output.elements


@op(
    aten.batch_norm,
    aten.instance_norm,
    aten.native_batch_norm,
    aten._native_batch_norm_legit,
    aten._native_batch_norm_legit_no_training,
    aten.cudnn_batch_norm,
    reason="with running statistics one multiply-add for each element; with the batch's own, as layer norm",
)
def batch_norm(call: Call) -> sympy.Expr:
    arguments = call.arguments
    without = call.operator.endswith(".no_stats") or arguments.get("running_mean") is None
    own_statistics = without or arguments.get("training") or arguments.get("use_input_stats")
    factor = STANDARDIZE + _given(call, "weight", "bias") if own_statistics else BATCH_NORM_EVAL
    return factor * call.output.elements


def _spatial_dims(call: Call) -> int:
    return int(call.operator.partition("pool")[2][0])


def _window(size: Any, dims: int) -> sympy.Expr:
    sizes = size if isinstance(size, tuple) else (size,)
    return sympy.Mul(*(sizes * dims if len(sizes) == 1 else sizes))


@op(
    aten.max_pool1d, aten.max_pool2d, aten.max_pool3d, aten.max_pool2d_with_indices,
    aten.max_pool1d_with_indices, aten.max_pool3d_with_indices, aten.fractional_max_pool2d, aten.fractional_max_pool3d,
    aten.avg_pool1d, aten.avg_pool2d, aten.avg_pool3d,
    reason="one comparison or addition for each element of the window, as in NVIDIA's GPU Performance Background guide",
)  # fmt: skip
def pooling(call: Call) -> sympy.Expr:
    return call.output.elements * _window(call["kernel_size"], _spatial_dims(call))


@op(
    aten._adaptive_avg_pool2d, aten._adaptive_avg_pool3d,
    aten.adaptive_avg_pool1d, aten.adaptive_avg_pool2d, aten.adaptive_avg_pool3d,
    aten.adaptive_max_pool1d, aten.adaptive_max_pool2d, aten.adaptive_max_pool3d,
    reason="one operation for each element of each window; windows overlap where the sizes do not divide",
    unknown_when=lambda call: any(visited is None for visited in _visits(call)),
)  # fmt: skip
def adaptive_pooling(call: Call) -> sympy.Expr:
    visits = [visited for visited in _visits(call) if visited is not None]
    return sympy.Mul(*call.output.shape[: -len(visits)], *visits)


def _visits(call: Call) -> list[sympy.Expr | None]:
    source, target, dims = call.tensors[0][1].shape, call.output.shape, _spatial_dims(call)
    return [_visited(size, windows) for size, windows in zip(source[-dims:], target[-dims:], strict=True)]


def _visited(size: sympy.Expr, windows: sympy.Expr) -> sympy.Expr | None:
    """Elements of all windows along one dimension: window i runs from ⌊i·size/windows⌋ to ⌈(i+1)·size/windows⌉.

    None for a symbolic number of windows that does not divide the size: how often they overlap is a matter of
    divisors, which no formula here says.
    """
    if size == windows or apply(sympy.floor, size / windows) == size / windows:
        return size
    if not windows.is_Integer:
        return None
    count = int(windows)
    shared = (apply(sympy.ceiling, i * size / count) - apply(sympy.floor, i * size / count) for i in range(1, count))
    return size + sympy.Add(*shared)
