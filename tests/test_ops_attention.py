"""Attention in the forms of a decomposed or fast-path program, against products that torch's own counter sees."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fxcost.costs.model import CostModel
from fxcost.ops import rule_of

Costs = Callable[..., CostModel]
aten = torch.ops.aten
SHAPES = "q: float32[B,4,S,8]", "k: float32[B,4,T,8]", "v: float32[B,4,T,8]"


def products(function: Any, *shapes: tuple[int, ...]) -> int:
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            function(*(torch.zeros(shape, device="meta") for shape in shapes))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    return counter.get_total_flops()


@pytest.mark.parametrize(
    "attend",
    [
        lambda q, k, v: aten._scaled_dot_product_flash_attention_for_cpu(q, k, v)[0],
        lambda q, k, v: aten._scaled_dot_product_flash_attention(q, k, v)[0],
        lambda q, k, v: aten._scaled_dot_product_efficient_attention(q, k, v, None, False)[0],
        lambda q, k, v: aten._scaled_dot_product_attention_math(q, k, v)[0],
    ],
    ids=["flash on a CPU", "flash", "efficient", "math"],
)
def test_every_kernel_is_attention(costs_of: Costs, attend: Any) -> None:
    (layer,) = [c for c in costs_of(attend, *SHAPES, B=2, S=6, T=9).layers if c.unit == "matrix"]
    assert layer.flops == products(functional.scaled_dot_product_attention, (2, 4, 6, 8), (2, 4, 9, 8), (2, 4, 9, 8))


def test_multi_head_attention_of_the_fast_path(call_by_hand: Callable[..., Any]) -> None:
    module = nn.MultiheadAttention(16, 4, batch_first=True, device="meta").eval()
    shapes = {"query": (2, 6, 16), "key": (2, 6, 16), "value": (2, 6, 16)}
    call = call_by_hand("aten._native_multi_head_attention.default", (2, 6, 16), shapes, num_head=4)
    rule = rule_of(call.operator)
    assert rule is not None
    unfused = products(lambda q, k, v: module(q, k, v, need_weights=False), *shapes.values())
    assert (2 * rule.macs(call), rule.vector(call)) == (unfused, 0)


@pytest.mark.parametrize("gelu", [True, False])
def test_encoder_layer_of_the_fast_path(costs_of: Costs, call_by_hand: Callable[..., Any], gelu: bool) -> None:
    """Multiply-adds as torch counts the same layer unfused; all FLOPs but the softmax's as a trace of it finds them."""
    activation = functional.gelu if gelu else functional.relu
    module = nn.TransformerEncoderLayer(16, 4, 24, activation=activation, batch_first=True, device="meta").eval()
    call = call_by_hand(
        "aten._transformer_encoder_layer_fwd.default", (2, 6, 16),
        {"src": (2, 6, 16), "ffn_weight_1": (24, 16)}, num_heads=4, use_gelu=gelu,
    )  # fmt: skip
    rule = rule_of(call.operator)
    assert rule is not None
    assert 2 * rule.macs(call) == products(module, (2, 6, 16))
    unfused = costs_of(module, "x: float32[B,S,16]", B=2, S=6)
    assert not unfused.unknown
    assert 2 * rule.macs(call) + rule.vector(call) == unfused.total.flops
