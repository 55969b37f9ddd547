"""Fourier transforms by the published count, rows worked out in words."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from fxcost.costs.model import CostModel, LayerCost

Costs = Callable[..., CostModel]
fft = torch.fft

COMPLEX_1024 = 5 * 1024 * 10
"""5 N log2 N, which benchFFT divides times by: log2 of 1024 is 10."""


def last(costs: CostModel) -> LayerCost:
    return costs.layers[-1]


@pytest.mark.parametrize(
    ("transform", "shape", "flops"),
    [
        (fft.fft, "complex64[B,3,1024]", 3 * COMPLEX_1024),
        (fft.ifft, "complex64[B,3,1024]", 3 * COMPLEX_1024),
        (fft.fft, "float32[B,3,1024]", 3 * COMPLEX_1024 // 2),
        (fft.rfft, "float32[B,3,1024]", 3 * COMPLEX_1024 // 2),
        (fft.irfft, "complex64[B,3,513]", 3 * COMPLEX_1024 // 2),
        (fft.hfft, "complex64[B,3,513]", 3 * COMPLEX_1024 // 2),
        (fft.ihfft, "float32[B,3,1024]", 3 * COMPLEX_1024 // 2),
        (lambda x: fft.rfft(x, n=1024), "float32[B,3,100]", 3 * COMPLEX_1024 // 2),  # padded
        (lambda x: fft.fft(x, n=1024), "complex64[B,3,4000]", 3 * COMPLEX_1024),  # cut
        (lambda x: fft.fft(x, dim=1), "complex64[B,1024,3]", 3 * COMPLEX_1024),
        (fft.fft2, "complex64[B,3,32,32]", 3 * COMPLEX_1024),  # 32 · 32 points
        (fft.ifft2, "complex64[B,3,32,32]", 3 * COMPLEX_1024),
        (fft.rfft2, "float32[B,3,32,32]", 3 * COMPLEX_1024 // 2),
        (fft.irfft2, "complex64[B,3,32,17]", 3 * COMPLEX_1024 // 2),
        (lambda x: fft.rfft2(x, s=(32, 32)), "float32[B,3,40,40]", 3 * COMPLEX_1024 // 2),
        (lambda x: fft.rfftn(x, dim=(1, 2, 3)), "float32[B,8,8,16,3]", 3 * COMPLEX_1024 // 2),
        (lambda x: fft.fftn(x, dim=(1, 2, 3)), "complex64[B,8,8,16,3]", 3 * COMPLEX_1024),
    ],
)  # fmt: skip
def test_transforms(costs_of: Costs, transform: Callable[..., Any], shape: str, flops: int) -> None:
    costs = costs_of(transform, f"x: {shape}", B=2)
    assert not costs.unknown
    assert (last(costs).flops, last(costs).macs, last(costs).unit) == (2 * flops, 0, "vector")


def test_a_symbolic_number_of_points_is_unknown_and_says_why(costs_of: Costs) -> None:
    costs = costs_of(fft.fft, "x: complex64[B,S]", B=2, S=16)
    assert list(costs.unknown) == ["aten.fft_fft.default"]
    assert "symbolic number of points" in last(costs).reason


def windowed(x: torch.Tensor) -> torch.Tensor:
    window = torch.ones(32, device=x.device)
    return torch.stft(x, 32, hop_length=8, window=window, center=False, return_complex=True)


def test_short_time_transform(costs_of: Costs) -> None:
    """A signal of 80 has (80 − 32)/8 + 1 = 7 frames of 32; each meets the window and goes through a real FFT."""
    (layer,) = [layer for layer in costs_of(windowed, "x: float32[B,80]", B=3).layers if "stft" in layer.op]
    assert layer.flops == 3 * 7 * (32 + 5 * 32 * 5 // 2)
