"""Multiply-adds of attention, alone and with the projections and layers that fast paths put around it."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# sympy and torch are typed in part.

from collections.abc import Mapping
from typing import Any

import sympy
import torch

from fxcost.ops.kernels import ATTENTION, MASK
from fxcost.ops.rules import Call, Rule, contraction, free, register
from fxcost.ops.vector.normalization import STANDARDIZE
from fxcost.ops.vector.pointwise import GELU_ERF

aten = torch.ops.aten


def attention_pairs(call: Call) -> sympy.Expr:
    """Elements of the score matrix: batch, heads and positions of the output, by the positions of the key."""
    return sympy.Mul(*call.output.shape[:-1]) * call["key"].shape[-2]


def _value_within_key(call: Call) -> Mapping[str, sympy.Expr]:
    """A value that is the beginning of each key, as latent attention has it, is read with the keys."""
    key, value = call["key"], call["value"]
    same = (key.storage, key.offset, key.strides, key.shape[:-1]) == (
        *(value.storage, value.offset, value.strides, value.shape[:-1]),
    )
    return {"value": sympy.Integer(0)} if same and (value.shape[-1] - key.shape[-1]).is_negative else {}


@contraction(
    aten.scaled_dot_product_attention,
    aten._scaled_dot_product_attention_math,
    aten._scaled_dot_product_flash_attention,
    aten._scaled_dot_product_flash_attention_for_cpu,
    aten._scaled_dot_product_efficient_attention,
    aten._scaled_dot_product_cudnn_attention,
    aten._scaled_dot_product_fused_attention_overrideable,
    ATTENTION,
    reason="each query meets each key over the head size, and each value over its own; "
    "softmax, scale and mask run inside the fused kernel and are not counted",
    reads=_value_within_key,
    scores=attention_pairs,
)
def attention(call: Call) -> sympy.Expr:
    return attention_pairs(call) * (call["query"].shape[-1] + call["value"].shape[-1])


free(MASK)


def _projected_attention(query: Any, key: Any, value: Any) -> sympy.Expr:
    """Multiply-adds of projections in and out and of attention over inputs ``[B, positions, width]``."""
    width = query.shape[-1]
    projections = (2 * query.elements + key.elements + value.elements) * width
    return projections + 2 * query.elements * key.shape[-2]


@contraction(
    aten._native_multi_head_attention,
    reason="queries, keys, values and the output meet a square matrix each; each query meets each key and each value; "
    "biases, softmax, scale and mask are not counted",
)
def multi_head_attention(call: Call) -> sympy.Expr:
    return _projected_attention(call["query"], call["key"], call["value"])


def _encoder_layer_macs(call: Call) -> sympy.Expr:
    source, hidden = call["src"], call["ffn_weight_1"].shape[0]
    return _projected_attention(source, source, source) + 2 * source.elements * hidden


def _norms_and_activation(call: Call) -> sympy.Expr:
    source, hidden = call["src"], call["ffn_weight_1"].shape[0]
    norms_and_sums = 2 * (STANDARDIZE + 2) + 2
    activation = (GELU_ERF if call["use_gelu"] else 1) * source.elements / source.shape[-1] * hidden
    return norms_and_sums * source.elements + activation


register(
    Rule(
        "encoder_layer",
        "multi-head attention and the two matrices of the feed-forward layer; on top of the multiply-adds two layer "
        "norms with weight and bias, two residual sums and the activation",
        macs=_encoder_layer_macs,
        vector=_norms_and_activation,
    ),
    aten._transformer_encoder_layer_fwd,
)  # fmt: skip
