"""Machines under schemes: peaks by what each layer computes in, batches as the scaling book has them, and several at once."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fxcost.api import trace
from fxcost.costs.fusion.models import fused
from fxcost.errors import FxcostError
from fxcost.formats.composing import scheme_named
from fxcost.machines.sheets import load_platform
from fxcost.roofline.arrays import seconds
from fxcost.roofline.bound import bound_seconds
from fxcost.roofline.points import layer_points, step_points
from fxcost.roofline.rate import machine_for

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def wide() -> Any:
    """A product whose activations are nothing beside its weights, in meta memory."""
    with torch.device("meta"):
        linear = nn.Linear(2**17, 2**17, bias=False)
    return trace(linear, inputs=("input: float32[B,131072]",), warn=lambda _: None)


@pytest.mark.parametrize(
    ("precision", "batch"),
    [
        ("bf16", 240),
        ("weights=int8,activations=bf16,compute=bf16", 120),
        ("weights=int8,activations=bf16,compute=int8", 243),
    ],
)
def test_critical_batches(wide: Any, precision: str, batch: int) -> None:
    """jax-ml/scaling-book, roofline, questions 1 and 2: on a TPU v5e, where D and F are much larger than B."""
    (found,) = wide.on("tpu-v5e", precision=precision, fusion="none").crossovers()
    assert found.threshold == pytest.approx(batch, rel=0.02)


def test_what_weights_of_4_bits_win_at_most(wide: Any) -> None:
    """IST-DASLab/marlin, README: 3.87 times faster than fp16, for 16 bits against 4.125."""
    times = [
        wide.on("a10", precision=name, fusion="none").roofline_seconds(B=1)
        for name in ("fp16", "weights=int4:g128,activations=fp16,compute=fp16")
    ]
    assert float(times[0] / times[1]) == pytest.approx(3.87, abs=0.01)


def test_resnet_in_int8_moves_a_quarter_and_is_four_times_as_intense() -> None:
    costs = trace("resnet50", "B", warn=lambda _: None)
    wide, narrow = (
        layer_points(costs, machine_for(costs, load_platform("a100-sxm4-80gb"), p)) for p in ("fp32", "int8")
    )
    assert sum(p.bytes_moved for p in wide) == 4 * sum(p.bytes_moved for p in narrow)
    assert {b.intensity / a.intensity for a, b in zip(wide, narrow, strict=True) if a.intensity and b.intensity} == {4}
    mixed = layer_points(costs, machine_for(costs, load_platform("a100-sxm4-80gb"), "int8,conv1.*=fp16,head=fp16"))
    changed = {a.layer.name: a.bytes_moved - b.bytes_moved for a, b in zip(mixed, narrow, strict=True)}
    # The weights of both take a byte more; the bias of the last one is no matrix, and stays.
    assert {name: more for name, more in changed.items() if more} == {"conv1": 64 * 3 * 7 * 7, "fc": 2048 * 1000}


class Mixed(nn.Module):
    """Two products of one size, of which one is kept in more bits, and a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(512, 512, bias=False)
        self.other = nn.Linear(512, 512, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.other(self.one(x)) + x


SCHEME = "w8a8,other.*=bf16"
BATCH = 10**6
INT8, BF16, MEMORY = 624 * 10**12, 312 * 10**12, 2039 * 10**9
"""The A100's peaks and bandwidth as its datasheet prints them."""


@pytest.fixture(scope="module")
def mixed() -> Any:
    return trace(Mixed(), inputs=("x: float32[B,512]",), warn=lambda _: None)


def test_each_product_has_the_peak_of_what_it_computes_in(mixed: Any) -> None:
    machine = machine_for(mixed, load_platform("a100-sxm4-80gb"), SCHEME)
    points = {p.layer.name: p for p in layer_points(mixed, machine, {"B": BATCH})}
    flops = 2 * BATCH * 512 * 512
    assert [points[name].computing_seconds for name in ("one", "other")] == [
        Fraction(flops, INT8),
        Fraction(flops, BF16),
    ]
    assert points["one"].bytes_moved == 2 * 2 * BATCH * 512 + 512 * 512 + 2 * 512
    assert points["other"].bytes_moved == 2 * 2 * BATCH * 512 + 2 * 512 * 512
    placed = mixed.on("a100-sxm4-80gb", precision=SCHEME, fusion="none")
    ridges = {each.layer.name: each.ridge for each in placed.crossovers()}
    assert ridges["one"] == 2 * ridges["other"] == Fraction(INT8, MEMORY)


def test_a_kernel_of_several_products_counts_each_at_its_peak(mixed: Any) -> None:
    """Under what nothing beats all runs at once: products as long as both take, at two peaks."""
    machine = machine_for(mixed, load_platform("a100-sxm4-80gb"), SCHEME)
    flops = 2 * BATCH * 512 * 512
    both = Fraction(flops, INT8) + Fraction(flops, BF16)
    assert bound_seconds(mixed, machine, {"B": BATCH}) == both
    (whole,) = layer_points(fused(mixed, "ideal"), machine, {"B": BATCH})
    call, _ = step_points(mixed, machine, {"B": BATCH})
    assert [whole.computing_seconds, call.computing_seconds] == [both, both]


def test_products_on_the_vector_unit_wait_for_its_other_work(mixed: Any) -> None:
    """An A100 has no matrix unit for fp32, where the product and the sum after it run one after the other."""
    placed = mixed.on("a100-sxm4-80gb", precision="bf16,other.*=fp32", fusion="epilogue")
    found = {row.layer.name: row.computing_seconds for row in placed.rows(B=BATCH)}
    vector = Fraction(195, 10) * 10**12
    assert found["other + add"] == (2 * BATCH * 512 * 512 + BATCH * 512) / vector


def test_arrays_of_sizes_say_the_same(mixed: Any) -> None:
    machine = machine_for(mixed, load_platform("a100-sxm4-80gb"), SCHEME)
    batches = [1, 300, 700, BATCH]
    exact = [float(sum(p.seconds for p in layer_points(mixed, machine, {"B": each}))) for each in batches]
    assert list(seconds(mixed, machine, {"B": np.array(batches)})) == pytest.approx(exact, rel=1e-12)


def test_a_machine_lacks_what_a_product_computes_in(mixed: Any) -> None:
    with pytest.raises(FxcostError, match="a100-sxm4-80gb has no fp8 peak; it has: "):
        machine_for(mixed, load_platform("a100-sxm4-80gb"), "fp8-tensor")
    # No product is left that computes in it.
    assert machine_for(mixed, load_platform("a100-sxm4-80gb"), "fp8-tensor,compute=bf16").precision == "bf16"


def test_the_models_own_dtype_is_what_nothing_else_is_said_of(mixed: Any) -> None:
    machine = machine_for(mixed, load_platform("a100-sxm4-80gb"), "weights=int8:channel")
    assert (machine.precision, machine.stored_in) == ("fp32", "weights=int8:channel")


def test_several_precisions_stand_beside_each_other(fxcost_command: Command, mixed: Any, tmp_path: Path) -> None:
    saved = tmp_path / "mixed.json"
    mixed.save(saved)
    code, said, error = fxcost_command(
        "roofline", saved, "-p", "a100-sxm4-80gb", "-p", "t4", "--precision", "fp16,w8a8", "--precision", "fp8-tensor", "--at", "B=8", "-f", "json"
    )  # fmt: skip
    assert code == 0, error
    rows = json.loads(said)["rows"]
    assert {row["platform"] for row in rows} == {
        *("a100-sxm4-80gb fp16", "a100-sxm4-80gb w8a8", "a100-sxm4-80gb fp8-tensor"),
        *("t4 fp16", "t4 w8a8", "t4 fp8-tensor"),
    }
    refused = [row for row in rows if row["platform"] == "t4 fp8-tensor"]
    assert [row["bound"].partition(";")[0] for row in refused] == ["has no fp8 peak"]
    code, said, error = fxcost_command("crossover", saved, "-p", "a100-sxm4-80gb", "--precision", SCHEME, "-f", "csv")
    assert code == 0, error
    assert SCHEME in said
    assert (
        fxcost_command("sweep", saved, "-p", "a100-sxm4-80gb", "--precision", f"{SCHEME},fp16", "--over", "B=1,8")[0]
        == 0
    )
    code, _, error = fxcost_command("roofline", saved, "-p", "t4", "--precision", "fp16", "--precision", "FP16")
    assert (code, error) == (1, "fxcost: --precision names fp16 twice; name each once")


def test_scheme_objects_are_taken_too(mixed: Any) -> None:
    platform = load_platform("a100-sxm4-80gb")
    assert machine_for(mixed, platform, scheme_named("int8")) == machine_for(mixed, platform, "INT8")
