"""Properties of any network: products as torch counts them, parts that add up, degrees in batch and sequence."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fxcost.api import trace
from fxcost.costs.model import CostModel
from fxcost.ops import rules

few = settings(max_examples=12, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
"""Without shrinking: networks are small as they are drawn."""
WIDTH = 8
"""Channels between the layers of an image network, and features between those of a sequence network."""
SPATIAL = "DHW"


class Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inner(x)


class Doubled(nn.Module):
    """Two branches beside each other, and a matrix that brings their channels back to `WIDTH`."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.mix = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mix(torch.cat([x, self.inner(x)], -1))


class Attention(nn.Module):
    """Self-attention, fused or as an einsum or product of scores."""

    def __init__(self, heads: int, form: str) -> None:
        super().__init__()
        self.heads, self.form = heads, form
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        if self.form == "fused":
            mixed = functional.scaled_dot_product_attention(q, k, v)
        elif self.form == "einsum":
            mixed = torch.einsum("bhst,bhtd->bhsd", torch.einsum("bhsd,bhtd->bhst", q, k).softmax(-1), v)
        else:
            mixed = (q @ k.mT).softmax(-1) @ v
        return self.out(mixed.transpose(1, 2).flatten(2))


def convolution(dims: int, groups: int, kernel: int, stride: int, dilation: int, transposed: bool) -> nn.Module:
    kinds: Any = (
        (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
        if transposed
        else (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    )
    return kinds[dims - 1](
        WIDTH, WIDTH, kernel, stride, padding=kernel // 2 * dilation, dilation=dilation, groups=groups
    )


def of_rank(dims: int, *kinds: Any) -> Any:
    return kinds[dims - 1]


@st.composite
def image_layers(draw: Any) -> tuple[int, list[nn.Module]]:
    dims = draw(st.integers(1, 3))
    convolutions = st.builds(
        convolution, st.just(dims), st.sampled_from([1, 2, WIDTH]), st.integers(1, 3), st.integers(1, 2), st.integers(1, 2),
        st.booleans(),
    )  # fmt: skip
    others = st.sampled_from(
        [
            of_rank(dims, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)(WIDTH),
            nn.GroupNorm(2, WIDTH), nn.ReLU(), nn.GELU(), nn.SiLU(),
            of_rank(dims, nn.AvgPool1d, nn.MaxPool2d, nn.MaxPool3d)(3, 1, 1),  # torch fixes the length of nn.MaxPool1d
            of_rank(dims, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)(2, 1),
            Residual(convolution(dims, 2, 1, 1, 1, transposed=False)),
        ]
    )  # fmt: skip
    return dims, draw(st.lists(st.one_of(convolutions, others), min_size=1, max_size=4, unique_by=id))


attentions = st.builds(Attention, st.sampled_from([1, 2, 4]), st.sampled_from(["fused", "einsum", "matmul"]))
plain = st.builds(
    lambda kind: kind(),
    st.sampled_from(
        [
            lambda: nn.Linear(WIDTH, WIDTH), lambda: nn.Linear(WIDTH, WIDTH, bias=False), lambda: nn.LayerNorm(WIDTH),
            lambda: nn.RMSNorm(WIDTH), nn.GELU, nn.Tanh, lambda: nn.Softmax(-1), nn.Hardswish,
            lambda: Residual(nn.Linear(WIDTH, WIDTH)), lambda: Doubled(nn.Linear(WIDTH, WIDTH)),
            lambda: nn.GRU(WIDTH, WIDTH, batch_first=True), lambda: nn.LSTM(WIDTH, WIDTH, batch_first=True),
        ]
    ),
)  # fmt: skip


class First(nn.Module):
    """The first of what a recurrent network gives."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)[0]


def single(layer: nn.Module) -> nn.Module:
    return First(layer) if isinstance(layer, nn.RNNBase) else layer


sequence_layers = st.lists(st.one_of(plain.map(single), attentions), min_size=1, max_size=4)


def traced(module: nn.Module, spec: str, **at: int) -> CostModel:
    costs = trace(module.to("meta"), inputs=(spec,), at=at, isolated=False, warn=lambda _: None)
    assert not costs.unknown
    assert not costs.fixed
    return costs


def torchs_count(module: nn.Module, shape: tuple[int, ...]) -> int:
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module.to("meta").eval()(torch.zeros(shape, device="meta"))
    return counter.get_total_flops()


def matrix_macs(costs: CostModel, **at: int) -> int:
    return sum(int(layer.macs) for layer in costs.at(at).layers if layer.unit == "matrix")


@few
@given(image_layers(), st.integers(1, 4), st.lists(st.integers(7, 13), min_size=3, max_size=3))
def test_image_networks_multiply_as_torch_counts(
    drawn: tuple[int, list[nn.Module]], batch: int, sides: list[int]
) -> None:
    dims, layers = drawn
    letters = SPATIAL[-dims:]
    network = nn.Sequential(*layers)
    costs = traced(network, f"x: float32[B,{WIDTH},{','.join(letters)}]", **dict.fromkeys(letters, 20))
    sizes = dict(zip(letters, sides, strict=False))
    assert 2 * matrix_macs(costs, B=batch, **sizes) == torchs_count(network, (batch, WIDTH, *sizes.values()))


@few
@given(sequence_layers, st.integers(1, 4), st.integers(3, 12))
def test_sequence_networks_multiply_as_torch_counts(layers: list[nn.Module], batch: int, length: int) -> None:
    network = nn.Sequential(*layers)
    costs = traced(network, f"x: float32[B,S,{WIDTH}]", S=20)
    assert 2 * matrix_macs(costs, B=batch, S=length) == torchs_count(network, (batch, length, WIDTH))


@few
@given(sequence_layers)
def test_a_network_costs_what_its_parts_cost(layers: list[nn.Module]) -> None:
    """In FLOPs, parameters and every byte: traffic is that of operations that run alone."""
    spec = f"x: float32[B,S,{WIDTH}]"
    whole = traced(nn.Sequential(*layers), spec, S=20)
    parts = [traced(layer, spec, S=20).at(B=3, S=7).total for layer in layers]
    total = whole.at(B=3, S=7).total
    assert total == sum(parts[1:], parts[0])
    assert whole.at(B=3, S=7).by_module()[""] == total


def differences(costs: CostModel, symbol: str, others: dict[str, int]) -> tuple[int, int]:
    """First and second difference of the FLOPs over a symbol, at three sizes one apart."""
    low, middle, high = (int(costs.at({symbol: n} | others).total.flops) for n in (7, 8, 9))
    return high - middle, high - 2 * middle + low


@few
@given(image_layers(), st.integers(9, 12))
def test_flops_grow_with_the_batch_and_no_faster(drawn: tuple[int, list[nn.Module]], side: int) -> None:
    dims, layers = drawn
    letters = SPATIAL[-dims:]
    network = nn.Sequential(*layers, nn.ReLU())
    costs = traced(network, f"x: float32[B,{WIDTH},{','.join(letters)}]", **dict.fromkeys(letters, 20))
    sizes = dict.fromkeys(letters, side)
    first, second = differences(costs, "B", sizes)
    assert second == 0
    assert first == int(costs.at({"B": 1} | sizes).total.flops) > 0


@few
@given(sequence_layers)
def test_only_attention_is_quadratic_in_the_sequence(layers: list[nn.Module]) -> None:
    """Each head's scores and their sum with the values, and the softmax where it runs apart: S² of each, no more."""
    costs = traced(nn.Sequential(*layers, nn.GELU()), f"x: float32[B,S,{WIDTH}]", S=20)
    _, second = differences(costs, "S", {"B": 3})
    # The second difference of c·S² is 2c. Both products take 2·WIDTH multiply-adds a pair of positions over all heads.
    expected = sum(2 * 3 * (2 * 2 * WIDTH + softmax(layer)) for layer in layers if isinstance(layer, Attention))
    assert second == expected


def softmax(attention: Attention) -> int:
    """Operations a pair of positions that softmax takes over all heads where attention is not fused: five a score."""
    return 0 if attention.form == "fused" else 5 * attention.heads


def more(rule: Any, surplus: Callable[[Any], Any]) -> Any:
    """The rule with multiply-adds too many."""

    def macs(call: Any) -> Any:
        return rule.macs(call) + surplus(call)

    return replace(rule, macs=macs)


@pytest.mark.parametrize(
    ("operators", "surplus", "test"),
    [
        (("conv1d", "conv2d", "conv3d"), lambda c: c.output.elements, test_image_networks_multiply_as_torch_counts),
        (("linear",), lambda c: c.output.elements, test_sequence_networks_multiply_as_torch_counts),
        (("conv1d", "conv2d", "conv3d"), lambda c: c.output.shape[0] ** 2, test_flops_grow_with_the_batch_and_no_faster),
        (("linear",), lambda c: c.output.shape[1] ** 2, test_only_attention_is_quadratic_in_the_sequence),
    ],
)  # fmt: skip
def test_a_wrong_rule_is_found(
    operators: tuple[str, ...], surplus: Callable[[Any], Any], test: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in operators:
        operator = f"aten.{name}"
        monkeypatch.setitem(rules._RULES, operator, more(rules._RULES[operator], surplus))
    with pytest.raises(AssertionError):
        test()
