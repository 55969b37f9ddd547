"""Bytes moved under a scheme: each access takes the bits of its storage, and scales are part of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fxcost.api import trace
from fxcost.errors import FxcostError
from fxcost.formats.applying import as_stored
from fxcost.formats.composing import scheme_named
from fxcost.formats.storing import placed
from fxcost.formulas.quantities import number


class Net(nn.Module):
    """A product, a norm, a product."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(32, 48, bias=False)
        self.norm = nn.LayerNorm(48)
        self.last = nn.Linear(48, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.norm(self.first(x))))


@pytest.fixture(scope="module")
def net() -> Any:
    return trace(Net(), inputs=("x: float32[B,32]",), warn=lambda _: None)


def moved(costs: Any, precision: str, **sizes: int) -> dict[str, Any]:
    """Bytes that each layer moves."""
    told = as_stored(costs, scheme_named(precision))
    bits = told.bits()
    return {layer.name: layer.cost.bytes_moved(bits) for layer in told.at(sizes).layers}


def test_weights_take_their_scales_and_all_else_its_own_bits(net: Any) -> None:
    found = moved(net, "weights=int4:g32,activations=fp16,cache=fp16", B=5)
    activations = {"first": 5 * (32 + 48), "norm": 5 * 96, "relu": 5 * 96, "last": 5 * (48 + 8)}
    # A row of 48 inputs has two groups, the last of 16.
    weights = {
        "first": 32 * 48 // 2 + 48 * 1 * 2,
        "norm": 2 * (2 * 48),
        "relu": 0,
        "last": 48 * 8 // 2 + 8 * 2 * 2 + 2 * 8,
    }
    assert found == {name: 2 * activations[name] + weights[name] for name in found}
    assert set(found) == set(weights)


@pytest.mark.parametrize("name", ["fp32", "fp16", "int8", "int4"])
@pytest.mark.parametrize("model", ["resnet18", "timm:vit_tiny_patch16_224"])
def test_plain_precisions_move_what_they_always_did(model: str, name: str) -> None:
    costs: Any = trace(model, warn=lambda _: None)
    scheme = scheme_named(name)
    told = as_stored(costs, scheme).at()
    plain = costs.at()
    bits = plain.bits({"fp32": 32, "fp16": 16, "int8": 8, "int4": 4}[name])
    for one, other in zip(told.layers, plain.layers, strict=True):
        assert one.cost.bytes_moved(told.bits()) == other.cost.bytes_moved(bits), one.name
        assert one.flops == other.flops


def test_autocast_goes_on_in_what_it_has(net: Any) -> None:
    """Products make fp16, a norm makes fp32, and what follows is as wide as what it is given."""
    here = placed(net, scheme_named("amp-fp16"))
    made = {layer.name: here.formats[net.graph.tensors[layer.edges.outputs[0]].storage].text for layer in net.layers}
    assert made == {"first": "fp16", "norm": "fp32", "relu": "fp32", "last": "fp16"}
    assert moved(net, "amp-fp16", B=1) == {
        "first": 4 * 32 + 4 * 32 * 48 + 2 * 48,
        "norm": 2 * 48 + 4 * 2 * 48 + 4 * 48,
        "relu": 4 * 48 + 4 * 48,
        "last": 4 * 48 + 4 * (48 * 8 + 8) + 2 * 8,
    }


class Residual(nn.Module):
    """What is given in fp32, a product, and a scale, which make fp32 of fp16; batch norms do not."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 8)
        self.norm = nn.BatchNorm1d(8)
        self.scale = nn.Parameter(torch.zeros(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.inner(x))
        return (x + y) + (y + y) + y * self.scale


def test_sums_are_as_wide_as_their_widest_part() -> None:
    costs: Any = trace(Residual(), inputs=("x: float32[B,8]",), warn=lambda _: None)
    here = placed(costs, scheme_named("amp-fp16"))
    made = [here.formats[costs.graph.tensors[layer.edges.outputs[0]].storage].text for layer in costs.layers]
    assert made == ["fp16", "fp16", "fp32", "fp16", "fp32", "fp32", "fp32"]


def test_what_layers_compute_in(net: Any) -> None:
    told = {layer.name: layer.computes for layer in as_stored(net, scheme_named("w8a8,last.*=fp16")).layers}
    assert told == {
        "first": ("int8", "bf16"),
        "norm": ("bf16", "bf16"),
        "relu": ("bf16", "bf16"),
        "last": ("fp16", "bf16"),
    }


def test_kernels_are_those_of_the_model_and_move_formats(net: Any) -> None:
    from fxcost.costs.fusion.models import fused

    scheme = scheme_named("weights=int8:channel,activations=fp16,last.*=fp16")
    rows = as_stored(fused(net, "ideal"), scheme)
    (whole,) = rows.at(B=3).layers
    weights = 32 * 48 + 48 * 4 + 2 * (2 * 48) + 2 * (48 * 8 + 8)
    assert whole.cost.bytes_moved(rows.bits()) == 2 * 3 * (32 + 8) + weights
    assert [each.computes[0] for each in whole.members] == ["", "", "", "fp16"]
    kernels = as_stored(fused(net, "pointwise"), scheme)
    assert [row.name for row in kernels.layers] == [row.name for row in fused(net, "pointwise").layers]
    assert sum(number(row.cost.bytes_moved(kernels.bits())) for row in kernels.at(B=3).layers) < sum(
        moved(net, scheme.name, B=3).values()
    )


class Viewed(nn.Module):
    """Numbers packed as others."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * 2).view(torch.int32) + 1


def test_views_as_another_dtype_stay_as_they_are() -> None:
    costs: Any = trace(Viewed(), inputs=("x: float32[B,8]",), warn=lambda _: None)
    assert list(moved(costs, "activations=fp16", B=1).values()) == [2 * 8 + 2 * 8, 4 * 8 + 4 * 8]


@pytest.fixture(scope="module")
def decoding(tmp_path_factory: pytest.TempPathFactory) -> Any:
    config = tmp_path_factory.mktemp("llama") / "config.json"
    config.write_text(
        '{"model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "vocab_size": 97, "num_hidden_layers": 2,'
        ' "num_attention_heads": 4, "num_key_value_heads": 2, "dtype": "bfloat16"}'
    )
    return trace(f"hf:{config}", mode="decode", at={"P": 16}, warn=lambda _: None)


READ = 2 * 2 * 2 * 16 * 10
"""Elements of keys and values in 2 layers that attention reads: 9 positions and the new one."""


def test_the_cache_has_a_format_of_its_own(decoding: Any) -> None:
    """Keys and values of 2 layers, 2 heads of 16."""
    plain, narrow = as_stored(decoding, scheme_named("bf16")), as_stored(decoding, scheme_named("bf16,cache=fp8"))
    assert plain.state is not None
    assert narrow.state is not None
    assert plain.state.bytes_per_token(plain.bits()) == 2 * 2 * 2 * 16 * 2
    assert narrow.state.bytes_per_token(narrow.bits()) == 2 * 2 * 2 * 16
    for one, size in ((plain, 2), (narrow, 1)):
        at: Any = one.at(P=9)
        assert at.state.bytes_held(one.bits()) == 2 * 2 * 2 * 16 * 10 * size
        assert sum(n * one.bits()[stored] for stored, n in at.total.reads["state"].items()) == 8 * size * READ


def test_bytes_of_a_cache_as_published() -> None:
    """Logs of vLLM: 131,072 bytes a token of Llama-3-8B in bf16, 65,536 in fp8; the scaling book: 163,840 of a 70B in int8."""
    data = Path(__file__).parents[1] / "data" / "formats" / "llama-3.1-8b.json"
    costs = trace(f"hf:{data}", mode="decode", at={"P": 64}, warn=lambda _: None)
    for precision, size in (("bf16", 131072), ("bf16,cache=fp8", 65536)):
        told = as_stored(costs, scheme_named(precision))
        assert told.state is not None
        assert told.state.bytes_per_token(told.bits()) == size


def test_a_cache_of_two_formats_is_refused(decoding: Any) -> None:
    names = [each.name for each in decoding.graph.storages if each.role == "state"]
    scheme = scheme_named("bf16,cache=fp8")
    first = replace(scheme.rules[0], names=(names[0],))
    with pytest.raises(FxcostError, match="stores the cache of some layers in bf16, fp8; give all one format"):
        as_stored(decoding, replace(scheme, rules=(first, *scheme.rules[1:])))


def test_a_pattern_that_fits_no_weight_is_refused(net: Any) -> None:
    with pytest.raises(FxcostError, match=r"no weight of \w+ in float32 is left for nope\.\*"):
        placed(net, scheme_named("fp16,nope.*=int4"))
