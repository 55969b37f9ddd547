"""Contractions against loops that give torch's own result one multiply-add at a time; published intensities."""

import csv
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from fxcost.api import trace
from fxcost.costs.model import CostModel, LayerCost
from fxcost.errors import FxcostError, UnknownOperatorsError
from fxcost.ops import per_output, rule_of

Costs = Callable[..., CostModel]


def only(costs: CostModel) -> LayerCost:
    (layer,) = costs.layers
    return layer


def span(size: int, kernel: int, stride: int, dilation: int) -> range:
    """Where windows start that fit inside ``size``."""
    return range(0, size - dilation * (kernel - 1), stride)


def convolved(x: Any, weight: Any, stride: int, padding: int, dilation: int, groups: int) -> tuple[torch.Tensor, int]:
    dims = weight.ndim - 2
    x = functional.pad(x, [padding] * 2 * dims).numpy()
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
def test_convolution(costs_of: Costs, conv: Any) -> None:
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
def test_transposed_convolution(costs_of: Costs, conv: Any) -> None:
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
        (functional.linear, "B,S,3", "4,3"),
        (lambda a, b: torch.addmm(a.new_zeros(5), a, b), "S,3", "3,5"),
        (lambda a, b: torch.baddbmm(a.new_zeros(1), a, b), "B,S,3", "B,3,T"),
        (lambda a, b: torch.matmul(a, b[:, 0]), "B,S,3", "3,1"),
        (lambda a, b: torch.matmul(a[0], b), "1,3", "B,3,T"),
    ],
)
def test_matrix_product(costs_of: Costs, product: Callable[..., torch.Tensor], left: str, right: str) -> None:
    sizes = {name: n for name, n in {"B": 2, "S": 5, "T": 4}.items() if name in left + right}
    a, b = (torch.randn([sizes.get(d) or int(d) for d in dims.split(",")]) for dims in (left, right))
    out, count = multiplied(a, b.mT if product is functional.linear else b)
    torch.testing.assert_close(out.reshape(product(a, b).shape), product(a, b))
    costs = costs_of(product, f"a: float32[{left}]", f"b: float32[{right}]", **sizes)
    (layer,) = [layer for layer in costs.layers if layer.unit == "matrix"]
    assert (layer.macs, layer.flops) == (count, 2 * count)


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("causal", [False, True])
def test_attention(costs_of: Costs, kv_heads: int, causal: bool) -> None:
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
    attend = lambda *qkv: functional.scaled_dot_product_attention(*qkv, is_causal=causal, enable_gqa=kv_heads < 4)  # noqa: E731
    torch.testing.assert_close(out, attend(q, k, v))
    shapes = ("q: float32[B,4,S,5]", f"k: float32[B,{kv_heads},S,5]", f"v: float32[B,{kv_heads},S,6]")
    layer = only(costs_of(attend, *shapes, B=2, S=3))
    assert (layer.macs, layer.flops, layer.unit) == (count, 2 * count, "matrix")
    # Fused: queries, keys and values are read once each at the heads they have; the output is written once.
    assert layer.cost.reads == {"activation": {"float32": q.numel() + k.numel() + v.numel()}}
    assert layer.cost.writes == {"activation": {"float32": out.numel()}}


# The table of rules


def test_a_second_rule_for_an_operator_is_an_error() -> None:
    with pytest.raises(FxcostError, match=r"aten\.relu has the rule '1 per output' already"):
        per_output(2, torch.ops.aten.relu, reason="another opinion")


@pytest.fixture(scope="module")
def opaque() -> Callable[[torch.Tensor], torch.Tensor]:
    @torch.library.custom_op("fxcost_tests::opaque", mutates_args=())
    def opaque(x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    opaque.register_fake(torch.empty_like)
    return opaque


def test_an_operator_without_a_rule_is_unknown(costs_of: Costs, opaque: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Its arithmetic is named as missing; what it moves is known from its tensors all the same."""
    costs = costs_of(lambda x: opaque(x).relu(), "x: float32[B,6]", B=5)
    assert costs.unknown == {"fxcost_tests.opaque.default": ("opaque",)}
    assert costs.coverage == {"unknown": 1, "counted": 1}
    layer = next(layer for layer in costs.layers if layer.name == "opaque")
    assert layer.coverage == "unknown"
    assert layer.cost.reads == layer.cost.writes == {"activation": {"float32": 5 * 6}}


def test_a_strict_trace_refuses_an_unknown_operator(opaque: Callable[[torch.Tensor], torch.Tensor]) -> None:
    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return opaque(x)

    with pytest.raises(UnknownOperatorsError, match=r"fxcost_tests\.opaque\.default in opaque"):
        trace(Model(), inputs=("x: float32[B,6]",), strict=True)


# Published intensities: FLOPs per byte in half precision


def published(case: str) -> str:
    """The value that NVIDIA's GPU Performance Background guide prints for a case."""
    text = (Path(__file__).parent / "data" / "roofline_examples.csv").read_text(encoding="utf-8")
    (row,) = [row for row in csv.DictReader(text.splitlines()) if row["case"] == case]
    assert row["evidence"] == "retrieved"
    assert "GPU Performance Background" in row["source"]
    return row["value"]


def intensity(costs: CostModel) -> float:
    layer = only(costs)
    return int(layer.flops) / int(layer.cost.bytes_moved(costs.bits(16)))


@pytest.mark.parametrize("batch", [512, 1])
def test_intensity_of_a_linear_layer(costs_of: Costs, batch: int) -> None:
    costs = costs_of(nn.Linear(1024, 4096, bias=False), "x: float32[B,1024]", B=batch)
    assert f"{intensity(costs):.0f}" == published(f"Linear 1024->4096, batch {batch}")


def test_intensity_of_max_pooling(costs_of: Costs) -> None:
    costs = costs_of(nn.MaxPool2d(3, stride=1, padding=1), "x: float32[B,8,H,W]", B=2, H=9, W=7)
    assert f"{intensity(costs):g}" == published("Max pooling 3x3 unit stride")


def test_intensity_of_relu(costs_of: Costs) -> None:
    assert f"{intensity(costs_of(nn.ReLU(), 'x: float32[B,6]', B=5)):g}" == published("ReLU")


def test_intensity_of_layer_normalization(costs_of: Costs) -> None:
    assert published("Layer normalization") == "<10"
    assert intensity(costs_of(nn.LayerNorm(1024), "x: float32[B,1024]", B=512)) < 10


def test_a_depthwise_convolutions_intensity_has_a_limit(costs_of: Costs) -> None:
    """Nine multiply-adds an element that is read and written once: 18 FLOPs for 4 bytes, once weights are nothing."""
    conv = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
    found = [intensity(costs_of(conv, "x: float32[B,8,H,W]", B=n, H=n, W=n)) for n in (2, 8, 32, 128)]
    assert found == sorted(found)
    assert 4.5 * (1 - 1e-5) < found[-1] < 4.5


# What was found by comparing with torch


def torchs_count(function: Callable[..., torch.Tensor], *shapes: tuple[int, ...]) -> int:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        function(*(torch.zeros(shape, device="meta") for shape in shapes))
    return counter.get_total_flops()


def test_attention_of_a_broadcast_query(costs_of: Costs) -> None:
    """One query for all examples is still compared with every example's keys."""
    attend = torch.nn.functional.scaled_dot_product_attention
    costs = costs_of(attend, "q: float32[1,4,S,8]", "k: float32[B,4,S,8]", "v: float32[B,4,S,8]", B=3, S=6)
    assert costs.total.flops == torchs_count(attend, (1, 4, 6, 8), (3, 4, 6, 8), (3, 4, 6, 8)) == 13_824


@pytest.mark.parametrize(
    ("equation", "inputs"),
    [
        ("bij,bjk->bik", ("x: float32[B,3,4]", "y: float32[B,4,5]")),
        ("b i j, b j k -> b i k", ("x: float32[B,3,4]", "y: float32[B,4,5]")),
        ("...ij,jk->...ik", ("x: float32[B,2,3,4]", "y: float32[4,5]")),
        ("bhid,bhjd->bhij", ("x: float32[B,2,3,4]", "y: float32[B,2,5,4]")),
        ("bi,bj->bij", ("x: float32[B,3]", "y: float32[B,4]")),
        ("ij,jk", ("x: float32[B,4]", "y: float32[4,5]")),
        ("bij,jk,kl->bil", ("x: float32[B,3,4]", "y: float32[4,5]", "z: float32[5,6]")),
    ],
)
def test_einsum(costs_of: Costs, equation: str, inputs: tuple[str, ...]) -> None:
    def contract(*tensors: torch.Tensor) -> torch.Tensor:
        return torch.einsum(equation, *tensors)

    shapes = [tuple(7 if d == "B" else int(d) for d in text.partition("[")[2].strip("]").split(",")) for text in inputs]
    costs = costs_of(contract, *inputs, B=7)
    assert 2 * costs.total.macs == torchs_count(contract, *shapes)
    assert costs.total.flops == (7 * 3 * 4 if equation == "bi,bj->bij" else 2 * costs.total.macs)  # 84 products, no sum
    assert only(costs).unit == ("vector" if equation == "bi,bj->bij" else "matrix")


def test_an_operator_whose_result_is_kept_in_a_wider_dtype_is_that_operator(costs_of: Costs) -> None:
    def product(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.ops.higher_order.out_dtype(torch.ops.aten.mm.default, torch.int32, x, y)

    layer = only(costs_of(product, "x: int8[B,32]", "y: int8[32,16]", B=40))
    assert (layer.flops, layer.macs, layer.unit) == (2 * 40 * 32 * 16, 40 * 32 * 16, "matrix")
    assert layer.cost.reads == {"activation": {"int8": 40 * 32 + 32 * 16}}
    assert layer.cost.writes == {"activation": {"int32": 40 * 16}}
    plain = only(costs_of(torch.ops.aten._int_mm.default, "x: int8[B,32]", "y: int8[32,16]", B=40))
    assert plain.cost == layer.cost


@pytest.mark.parametrize(
    "view",
    [lambda x: x.unsqueeze_(0), lambda x: x.t_(), lambda x: x.transpose_(0, 1), lambda x: x.squeeze_(0)],
    ids=["unsqueeze", "t", "transpose", "squeeze"],
)
def test_views_in_place_are_free(costs_of: Costs, view: Callable[[torch.Tensor], torch.Tensor]) -> None:
    costs = costs_of(lambda x: view(x.neg()).neg(), "x: float32[B,6]", B=2)
    assert [layer.op for layer in costs.layers] == ["aten.neg.default"] * 2


def test_what_a_subclass_of_tensors_holds_is_reached_for_free() -> None:
    """By programs of torchao's quantized weights."""
    rule = rule_of("export.access_subclass_inner_tensor.default")
    assert rule is not None
    assert rule.name == "free"


def test_a_symbolic_number_of_windows_is_unknown_unless_it_divides(costs_of: Costs) -> None:
    pool = torch.nn.functional.adaptive_avg_pool2d
    halved = costs_of(lambda x: pool(x, (x.shape[2] // 2, x.shape[3] // 2)), "x: float32[B,8,H,W]", B=1, H=16, W=16)
    assert list(halved.unknown) == ["aten.adaptive_avg_pool2d.default"]
    same = costs_of(lambda x: pool(x, (x.shape[2], x.shape[3])), "x: float32[B,8,H,W]", B=1, H=16, W=16)
    assert same.total.flops == 8 * 16 * 16
    assert not same.unknown


def test_complex_numbers(costs_of: Costs) -> None:
    """A complex multiply-add is four real ones; complex work without a rule of its own says so."""
    product = costs_of(torch.matmul, "x: complex64[B,3]", "y: complex64[3,5]", B=2)
    assert product.total.macs == 4 * 2 * 3 * 5
    sine = costs_of(torch.sin, "x: complex64[B,3]", B=2)
    assert list(sine.unknown) == ["aten.sin.default"]
    assert "complex numbers" in only(sine).reason
