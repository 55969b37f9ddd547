"""Arithmetic of losses; what is ignored by its target depends on the data, and is counted as if it were not."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# sympy and torch are typed in part.

from collections.abc import Callable, Mapping
from typing import Any

import sympy
import torch
from torch._ops import OpOverloadPacket

from fxcost.graph import TensorSpec
from fxcost.ops.rules import Call, op, unknown
from fxcost.ops.shapes import Shape, broadcast, met
from fxcost.ops.vector.distances import of_difference, of_root
from fxcost.ops.vector.normalization import SOFTMAX
from fxcost.ops.vector.pointwise import LOG_SIGMOID

aten = torch.ops.aten

SUMMED = "and a sum for each unless 'reduction' is none"


def _is_reduced(call: Call) -> int:
    return int(call["reduction"] != 0)


def _is_given(call: Call, *names: str) -> int:
    return sum(call.arguments.get(name) is not None for name in names)


def _loss(
    factor: int | Callable[[Call], int], *operators: OpOverloadPacket, reason: str, other: str = "target", **parts: Any
) -> None:
    """Register losses that do so much for each pair of elements of ``self`` and the ``other`` argument."""

    @op(*operators, reason=f"{reason}; {SUMMED}", **parts)
    def loss(call: Call) -> sympy.Expr:  # pyright: ignore[reportUnusedFunction]  # the table holds it
        each = factor if isinstance(factor, int) else factor(call)
        return (each + _is_reduced(call)) * met(call["self"].shape, call[other].shape)


_loss(2, aten.mse_loss, reason="subtract and square")
_loss(2, aten.l1_loss, reason="subtract and absolute value")
_loss(
    lambda call: 6 if call["beta"] else 2, aten.smooth_l1_loss,
    reason="subtract, absolute value, compare, square, halve, divide by beta; as l1_loss where beta is 0",
)  # fmt: skip
_loss(5, aten.huber_loss, reason="subtract, absolute value, compare, square, halve")
_loss(
    lambda call: 9 + _is_given(call, "weight"), aten.binary_cross_entropy,
    reason="(t − 1)·max(log(1 − x), −100) − t·max(log(x), −100): two logarithms, two maxima, two products, subtract and "
    "negate to their arguments, subtract; and a product where it has a weight",
)  # fmt: skip
_loss(
    lambda call: 3 if call["log_target"] else 4, aten.kl_div,
    reason="t·log(t) − t·x: a logarithm, two products, a difference; exp(t)·(t − x) of logarithms: exp, subtract, multiply",
)  # fmt: skip
_loss(5, aten.soft_margin_loss, reason="log(1 + exp(−t·x)): multiply, negate, exp, add, log")
_loss(
    7, aten.hinge_embedding_loss,
    reason="max(margin − x, 0) where the target is not 1, and x where it is not −1: subtract, maximum, compare and choose "
    "twice, add",
)  # fmt: skip


@op(
    aten.binary_cross_entropy_with_logits,
    reason="(1 − t)·x − w·log(sigmoid(x)): subtract, multiply, logarithm of the sigmoid as log_sigmoid, subtract; subtract, "
    f"multiply and add to w, and a product, where it has a pos_weight; and a product where it has a weight; {SUMMED}",
)
def binary_cross_entropy_with_logits(call: Call) -> sympy.Expr:
    pairs, weight = met(call["self"].shape, call["target"].shape), call["pos_weight"]
    weighted = 0 if weight is None else weight.elements + 3 * pairs
    return (3 + LOG_SIGMOID + _is_given(call, "weight") + _is_reduced(call)) * pairs + weighted


@op(
    aten.poisson_nll_loss,
    reason="exp(x) − t·x: exp, multiply, subtract; of counts, x − t·log(x + eps): add, log, multiply, subtract; with 'full', "
    f"Stirling's t·log(t) − t + log(2πt)/2: ten more with a choice and a sum; {SUMMED}",
)
def poisson_loss(call: Call) -> sympy.Expr:
    each = (3 if call["log_input"] else 4) + 10 * bool(call["full"])
    return (each + _is_reduced(call)) * met(call["input"].shape, call["target"].shape)


def _together(call: Call, *names: str) -> sympy.Expr:
    shape: Shape = ()
    for name in names:
        shape = broadcast(shape, call[name].shape)
    return sympy.Mul(*shape)


@op(
    aten.margin_ranking_loss,
    reason=f"max(−t·(x − y) + margin, 0): negate, subtract, multiply, add, maximum; {SUMMED}",
)
def margin_ranking_loss(call: Call) -> sympy.Expr:
    return (5 + _is_reduced(call)) * _together(call, "input1", "input2", "target")


@op(
    aten.cosine_embedding_loss,
    reason="three products and sums for each pair of elements; for each pair of rows two sums with eps, a product, a root "
    f"and a division to the cosine, then 1 − cosine, max(cosine − margin, 0), two comparisons, two choices, a sum; {SUMMED}",
)
def cosine_embedding_loss(call: Call) -> sympy.Expr:
    pairs, rows = met(call["input1"].shape, call["input2"].shape), call["target"].elements
    return 6 * pairs + (13 + _is_reduced(call)) * rows


@op(
    aten.triplet_margin_loss,
    reason="two distances, a third where they are swapped and a minimum, as pairwise_distance; for each row subtract, add, "
    f"maximum; {SUMMED}",
)
def triplet_margin_loss(call: Call) -> sympy.Expr:
    distances = 2 + bool(call["swap"])
    pairs = _together(call, "anchor", "positive", "negative")
    rows = sympy.Mul(*broadcast(call["anchor"].shape, broadcast(call["positive"].shape, call["negative"].shape))[:-1])
    apart = (of_difference(call["p"]) + 1) * pairs + of_root(call["p"]) * rows
    return distances * apart + (3 + bool(call["swap"]) + _is_reduced(call)) * rows


@op(
    aten.multi_margin_loss,
    reason="max(margin − x_t + x, 0) for each class: subtract, add, maximum, a sum; a square where p is 2, a product where "
    f"it has a weight; a division for each row, {SUMMED}",
)
def multi_margin_loss(call: Call) -> sympy.Expr:
    each = 4 + (call["p"] == 2) + _is_given(call, "weight")
    return each * call["self"].elements + (1 + _is_reduced(call)) * call["target"].elements


def _of_picked(call: Call) -> int:
    """For each target: negate; a product where it has a weight; the sums of a reduction, of the weights too for a mean."""
    weighted = _is_given(call, "weight")
    return 1 + weighted + _is_reduced(call) + weighted * (call["reduction"] == MEAN)


MEAN = 1
"""torch's number for losses that are averaged."""


def _picked(call: Call) -> Mapping[str, sympy.Expr]:
    return {"self": call["target"].elements}


@op(
    aten.nll_loss, aten.nll_loss_nd, aten.nll_loss2d, aten.nll_loss_forward, aten.nll_loss2d_forward,
    reason=f"for each target negate, a product where it has a weight; {SUMMED}, of weights too for a mean. Reads the elements "
    "that targets pick, not the whole input",
    reads=_picked,
)  # fmt: skip
def negative_log_likelihood(call: Call) -> sympy.Expr:
    return _of_picked(call) * call["target"].elements


@op(
    aten.cross_entropy_loss,
    reason="a logarithm of softmax, then as nll_loss; where targets are probabilities, a product and a sum for each element "
    "and a negation for each place. With smoothed labels, a sum (or two operations to each probability) for each element and "
    f"three for each place; {SUMMED}",
)
def cross_entropy(call: Call) -> sympy.Expr:
    logits, weighted, smoothed = call["self"], _is_given(call, "weight"), bool(call["label_smoothing"])
    if is_probabilities(call["self"], call["target"]):
        places = sympy.Mul(*(size for axis, size in enumerate(logits.shape) if axis != _class_axis(logits)))
        return (SOFTMAX + 2 + weighted + 2 * smoothed) * logits.elements + (1 + _is_reduced(call)) * places
    smoothing = (1 + weighted) * logits.elements + 3 * call["target"].elements if smoothed else 0
    return SOFTMAX * logits.elements + _of_picked(call) * call["target"].elements + smoothing


def is_probabilities(logits: TensorSpec, target: TensorSpec) -> bool:
    """Whether a target has a number for each class, and not the number of one."""
    return target.shape == logits.shape and target.dtype.startswith(("float", "bfloat"))


def _class_axis(logits: TensorSpec) -> int:
    return 1 if len(logits.shape) > 1 else 0


unknown(
    aten.ctc_loss, aten._ctc_loss, aten.multilabel_margin_loss, aten.multilabel_margin_loss_forward,
    reason="how much this loss does depends on its lengths or labels, which are data",
    reads=lambda call: {name: sympy.Integer(0) for name, _ in call.tensors},
)  # fmt: skip
