"""The traffic pass: attention with and without its score matrix, roles and dtypes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from fxcost.api import trace


class Attention(nn.Module):
    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return nn.functional.scaled_dot_product_attention(q, k, v)


@pytest.mark.parametrize(("attention", "matrices"), [("fused", 0), ("math", 2)])
def test_the_score_matrix_moves_only_unfused(attention: Any, matrices: int) -> None:
    """Q, K and V in, O out, of 2·S·8 elements each; unfused, scores and probabilities are each written and read."""
    inputs = [f"{name}: float16[B,2,S,8]" for name in "qkv"]
    costs = trace(Attention(), inputs=inputs, at={"S": 16}, attention=attention).at(B=3, S=5)
    one, scores = 3 * 2 * 5 * 8, 3 * 2 * 5 * 5
    assert costs.total.reads == {"activation": {"float16": 3 * one + matrices * scores}}
    assert costs.total.writes == {"activation": {"float16": one + matrices * scores}}
    assert costs.total.flops == 2 * 2 * 3 * 2 * 5 * 5 * 8


def test_weights_and_buffers_are_weights(costs_of: Callable[..., Any]) -> None:
    """A batch norm of 4 channels reads 4 each of weight, bias, mean and variance; its input is an activation."""
    costs = costs_of(nn.BatchNorm1d(4), "input: float32[B,4]", B=3)
    assert costs.total.reads == {"weight": {"float32": 16}, "activation": {"float32": 12}}
    assert costs.total.writes == {"activation": {"float32": 12}}


def test_another_precision_needs_no_new_trace(costs_of: Callable[..., Any]) -> None:
    """Token ids stay 8 bytes; the table's rows and the output shrink with the precision."""
    costs = costs_of(nn.Embedding(100, 6), "input: int64[B,S]", B=2, S=3)
    assert costs.total.bytes_moved(costs.bits(32)) == 6 * 8 + 2 * 36 * 4
    assert costs.total.bytes_moved(costs.bits(16)) == 6 * 8 + 2 * 36 * 2
    assert costs.total.bytes_moved(costs.bits(4)) == 6 * 8 + 36


class LatentAttention(nn.Module):
    """Keys are latents with their rotary part beside them, values the latents alone, for all heads."""

    def __init__(self, values: slice) -> None:
        super().__init__()
        self.values = values

    def forward(self, q: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        return nn.functional.scaled_dot_product_attention(q, latent, latent[..., self.values], enable_gqa=True)


@pytest.mark.parametrize(("values", "read"), [(slice(None, 6), 0), (slice(2, None), 6), (slice(None), 0)], ids=str)
def test_values_that_begin_the_keys_are_read_once(values: slice, read: int) -> None:
    """4 heads' queries of 8 numbers, S positions of 8: a value of the first 6 comes with its key, another is read too."""
    inputs = ("q: float32[B,4,1,8]", "latent: float32[B,1,S,8]")
    costs = trace(LatentAttention(values), inputs=inputs, at={"S": 16}).at(B=3, S=5)
    assert costs.total.reads == {"activation": {"float32": 3 * 4 * 8 + 3 * 5 * (8 + read)}}
