"""Multiply-adds of convolutions and matrix products."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# sympy and torch are typed in part.

from collections import deque
from collections.abc import Mapping
from functools import cache

import sympy
import torch
from torch._ops import OpOverload
from torch.fx import Node

from fxcost.formulas.with_sympy import TOUCHED, apply
from fxcost.ops.kernels import LINEAR_DYNAMIC
from fxcost.ops.rules import Call, contraction, named_arguments
from fxcost.ops.shapes import met

aten = torch.ops.aten


@contraction(
    aten.conv1d, aten.conv2d, aten.conv3d, aten._convolution_mode, aten._conv_depthwise2d, aten.conv_depthwise3d,
    aten.thnn_conv2d, aten.slow_conv3d, aten.mkldnn_convolution, aten.cudnn_convolution,
    reason="Cin/groups · kernel size multiply-adds for each output element, padding counted as data, bias not",
)  # fmt: skip
def convolution(call: Call) -> sympy.Expr:
    return call.output.elements * sympy.Mul(*call["weight"].shape[1:])


@contraction(
    aten.conv_transpose1d, aten.conv_transpose2d, aten.conv_transpose3d,
    reason="each input element meets Cout/groups · kernel size weights",
)  # fmt: skip
def transposed_convolution(call: Call) -> sympy.Expr:
    return call["input"].elements * sympy.Mul(*call["weight"].shape[1:])


@contraction(
    aten.convolution, aten._convolution, reason="as a convolution, or as a transposed one, by the argument 'transposed'"
)
def any_convolution(call: Call) -> sympy.Expr:
    return transposed_convolution(call) if call["transposed"] else convolution(call)


@contraction(
    aten.conv_tbc, reason="Cin · kernel size multiply-adds for each output element, time first and channels last"
)
def convolution_over_time(call: Call) -> sympy.Expr:
    return call.output.elements * sympy.Mul(*call["weight"].shape[:2])


@contraction(aten.linear, reason="one multiply-add for each input feature of each output element, bias not counted")
def linear(call: Call) -> sympy.Expr:
    return call.output.elements * call["input"].shape[-1]


@contraction(
    LINEAR_DYNAMIC,
    reason="one multiply-add for each input feature of each output element; bias, and rounding of the input within the kernel, not counted",
)
def dynamic_linear(call: Call) -> sympy.Expr:
    return linear(call)


@contraction(
    aten.matmul, aten.mm, aten.bmm, aten.mv, aten.dot, aten.vdot, aten.linalg_matmul, aten._int_mm, aten._scaled_mm,
    aten._scaled_mm_v2, aten._weight_int8pack_mm, aten._weight_int4pack_mm, aten._weight_int4pack_mm_for_cpu,
    aten.mkldnn_linear,
    reason="one multiply-add for each element of the contracted dimension and each output element",
)  # fmt: skip
def matrix_product(call: Call) -> sympy.Expr:
    return call.output.elements * call.tensors[0][1].shape[-1]


@contraction(aten.addmm, aten.baddbmm, aten.addmv, reason="as a matrix product; the addend is not counted, like a bias")
def matrix_product_with_addend(call: Call) -> sympy.Expr:
    left = call["mat1"] if "mat1" in call.arguments else call["batch1"] if "batch1" in call.arguments else call["mat"]
    return call.output.elements * left.shape[-1]


@contraction(aten.addbmm, reason="as a batch of matrix products, which add up to one output; the addend is not counted")
def summed_matrix_products(call: Call) -> sympy.Expr:
    return call["batch1"].elements * call["batch2"].shape[-1]


@contraction(
    aten.inner, reason="one multiply-add for each element of the last dimension and each output element",
    unknown_when=lambda call: any(not t.shape for _, t in call.tensors),
    unknown_why="inner with a number is a product, not a contraction",
)  # fmt: skip
def inner_product(call: Call) -> sympy.Expr:
    return call.output.elements * call["self"].shape[-1]


@contraction(aten.linalg_vecdot, reason="one multiply-add for each pair of elements")
def dot_products(call: Call) -> sympy.Expr:
    return met(call["x"].shape, call["y"].shape)


@contraction(aten.tensordot, reason="one multiply-add for each element of the contracted dimensions and output element")
def tensor_product(call: Call) -> sympy.Expr:
    return call.output.elements * sympy.Mul(*(call["self"].shape[d] for d in call["dims_self"]))


@contraction(
    aten.linalg_multi_dot, aten.chain_matmul,
    reason="matrix products in the order that takes the fewest multiply-adds, as torch chooses it",
)  # fmt: skip
def matrix_chain(call: Call) -> sympy.Expr:
    """The cheapest order by dynamic programming over the cuts, each a Min where sizes are symbols."""
    matrices = [list(tensor.shape) for _, tensor in call.tensors]
    if len(matrices[0]) == 1:
        matrices[0] = [sympy.Integer(1), *matrices[0]]  # a vector first is a row,
    if len(matrices[-1]) == 1:
        matrices[-1].append(sympy.Integer(1))  # and a vector last a column
    sides = [matrices[0][0], *(matrix[1] for matrix in matrices)]

    @cache
    def cheapest(first: int, last: int) -> sympy.Expr:
        if last - first < 2:
            return sympy.Integer(0)
        cuts = [
            cheapest(first, cut) + cheapest(cut, last) + sides[first] * sides[cut] * sides[last]
            for cut in range(first + 1, last)
        ]
        return cuts[0] if len(cuts) == 1 else apply(sympy.Min, *cuts)

    return cheapest(0, len(matrices))


@contraction(
    aten.bilinear,
    reason="the second input meets the weight's last dimension, and the first input what comes out; bias not counted",
)  # fmt: skip
def bilinear(call: Call) -> sympy.Expr:
    _, first, second = call["weight"].shape
    return call.output.elements * first * (second + 1)


@contraction(
    aten.affine_grid_generator,
    reason="each position of the grid, with a 1 beside it, meets each row of the affine matrix",
)  # fmt: skip
def affine_grid(call: Call) -> sympy.Expr:
    return call.output.elements * call["theta"].shape[-1]


def _experts_touched(call: Call) -> Mapping[str, sympy.Expr]:
    """Each token picks some of the experts, all alike; a row is a token with one expert that it picked."""
    if _is_not_rows_by_experts(call):
        return {}
    weight_name, rows = _weight_name(call), call.tensors[0][1].shape[0]
    experts, *matrix = call[weight_name].shape
    picked = sympy.Integer(_picked(call.node))
    return {weight_name: apply(TOUCHED, experts, picked, rows / picked) * sympy.Mul(*matrix)}


def _picked(node: Node | None) -> int:
    """How many experts a token is sent to, by the choice of the greatest scores that comes before; 1 where there is none."""
    waiting, seen = deque[Node](node.all_input_nodes if node else ()), set[Node]()
    while waiting:
        each = waiting.popleft()
        if each in seen:
            continue
        seen.add(each)
        if isinstance(each.target, OpOverload) and str(each.target) == "aten.topk.default":
            picked = named_arguments(each.target, each.args, each.kwargs)["k"]
            if isinstance(picked, int):
                return picked
        waiting.extend(each.all_input_nodes)
    return 1


def _weight_name(call: Call) -> str:
    return "weight" if "weight" in call.arguments else "mat2"


def _is_not_rows_by_experts(call: Call) -> bool:
    return (len(call.tensors[0][1].shape), len(call[_weight_name(call)].shape)) != (2, 3)


@contraction(
    aten._grouped_mm,
    aten._scaled_grouped_mm,
    aten._scaled_grouped_mm_v2,
    "transformers.grouped_mm_fallback",
    reason="each row meets the one expert it is sent to; tokens pick experts uniformly, so that of E experts, of which "
    "each token picks k, E·(1 − (1 − k/E)^tokens) are expected to be read",
    reads=_experts_touched,
    unknown_when=_is_not_rows_by_experts,
    unknown_why="a grouped product of other shapes than rows by a matrix for each expert has no rule",
)
def grouped_matrix_product(call: Call) -> sympy.Expr:
    return call.tensors[0][1].elements * call[_weight_name(call)].shape[-1]
