"""Quantized values against the formula that torch documents, each step counted."""

from collections.abc import Callable
from importlib import import_module

import pytest
import sympy
import torch

from fxcost.costs.model import CostModel
from fxcost.graph import TensorSpec
from fxcost.ops import Call, rule_of

Costs = Callable[..., CostModel]
SCALE, ZERO_POINT, LOW, HIGH = 0.25, 3, -8, 7


class Steps:
    """Scalar operations done so far."""

    def __init__(self) -> None:
        self.done = 0

    def __call__(self, value: float) -> float:
        self.done += 1
        return value


def quantized(step: Steps, x: float) -> float:
    scaled = step(x * (1 / SCALE))  # the inverse of the scale is the same for all elements
    placed = step(step(round(scaled)) + ZERO_POINT)
    return step(min(step(max(placed, LOW)), HIGH))


def dequantized(step: Steps, q: float) -> float:
    return step(step(q - ZERO_POINT) * SCALE)


def test_fake_quantization_goes_there_and_back() -> None:
    """By a call made by hand: torch cannot run the operator on tensors without memory."""
    step = Steps()
    value = dequantized(step, quantized(step, 1.07))
    theirs = torch.fake_quantize_per_tensor_affine(torch.tensor([1.07]), SCALE, ZERO_POINT, LOW, HIGH)
    assert value == pytest.approx(theirs.item())
    five, six, one, start = map(sympy.Integer, (5, 6, 1, 0))
    x, out = (TensorSpec((five, six), (six, one), "float32", storage, start) for storage in (1, 2))
    rule = rule_of("aten.fake_quantize_per_tensor_affine.default")
    assert rule is not None
    assert rule.vector(Call("aten.fake_quantize_per_tensor_affine.default", {"self": x}, (out,), frozenset())) == (
        step.done * 5 * 6
    )


@pytest.fixture(scope="module")
def decomposed() -> None:
    """The operators of a quantized exported program, which torch registers on import."""
    import_module("torch.ao.quantization.fx._decomposed")


@pytest.mark.usefixtures("decomposed")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_quantized_programs(costs_of: Costs) -> None:
    """A value that an exported program quantizes and takes back costs the same steps, in two operations."""
    there, back = Steps(), Steps()
    value = dequantized(back, quantized(there, 1.07))
    ops = torch.ops.quantized_decomposed

    def round_trip(x: torch.Tensor) -> torch.Tensor:
        given = SCALE, ZERO_POINT, LOW, HIGH, torch.int8
        return ops.dequantize_per_tensor(ops.quantize_per_tensor(x, *given), *given)

    assert value == pytest.approx(round_trip(torch.tensor([1.07])).item())
    costs = costs_of(round_trip, "x: float32[B,6]", B=5)
    assert not costs.unknown
    assert [int(layer.flops) for layer in costs.layers] == [there.done * 5 * 6, back.done * 5 * 6]


@pytest.mark.parametrize("form", ["per_tensor", "per_channel"])
def test_a_scale_a_channel_costs_the_same(form: str) -> None:
    for name in (f"aten.fake_quantize_{form}_affine", f"quantized_decomposed.quantize_{form}"):
        assert rule_of(f"{name}.default") is rule_of(f"{name.replace('per_channel', 'per_tensor')}.default") is not None
