"""Multiply-adds of convolutions, matrix products and attention."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# sympy and torch are typed in part.

from collections.abc import Mapping
from dataclasses import dataclass

import sympy
import torch

from fxcost.evaluation import apply
from fxcost.ops.rules import MULTIPLY_ADD, Call, Rule, contraction, register

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


@contraction(aten.convolution, reason="as a convolution, or as a transposed one, by the argument 'transposed'")
def any_convolution(call: Call) -> sympy.Expr:
    return transposed_convolution(call) if call["transposed"] else convolution(call)


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


@dataclass(frozen=True)
class _Step:
    """Two operands of an einsum meeting: the letters they have, and those summed away."""

    met: frozenset[str]
    summed_in_both: bool
    summed_in_one: bool


def _einsum_steps(call: Call) -> tuple[list[_Step], dict[str, sympy.Expr]]:
    """Operands meet from left to right; an ellipsis is written out in letters that no equation has."""
    left, arrow, right = call["equation"].replace(" ", "").partition("->")
    operands, terms = call["tensors"], left.split(",")
    lengths = [len(o.shape) - len(t.replace("...", "")) for t, o in zip(terms, operands, strict=True)]
    dots = "".join(chr(0x100 + i) for i in range(max(lengths)))
    terms = [t.replace("...", dots[len(dots) - n :]) for t, n in zip(terms, lengths, strict=True)]
    letters = "".join(terms)
    result = set(right.replace("...", dots) if arrow else dots + "".join(c for c in letters if letters.count(c) == 1))
    sizes: dict[str, sympy.Expr] = {}
    for letter, size in (pair for t, o in zip(terms, operands, strict=True) for pair in zip(t, o.shape, strict=True)):
        sizes[letter] = size if sizes.get(letter, 1) == 1 else sizes[letter]
    steps: list[_Step] = []
    held = set(terms[0])
    for index, term in enumerate(terms[1:], start=1):
        gone = (held | set(term)) - result.union(*terms[index + 1 :])
        steps.append(_Step(frozenset(held | set(term)), bool(gone & held & set(term)), bool(gone & (held ^ set(term)))))
        held = (held | set(term)) - gone
    return steps, sizes


def _einsum_macs(call: Call) -> sympy.Expr:
    steps, sizes = _einsum_steps(call)
    return sympy.Add(*(sympy.Mul(*(sizes[c] for c in step.met)) for step in steps if step.summed_in_both))


def _einsum_flops(call: Call) -> sympy.Expr:
    steps, sizes = _einsum_steps(call)
    outer = (sympy.Mul(*(sizes[c] for c in step.met)) for step in steps if not step.summed_in_both)
    return MULTIPLY_ADD * _einsum_macs(call) + sympy.Add(*outer)


def _sums_one_operand(call: Call) -> bool:
    """Sums inside one operand, and diagonals, have no formula here; nor have complex numbers."""
    steps, _ = _einsum_steps(call)
    repeats = any(
        len(set(term)) < len(term) for term in call["equation"].replace("...", "").partition("->")[0].split(",")
    )
    return call.is_complex or repeats or not steps or any(step.summed_in_one for step in steps)


register(
    Rule(
        "einsum",
        "matrix",
        _einsum_flops,
        "operands meet from left to right: a multiply-add for each combination of their letters where they share one that "
        "is summed, a product where they do not",
        macs=_einsum_macs,
        unknown_when=_sums_one_operand,
    ),
    aten.einsum,
)
