"""Quantized values against the formula that torch documents, each step counted."""

from collections.abc import Callable
from importlib import import_module

import pytest
import torch

from fxcost.costs.model import CostModel
from fxcost.ops import rule_of
from tests.table.counting import Number, work
from tests.table.pointwise import HIGH, LOW, SCALE, ZERO_POINT, dequantized, quantized

Costs = Callable[..., CostModel]


@pytest.fixture(scope="module")
def decomposed() -> None:
    """The operators of a quantized exported program, which torch registers on import."""
    import_module("torch.ao.quantization.fx._decomposed")


@pytest.mark.usefixtures("decomposed")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_quantized_programs(costs_of: Costs) -> None:
    """A value that an exported program quantizes and takes back costs the same steps, in two operations."""
    whole, _, there = work(lambda: quantized(Number(1.07)))
    value, _, back = work(lambda: dequantized(Number(whole)))
    ops = torch.ops.quantized_decomposed

    def round_trip(x: torch.Tensor) -> torch.Tensor:
        given = SCALE, ZERO_POINT, LOW, HIGH, torch.int8
        return ops.dequantize_per_tensor(ops.quantize_per_tensor(x, *given), *given)

    assert value == pytest.approx(round_trip(torch.tensor([1.07])).item())
    costs = costs_of(round_trip, "x: float32[B,6]", B=5)
    assert not costs.unknown
    assert [int(layer.flops) for layer in costs.layers] == [there * 5 * 6, back * 5 * 6]


@pytest.mark.parametrize("form", ["per_tensor", "per_channel"])
def test_a_scale_a_channel_costs_the_same(form: str) -> None:
    for name in (f"aten.fake_quantize_{form}_affine", f"quantized_decomposed.quantize_{form}"):
        assert rule_of(f"{name}.default") is rule_of(f"{name.replace('per_channel', 'per_tensor')}.default") is not None
