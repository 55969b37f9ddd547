"""Rules against brute force: loops over scalars that compute torch's own result and count what they do."""

import csv
import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fxcost.analysis import trace
from fxcost.costs import UNUSED, CostModel, LayerCost
from fxcost.errors import FxcostError, UnknownOperatorsError
from fxcost.ops import per_output

IMAGE = "x: float32[B,8,H,W]"
ROWS = "x: float32[B,6]"


class Function(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: torch.Tensor) -> Any:
        return self.function(*tensors)


def costs_of(model: nn.Module | Callable[..., Any], *inputs: str, **sizes: int) -> CostModel:
    """Trace at sizes unlike those asked for, so that the formulas are what is checked."""
    module = model if isinstance(model, nn.Module) else Function(model)
    costs = trace(module, inputs=inputs, at={name: size + 7 for name, size in sizes.items()})
    return costs.at(sizes)


def only(costs: CostModel) -> LayerCost:
    (layer,) = costs.layers
    return layer


# Contractions: multiply-adds counted one by one


def span(size: int, kernel: int, stride: int, dilation: int) -> range:
    """Where windows start that fit inside ``size``."""
    return range(0, size - dilation * (kernel - 1), stride)


def convolved(x: Any, weight: Any, stride: int, padding: int, dilation: int, groups: int) -> tuple[torch.Tensor, int]:
    dims = weight.ndim - 2
    x = F.pad(x, [padding] * 2 * dims).numpy()
    starts = [span(n, k, stride, dilation) for n, k in zip(x.shape[2:], weight.shape[2:], strict=True)]
    out = torch.zeros(x.shape[0], weight.shape[0], *map(len, starts)).numpy()
    count, weight = 0, weight.numpy()
    for batch, channel, *place in itertools.product(*map(range, out.shape)):
        first = channel // (weight.shape[0] // groups) * weight.shape[1]
        for source, *tap in itertools.product(*map(range, weight.shape[1:])):
            at = [p * stride + t * dilation for p, t in zip(place, tap, strict=True)]
            out[batch, channel, *place] += x[batch, first + source, *at] * weight[channel, source, *tap]
            count += 1
    return torch.from_numpy(out), count


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv1d(4, 6, 3),
        nn.Conv1d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2),
        nn.Conv2d(4, 6, 3, padding=1, bias=False),
        nn.Conv2d(4, 6, (3, 1), stride=2, padding=2, groups=2),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Conv2d(4, 8, 2, dilation=3, groups=4),
        nn.Conv3d(2, 4, 2, stride=2, padding=1, groups=2),
        nn.Conv3d(2, 3, (1, 2, 3)),
    ],
    ids=repr,
)
def test_convolution(conv: Any) -> None:
    dims = conv.weight.ndim - 2
    sizes = dict(zip("DHW", (6, 7, 5)[:dims], strict=False))
    x, weight = torch.randn(2, conv.in_channels, *sizes.values()), conv.weight.detach()
    out, count = convolved(x, weight, conv.stride[0], conv.padding[0], conv.dilation[0], conv.groups)
    if conv.bias is not None:
        out += conv.bias.detach().reshape(-1, *[1] * dims)
    torch.testing.assert_close(out, conv(x).detach())
    layer = only(costs_of(conv, f"x: float32[B,{conv.in_channels},{','.join(sizes)}]", B=2, **sizes))
    assert (layer.macs, layer.flops, layer.unit) == (count, 2 * count, "matrix")
    assert layer.params == weight.numel() + (weight.shape[0] if conv.bias is not None else 0)


def spread(x: Any, weight: Any, stride: int, groups: int) -> tuple[torch.Tensor, int]:
    """A transposed convolution without padding: every input element onto every output element it reaches."""
    sides = [(n - 1) * stride + k for n, k in zip(x.shape[2:], weight.shape[2:], strict=True)]
    out, count = torch.zeros(x.shape[0], weight.shape[1] * groups, *sides).numpy(), 0
    x, weight = x.numpy(), weight.numpy()
    for batch, channel, *place in itertools.product(*map(range, x.shape)):
        first = channel // (x.shape[1] // groups) * weight.shape[1]
        for target, *tap in itertools.product(*map(range, weight.shape[1:])):
            at = [p * stride + t for p, t in zip(place, tap, strict=True)]
            out[batch, first + target, *at] += x[batch, channel, *place] * weight[channel, target, *tap]
            count += 1
    return torch.from_numpy(out), count


@pytest.mark.parametrize(
    "conv",
    [
        nn.ConvTranspose1d(4, 6, 3, stride=2, bias=False),
        nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, bias=False),
        nn.ConvTranspose2d(4, 4, 2, groups=4, bias=False),
        nn.ConvTranspose3d(2, 3, 2, stride=2, bias=False),
    ],
    ids=repr,
)
def test_transposed_convolution(conv: Any) -> None:
    sizes = dict(zip("DHW", (3, 5, 4)[: conv.weight.ndim - 2], strict=False))
    x = torch.randn(2, conv.in_channels, *sizes.values())
    out, count = spread(x, conv.weight.detach(), conv.stride[0], conv.groups)
    torch.testing.assert_close(out, conv(x).detach())
    layer = only(costs_of(conv, f"x: float32[B,{conv.in_channels},{','.join(sizes)}]", B=2, **sizes))
    assert (layer.macs, layer.flops, layer.unit) == (count, 2 * count, "matrix")


def multiplied(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, int]:
    """``a @ b`` of at least two dimensions each, leading ones broadcast."""
    lead = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    x, y = a.expand(*lead, *a.shape[-2:]).numpy(), b.expand(*lead, *b.shape[-2:]).numpy()
    out, count = torch.zeros(*lead, x.shape[-2], y.shape[-1]).numpy(), 0
    for *at, row, column in itertools.product(*map(range, out.shape)):
        for inner in range(x.shape[-1]):
            out[*at, row, column] += x[*at, row, inner] * y[*at, inner, column]
            count += 1
    return torch.from_numpy(out), count


@pytest.mark.parametrize(
    ("product", "left", "right"),
    [
        (torch.matmul, "S,3", "3,T"),
        (torch.matmul, "B,S,3", "3,T"),
        (torch.matmul, "S,3", "B,3,T"),
        (torch.matmul, "B,1,S,3", "4,3,T"),
        (torch.mm, "S,T", "T,5"),
        (torch.bmm, "B,S,3", "B,3,T"),
        (F.linear, "B,S,3", "4,3"),
        (lambda a, b: torch.addmm(torch.zeros(5), a, b), "S,3", "3,5"),
        (lambda a, b: torch.baddbmm(torch.zeros(1), a, b), "B,S,3", "B,3,T"),
        (lambda a, b: torch.matmul(a, b[:, 0]), "B,S,3", "3,1"),
        (lambda a, b: torch.matmul(a[0], b), "1,3", "B,3,T"),
    ],
)
def test_matrix_product(product: Callable[..., torch.Tensor], left: str, right: str) -> None:
    sizes = {name: n for name, n in {"B": 2, "S": 3, "T": 4}.items() if name in left + right}
    a, b = (torch.randn([sizes.get(d) or int(d) for d in dims.split(",")]) for dims in (left, right))
    out, count = multiplied(a, b.mT if product is F.linear else b)
    torch.testing.assert_close(out.reshape(product(a, b).shape), product(a, b))
    costs = costs_of(lambda a, b: product(a, b), f"a: float32[{left}]", f"b: float32[{right}]", **sizes)
    (layer,) = [layer for layer in costs.layers if layer.unit == "matrix"]
    assert (layer.macs, layer.flops) == (count, 2 * count)


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("causal", [False, True])
def test_attention(kv_heads: int, causal: bool) -> None:
    """Each query head meets every key and value of the head it shares; a causal mask halves nothing."""
    q, k, v = torch.randn(2, 4, 3, 5), torch.randn(2, kv_heads, 3, 5), torch.randn(2, kv_heads, 3, 6)
    out, count = torch.zeros(2, 4, 3, 6), 0
    for batch, head in itertools.product(range(2), range(4)):
        shared = head // (4 // kv_heads)
        scores, products = multiplied(q[batch, head], k[batch, shared].T)
        scores = scores / math.sqrt(5)
        masked = scores.masked_fill(torch.ones(3, 3).triu(1).bool(), -math.inf) if causal else scores
        out[batch, head], weighted = multiplied(masked.softmax(-1), v[batch, shared])
        count += products + weighted
    attend = lambda *qkv: F.scaled_dot_product_attention(*qkv, is_causal=causal, enable_gqa=kv_heads < 4)  # noqa: E731
    torch.testing.assert_close(out, attend(q, k, v))
    shapes = ("q: float32[B,4,S,5]", f"k: float32[B,{kv_heads},S,5]", f"v: float32[B,{kv_heads},S,6]")
    layer = only(costs_of(attend, *shapes, B=2, S=3))
    assert (layer.macs, layer.flops, layer.unit) == (count, 2 * count, "matrix")
    # Fused: queries, keys and values are read once each at the heads they have; the output is written once.
    assert layer.cost.reads == {"activation": {"float32": q.numel() + k.numel() + v.numel()}}
    assert layer.cost.writes == {"activation": {"float32": out.numel()}}


# Other arithmetic, against scalars that count


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
            ("relu", F.relu, lambda x: larger(x, 0)),
            ("hardtanh", F.hardtanh, lambda x: smaller(larger(x, -1), 1)),
            ("clamp", lambda x: x.clamp(-1, 1), lambda x: smaller(larger(x, -1), 1)),
            ("leaky_relu", F.leaky_relu, lambda x: x if x.above(0) else 0.01 * x),
            ("elu", F.elu, lambda x: x if x.above(0) else exp(x) - 1),
            ("sigmoid", torch.sigmoid, lambda x: 1 / (1 + exp(-x))),
            ("silu", F.silu, lambda x: x / (1 + exp(-x))),
            ("hardsigmoid", F.hardsigmoid, lambda x: smaller(larger(x + 3, 0), 6) / 6),
            ("hardswish", F.hardswish, lambda x: x * smaller(larger(x + 3, 0), 6) / 6),
            ("softplus", F.softplus, lambda x: log(1 + exp(x))),
            ("mish", F.mish, lambda x: x * tanh(log(1 + exp(x)))),
            ("gelu", F.gelu, lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2)))),
            (
                "gelu tanh",
                lambda x: F.gelu(x, approximate="tanh"),
                lambda x: 0.5 * x * (1 + tanh(math.sqrt(2 / math.pi) * (x + X3 * x * x * x))),
            ),
            ("addcmul", lambda x: torch.addcmul(x, x, x), lambda x: x + x * x),
            ("tanh", torch.tanh, tanh),
        ]
    ],
)
def test_pointwise(function: Callable[..., torch.Tensor], formula: Callable[[Scalar], Scalar]) -> None:
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


def constant(value: float, size: int) -> torch.Tensor:
    return torch.full((size,), value)


@pytest.mark.parametrize(
    ("function", "formula"),
    [
        (lambda x: x.softmax(-1), softmax),
        (lambda x: F.layer_norm(x, (6,)), standardized),
        (lambda x: F.layer_norm(x, (6,), constant(0.5, 6), constant(0.25, 6)), layer_norm),
        (lambda x: F.rms_norm(x, (6,), constant(0.5, 6), eps=1e-5), rms_norm),
        (
            lambda x: F.batch_norm(x, *(constant(value, 6) for value in (0.1, 4, 0.5, 0.25))),
            batch_norm,
        ),
    ],
    ids=["softmax", "layer_norm without weights", "layer_norm", "rms_norm", "batch_norm"],
)
def test_along_rows(
    function: Callable[..., torch.Tensor], formula: Callable[[list[Scalar]], list[Scalar]]
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


def test_reductions() -> None:
    """A sum adds each element; a mean also divides once for each result."""
    assert only(costs_of(lambda x: x.sum(1), ROWS, B=5)).flops == 5 * 6
    assert only(costs_of(lambda x: x.amax(1), ROWS, B=5)).flops == 5 * 6
    assert only(costs_of(lambda x: x.mean(1), ROWS, B=5)).flops == 5 * 6 + 5


def visits(size: int, windows: int) -> int:
    """Pairs of an element and a window that averages it, seen from where torch's own averages are not zero."""
    return int(F.adaptive_avg_pool1d(torch.eye(size)[None], windows).count_nonzero())


@pytest.mark.parametrize("windows", [1, 2, 3, 6, 7])
def test_adaptive_pooling_visits_every_element_of_every_window(windows: int) -> None:
    costs = trace(nn.AdaptiveAvgPool1d(windows), inputs=("x: float32[B,4,L]",), at={"L": 9})
    for size in range(1, 21):
        assert costs.at(B=3, L=size).total.flops == 3 * 4 * visits(size, windows)


def test_adaptive_pooling_of_images() -> None:
    layer = only(costs_of(nn.AdaptiveAvgPool2d((3, None)), IMAGE, B=2, H=10, W=5))
    assert layer.flops == 2 * 8 * visits(10, 3) * visits(5, 5)


def test_pooling_looks_at_each_element_of_its_window() -> None:
    for pool in (nn.MaxPool2d(2, 2), nn.AvgPool2d(2, 2)):
        assert only(costs_of(pool, IMAGE, B=2, H=6, W=4)).flops == 2 * 8 * (3 * 2) * (2 * 2)


@pytest.mark.parametrize(("mode", "factor"), [("nearest", 0), ("bilinear", 4 + 3), ("bicubic", 16 + 15)])
def test_upsampling(mode: str, factor: int) -> None:
    """Nearest copies; bilinear weighs 4 neighbours and adds them up, bicubic 16."""
    assert only(costs_of(nn.Upsample(scale_factor=2, mode=mode), IMAGE, B=2, H=3, W=4)).flops == 2 * 8 * 6 * 8 * factor
