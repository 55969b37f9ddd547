"""Attention by every kernel, against products that torch's own counter sees."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fxcost.costs.model import CostModel

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
