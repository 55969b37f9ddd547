"""The parameter pass: each distinct parameter once, at the layer that uses it first."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.head = nn.Linear(4, 10, bias=False)
        self.head.weight = self.embed.weight
        self.spare = nn.Linear(3, 3)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.embed(tokens))


def test_tied_and_unused(costs_of: Callable[..., Any]) -> None:
    costs = costs_of(Tied(), "tokens: int64[B,S]", B=2, S=3)
    told = {layer.name: (layer.params, layer.shared) for layer in costs.layers}
    assert told == {"embed": (40, False), "head": (0, True), "spare.weight": (9, False), "spare.bias": (3, False)}
    assert costs.total.params == sum(p.numel() for p in Tied().parameters()) == 52


def test_a_view_of_a_parameter_is_that_parameter(costs_of: Callable[..., Any]) -> None:
    class Transposed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(4, 5))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.weight.t() @ self.weight

    costs = costs_of(Transposed(), "x: float32[B,5]", B=2)
    assert [(layer.params, layer.shared) for layer in costs.layers] == [(20, False), (0, True)]


def test_a_model_without_parameters(costs_of: Callable[..., Any]) -> None:
    assert costs_of(nn.ReLU(), "input: float32[B,4]", B=2).total.params == 0
