"""Multiply-adds of convolutions, matrix products and attention."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# sympy and torch are typed in part.

from collections.abc import Mapping

import sympy
import torch

from fxcost.evaluation import apply
from fxcost.ops.rules import Call, contraction

aten = torch.ops.aten


@contraction(
    aten.conv1d, aten.conv2d, aten.conv3d,
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


@contraction(aten.linear, reason="one multiply-add for each input feature of each output element, bias not counted")
def linear(call: Call) -> sympy.Expr:
    return call.output.elements * call["input"].shape[-1]


@contraction(
    aten.matmul, aten.mm, aten.bmm, aten.mv, aten.dot,
    reason="one multiply-add for each element of the contracted dimension and each output element",
)  # fmt: skip
def matrix_product(call: Call) -> sympy.Expr:
    return call.output.elements * call.tensors[0][1].shape[-1]


@contraction(aten.addmm, aten.baddbmm, aten.addmv, reason="as a matrix product; the addend is not counted, like a bias")
def matrix_product_with_addend(call: Call) -> sympy.Expr:
    left = call["mat1"] if "mat1" in call.arguments else call["batch1"] if "batch1" in call.arguments else call["mat"]
    return call.output.elements * left.shape[-1]


def attention_pairs(call: Call) -> sympy.Expr:
    """Elements of the score matrix: batch, heads and positions of the output, by the positions of the key."""
    return sympy.Mul(*call.output.shape[:-1]) * call["key"].shape[-2]


@contraction(
    aten.scaled_dot_product_attention,
    reason="each query meets each key over the head size, and each value over its own; "
    "softmax, scale and mask run inside the fused kernel and are not counted",
    scores=attention_pairs,
)
def attention(call: Call) -> sympy.Expr:
    return attention_pairs(call) * (call["query"].shape[-1] + call["value"].shape[-1])


def _experts_touched(call: Call) -> Mapping[str, sympy.Expr]:
    weight_name, rows = _weight_name(call), call.tensors[0][1].shape[0]
    experts, *matrix = call[weight_name].shape
    return {weight_name: apply(sympy.Min, experts, rows) * sympy.Mul(*matrix)}


def _weight_name(call: Call) -> str:
    return "weight" if "weight" in call.arguments else "mat2"


@contraction(
    aten._grouped_mm,
    "transformers.grouped_mm_fallback",
    reason="each row meets the one expert it is sent to; rows are taken to spread over as many experts as they can, "
    "so min(experts, rows) experts' weights are read",
    reads=_experts_touched,
)
def grouped_matrix_product(call: Call) -> sympy.Expr:
    return call.tensors[0][1].elements * call[_weight_name(call)].shape[-1]


def _einsum_terms(call: Call) -> tuple[list[str], str]:
    """The letters of each operand and of the result, an ellipsis written out in capital letters of its own."""
    equation = call["equation"].replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms, operands = left.split(","), call["tensors"]
    ranks = [len(o.shape) - len(t.replace("...", "")) for t, o in zip(terms, operands, strict=True) if "..." in t]
    dots = "".join(chr(0x100 + i) for i in range(max(ranks, default=0)))
    terms = [
        t.replace("...", dots[len(dots) - len(o.shape) + len(t.replace("...", "")) :])
        for t, o in zip(terms, operands, strict=True)
    ]
    if not arrow:
        once = sorted(c for c in set("".join(terms)) - set(dots) if "".join(terms).count(c) == 1)
        right = "..." + "".join(once)
    return terms, right.replace("...", dots)


@contraction(
    aten.einsum,
    reason="operands meet from left to right, one multiply-add for each combination of the letters the two have; "
    "letters that nothing later needs are summed away",
)
def einsum(call: Call) -> sympy.Expr:
    terms, result = _einsum_terms(call)
    sizes: dict[str, sympy.Expr] = {}
    for term, operand in zip(terms, call["tensors"], strict=True):
        for letter, size in zip(term, operand.shape, strict=True):
            sizes[letter] = size if sizes.get(letter, 1) == 1 else sizes[letter]
    total, held = sympy.Integer(0), terms[0]
    for index, term in enumerate(terms[1:], start=1):
        met = dict.fromkeys(held + term)
        total += sympy.Mul(*(sizes[letter] for letter in met))
        needed = {*result, *"".join(terms[index + 1 :])}
        held = "".join(letter for letter in met if letter in needed)
    return total
