"""The arithmetic pass: one verdict for each operation, and causal attention with and without its masked pairs."""

from typing import Any

import pytest
import torch
from torch import nn

from fxcost.api import trace
from fxcost.passes import flops, flops_pass, parameters, traffic


class Attention(nn.Module):
    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal

    def forward(self, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        return nn.functional.scaled_dot_product_attention(q, k, k, is_causal=self.causal)


def attention(causal: bool, **options: Any) -> Any:
    q, k = "q: float32[B,2,S,8]", "k: float32[B,2,S,8]"
    return trace(Attention(causal), inputs=(q, k), at={"S": 16}, **options)


def pairs(length: int, causal: bool) -> int:
    """Query and key positions that attend to each other, one by one."""
    return sum(k <= q or not causal for q in range(length) for k in range(length))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("skip", [False, True])
def test_masked_pairs_are_skipped_only_when_asked(causal: bool, skip: bool) -> None:
    """Each pair costs 8 multiply-adds for its score and 8 for its value, in 2 heads of B examples."""
    costs = attention(causal, causal_skip=skip)
    for length in (1, 7, 20):
        assert costs.at(B=3, S=length).total.flops == 2 * 16 * 2 * 3 * pairs(length, causal and skip)
    told = "masked pairs of causal attention are counted"
    if skip:
        told = (
            "masked pairs of causal attention are skipped"
            if causal
            else "masked pairs are skipped in 0 of 1 attentions"
        )
    assert any(told in assumption for assumption in costs.assumptions)


def test_passes_declare_what_they_need() -> None:
    assert flops.name == "flops"
    assert flops.requires == flops_pass(causal_skip=True).requires
    assert len({flops.provides, traffic.provides, parameters.provides}) == 3
