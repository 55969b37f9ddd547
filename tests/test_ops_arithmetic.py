"""Arithmetic off the matrix unit: each formula, in scalars that count, gives torch's value and the rule's number."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from fxcost.api import trace
from fxcost.costs.model import CostModel, LayerCost

Costs = Callable[..., CostModel]
IMAGE = "x: float32[B,8,H,W]"
ROWS = "x: float32[B,6]"


def only(costs: CostModel) -> LayerCost:
    (layer,) = costs.layers
    return layer


class Scalar:
    """A number that counts the arithmetic done with it: one for each operation, comparison or elementary function."""

    count = 0

    def __init__(self, value: float) -> None:
        self.value = value

    @classmethod
    def did(cls, value: float) -> "Scalar":
        cls.count += 1
        return cls(value)

    def __add__(self, other: Any) -> "Scalar":
        return self.did(self.value + plain(other))

    def __sub__(self, other: Any) -> "Scalar":
        return self.did(self.value - plain(other))

    def __mul__(self, other: Any) -> "Scalar":
        return self.did(self.value * plain(other))

    def __truediv__(self, other: Any) -> "Scalar":
        return self.did(self.value / plain(other))

    def __rtruediv__(self, other: float) -> "Scalar":
        return self.did(other / self.value)

    def __neg__(self) -> "Scalar":
        return self.did(-self.value)

    def above(self, bound: float) -> bool:
        return self.did(self.value).value > bound

    __radd__, __rmul__ = __add__, __mul__


def plain(number: Any) -> float:
    return number.value if isinstance(number, Scalar) else number


def scalar_function(function: Callable[..., float]) -> Callable[..., Scalar]:
    return lambda *numbers: Scalar.did(function(*map(plain, numbers)))


exp, log, erf, tanh, sqrt = map(scalar_function, (math.exp, math.log, math.erf, math.tanh, math.sqrt))
larger, smaller = map(scalar_function, (max, min))
X3 = 0.044715


@pytest.mark.parametrize(
    ("function", "formula"),
    [
        pytest.param(function, formula, id=name)
        for name, function, formula in [
            ("relu", functional.relu, lambda x: larger(x, 0)),
            ("hardtanh", functional.hardtanh, lambda x: smaller(larger(x, -1), 1)),
            ("clamp", lambda x: x.clamp(-1, 1), lambda x: smaller(larger(x, -1), 1)),
            ("leaky_relu", functional.leaky_relu, lambda x: x if x.above(0) else 0.01 * x),
            ("rrelu", lambda x: functional.rrelu(x, 0.25, 0.25), lambda x: x if x.above(0) else 0.25 * x),
            ("elu", functional.elu, lambda x: x if x.above(0) else exp(x) - 1),
            ("sigmoid", torch.sigmoid, lambda x: 1 / (1 + exp(-x))),
            ("silu", functional.silu, lambda x: x / (1 + exp(-x))),
            ("hardsigmoid", functional.hardsigmoid, lambda x: smaller(larger(x + 3, 0), 6) / 6),
            ("hardswish", functional.hardswish, lambda x: x * smaller(larger(x + 3, 0), 6) / 6),
            ("softplus", functional.softplus, lambda x: log(1 + exp(x))),
            ("mish", functional.mish, lambda x: x * tanh(log(1 + exp(x)))),
            ("gelu", functional.gelu, lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2)))),
            (
                "gelu tanh",
                lambda x: functional.gelu(x, approximate="tanh"),
                lambda x: 0.5 * x * (1 + tanh(math.sqrt(2 / math.pi) * (x + X3 * x * x * x))),
            ),
            ("addcmul", lambda x: torch.addcmul(x, x, x), lambda x: x + x * x),
            ("tanh", torch.tanh, tanh),
        ]
    ],
)
def test_pointwise(costs_of: Costs, function: Callable[..., torch.Tensor], formula: Callable[[Scalar], Scalar]) -> None:
    """Where a function has two branches the number is on the costlier one."""
    x = -1.3
    Scalar.count = 0
    value = plain(formula(Scalar(x)))
    assert value == pytest.approx(function(torch.tensor([x], dtype=torch.float64)).item())
    layer = only(costs_of(function, ROWS, B=5))
    assert (layer.flops, layer.macs, layer.unit) == (Scalar.count * 5 * 6, 0, "vector")


def summed(numbers: Any) -> Scalar:
    return sum(numbers, Scalar(0))


def softmax(row: list[Scalar]) -> list[Scalar]:
    top = row[0]
    for x in row:
        top = larger(top, x)
    powers = [exp(x - top) for x in row]
    whole = summed(powers)
    return [p / whole for p in powers]


def standardized(row: list[Scalar]) -> list[Scalar]:
    mean = summed(row) / len(row)
    apart = [x - mean for x in row]
    scale = 1 / sqrt(summed(d * d for d in apart) / len(row) + 1e-5)
    return [d * scale for d in apart]


def layer_norm(row: list[Scalar]) -> list[Scalar]:
    return [x * 0.5 + 0.25 for x in standardized(row)]


def rms_norm(row: list[Scalar]) -> list[Scalar]:
    scale = 1 / sqrt(summed(x * x for x in row) / len(row) + 1e-5)
    return [x * scale * 0.5 for x in row]


def batch_norm(row: list[Scalar]) -> list[Scalar]:
    # Mean 0.1 and variance 4 of the whole data, weight 0.5 and bias 0.25 fold into these two.
    scale = 0.5 / math.sqrt(4 + 1e-5)
    return [x * scale + (0.25 - 0.1 * scale) for x in row]


def constant(x: torch.Tensor, value: float) -> torch.Tensor:
    """A weight of one row; its fill is another operation than the one under test."""
    return x.new_full((6,), value)


@pytest.mark.parametrize(
    ("function", "formula"),
    [
        (lambda x: x.softmax(-1), softmax),
        (lambda x: functional.layer_norm(x, (6,)), standardized),
        (lambda x: functional.layer_norm(x, (6,), constant(x, 0.5), constant(x, 0.25)), layer_norm),
        (lambda x: functional.rms_norm(x, (6,), constant(x, 0.5), eps=1e-5), rms_norm),
        (
            lambda x: functional.batch_norm(x, constant(x, 0.1), constant(x, 4), constant(x, 0.5), constant(x, 0.25)),
            batch_norm,
        ),
    ],
    ids=["softmax", "layer_norm without weights", "layer_norm", "rms_norm", "batch_norm"],
)
def test_along_rows(
    costs_of: Costs, function: Callable[..., torch.Tensor], formula: Callable[[list[Scalar]], list[Scalar]]
) -> None:
    """What each further element of a row costs; what is done once a row is not counted."""
    row = [0.3, -1.2, 2.0, 0.7, -0.4, 1.1]
    values = [plain(x) for x in formula([Scalar(x) for x in row])]
    torch.testing.assert_close(torch.tensor([values]), function(torch.tensor([row])))
    done: list[int] = []
    for length in (6, 12):
        Scalar.count = 0
        formula([Scalar(x) for x in (row * 2)[:length]])
        done.append(Scalar.count)
    each = (done[1] - done[0]) / 6
    (layer,) = [layer for layer in costs_of(function, ROWS, B=5).layers if layer.flops]
    assert layer.flops == each * 5 * 6


def test_reductions(costs_of: Costs) -> None:
    """A sum adds each element; a mean also divides once for each result."""
    assert only(costs_of(lambda x: x.sum(1), ROWS, B=5)).flops == 5 * 6
    assert only(costs_of(lambda x: x.amax(1), ROWS, B=5)).flops == 5 * 6
    assert only(costs_of(lambda x: x.mean(1), ROWS, B=5)).flops == 5 * 6 + 5


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


def test_pooling_looks_at_each_element_of_its_window(costs_of: Costs) -> None:
    for pool in (nn.MaxPool2d(2, 2), nn.AvgPool2d(2, 2)):
        assert only(costs_of(pool, IMAGE, B=2, H=6, W=4)).flops == 2 * 8 * (3 * 2) * (2 * 2)


@pytest.mark.parametrize(("mode", "factor"), [("nearest", 0), ("bilinear", 4 + 3), ("bicubic", 16 + 15)])
def test_upsampling(costs_of: Costs, mode: str, factor: int) -> None:
    """Nearest copies; bilinear weighs 4 neighbours and adds them up, bicubic 16."""
    assert only(costs_of(nn.Upsample(scale_factor=2, mode=mode), IMAGE, B=2, H=3, W=4)).flops == 2 * 8 * 6 * 8 * factor
