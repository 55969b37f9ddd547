"""Arithmetic off the matrix unit where a trace has more to say than the table of rules: symbols, and sizes left out."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from fxcost.api import trace
from fxcost.costs.model import CostModel, LayerCost

Costs = Callable[..., CostModel]
IMAGE = "x: float32[B,8,H,W]"


def only(costs: CostModel) -> LayerCost:
    (layer,) = costs.layers
    return layer


def visits(size: int, windows: int) -> int:
    """Pairs of an element and a window that averages it, seen from where torch's own averages are not zero."""
    return int(functional.adaptive_avg_pool1d(torch.eye(size)[None], windows).count_nonzero())


@pytest.mark.parametrize("windows", [1, 2, 3, 6, 7])
def test_adaptive_pooling_visits_every_element_of_every_window(windows: int) -> None:
    costs = trace(nn.AdaptiveAvgPool1d(windows), inputs=("x: float32[B,4,L]",), at={"L": 9})
    for size in range(1, 21):
        assert costs.at(B=3, L=size).total.flops == 3 * 4 * visits(size, windows)


def test_adaptive_pooling_of_images(costs_of: Costs) -> None:
    layer = only(costs_of(nn.AdaptiveAvgPool2d((3, None)), IMAGE, B=2, H=10, W=5))
    assert layer.flops == 2 * 8 * visits(10, 3) * visits(5, 5)


def test_a_spectral_norm_is_unknown(costs_of: Costs) -> None:
    """The same operator and order over one dimension is a vector's norm."""
    spectral = costs_of(lambda x: torch.linalg.norm(x, 2), "x: float32[B,3]", B=5)
    assert list(spectral.unknown) == ["aten.linalg_norm.default"]
    assert only(costs_of(lambda x: torch.linalg.norm(x, 2, 1), "x: float32[B,3]", B=5)).flops == 2 * 5 * 3


def test_an_antialiased_resize_of_a_symbolic_size_is_unknown(costs_of: Costs) -> None:
    resize = lambda x: functional.interpolate(x, (5, 6), mode="bilinear", antialias=True)  # noqa: E731
    costs = costs_of(resize, "x: float32[B,3,H,W]", B=2, H=11, W=13)
    assert len(costs.unknown) == 1
    assert "symbolic sizes" in costs.layers[-1].reason
