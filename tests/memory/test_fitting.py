"""The greatest size that fits, against trying every size."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from bench.memory import UNet
from fxcost.api import CostModel, trace
from fxcost.errors import FxcostError
from fxcost.formats.composing import scheme_named
from fxcost.formulas.algebra import Constant, Formula, Symbol, greatest_of, least_of
from fxcost.formulas.evaluation import evaluate
from fxcost.formulas.ranges.domain import Condition, SymbolRange
from fxcost.machines.sheets import load_platform
from fxcost.memory.fitting import largest, share_of, usable_bytes
from fxcost.memory.footprint import Footprint, Moment, footprint


class Attends(nn.Module):
    """Scores that are written out, which grow with the square of the length."""

    def forward(self, x: Any) -> Any:
        return (x @ x.transpose(1, 2)).softmax(-1) @ x


MODELS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "dense": (lambda: nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10)), "x: float32[B,64]"),
    "images": (lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()), "x: float32[B,3,16,16]"),
    "unet": (lambda: UNet(4), "x: float32[B,3,16,16]"),
    "tokens": (lambda: nn.Sequential(nn.Embedding(100, 32), nn.LayerNorm(32), nn.Linear(32, 100)), "x: int64[B,4]"),
    "attends": (Attends, "x: float32[B,12,32]"),
}
MACHINES = ("l4", "t4", "h100-sxm5-80gb", "a100-sxm4-40gb", "jetson-nano")
FORMATS = ("fp32", "fp16", "fp8")
SHARE = Fraction(1, 20_000)
"""So that machines hold few hundred kilobytes, and every size can be tried."""


@pytest.fixture(scope="module")
def traced() -> dict[str, CostModel]:
    return {name: trace(build(), inputs=(spec,), isolated=False) for name, (build, spec) in MODELS.items()}


@pytest.mark.parametrize("name", MODELS)
def test_it_is_the_last_of_all_sizes_that_fit(name: str, traced: dict[str, CostModel]) -> None:
    for precision in FORMATS:
        told = footprint(traced[name], scheme_named(precision), "none")
        limits = {machine: usable_bytes(load_platform(machine), SHARE) for machine in MACHINES}
        most = max(limits.values())
        peaks: list[int] = []
        while not peaks or peaks[-1] <= most:
            peaks.append(told.at({"B": len(peaks) + 1}).peak)
        assert peaks == sorted(peaks)
        for limit in limits.values():
            fitting = [size for size, peak in enumerate(peaks, 1) if peak <= limit]
            assert largest(told, "B", limit).size == max(fitting, default=None)


def test_a_placed_model_says_the_same(traced: dict[str, CostModel]) -> None:
    placed = traced["dense"].on("l4", precision="fp16", fusion="epilogue")
    size = placed.largest(memory=SHARE)
    assert size is not None
    assert placed.memory(B=size).peak <= 24e9 * SHARE < placed.memory(B=size + 1).peak
    assert placed.largest(memory=Fraction(1, 10**6)) is None  # the weights alone are larger
    assert placed.memory(B=1).weights == 2 * (64 * 256 + 256 + 256 * 10 + 10) > 24e9 / 10**6


def test_the_square_of_a_length_is_solved_too() -> None:
    costs = trace(Attends(), inputs=("x: float32[B,S,32]",), at={"S": 16}, isolated=False)
    told = footprint(costs, None, "none")
    for limit in (Fraction(10**5), Fraction(3 * 10**6)):
        size = largest(told, "S", limit, {"B": 2}).size
        assert size is not None
        assert told.at({"S": size, "B": 2}).peak <= limit < told.at({"S": size + 1, "B": 2}).peak


B = Symbol("B")


def made_of(form: Formula, allowed: SymbolRange | None = None, conditions: tuple[Condition, ...] = ()) -> Footprint:
    """A model that holds one formula of activations, and nothing else."""
    costs = CostModel("made up", (), symbols={"B": allowed or SymbolRange()}, conditions=conditions)
    return Footprint(costs, "none", 0, 0, Constant(0), Constant(0), (Moment("it", form),), "observed")


def tried(form: Formula, limit: int, last: int, step: int = 1) -> int | None:
    return max((b for b in range(step, last + 1, step) if evaluate(form, {"B": b}) <= limit), default=None)


@pytest.mark.parametrize(
    ("form", "limit"),
    [
        (7 * B + 3, 100),
        (greatest_of(7 * B, 2 * B + 90), 100),
        (B * B + 5 * B, 1000),
        (greatest_of(B * B, 300 - B), 290),
        (100 * B - B * B, 900),
        (Constant(5) * ((B + 6) / 7), 40),
    ],
)
def test_any_form_is_solved(form: Formula, limit: int) -> None:
    if form == 100 * B - B * B:  # falls again, and then fits at any size there is
        assert largest(made_of(form, SymbolRange(1, 99)), "B", Fraction(limit)).size == tried(form, limit, 99)
        return
    assert largest(made_of(form), "B", Fraction(limit)).size == tried(form, limit, 400)


def test_two_forms_that_cross_are_both_kept() -> None:
    told = replace(made_of(7 * B), moments=(Moment("steep", 7 * B), Moment("flat", 2 * B + 90), Moment("low", 2 * B)))
    assert [each.name for each in told.along("B").moments] == ["steep", "flat"]
    assert [largest(told, "B", Fraction(limit)).size for limit in (100, 700)] == [5, 100]


def test_what_is_held_at_any_size_may_be_too_much() -> None:
    assert largest(made_of(Constant(50)), "B", Fraction(10)).size is None


def test_what_stops_growing_fits_at_any_size() -> None:
    window = least_of(B, Constant(100))
    with pytest.raises(FxcostError, match="does not grow with B, and fits at any"):
        largest(made_of(window), "B", Fraction(1000))
    assert largest(made_of(window, SymbolRange(1, 777)), "B", Fraction(1000)).size == 777
    assert largest(made_of(window), "B", Fraction(99)).size == 99
    assert (
        largest(replace(made_of(window), moments=(Moment("a", window), Moment("b", 3 * B))), "B", Fraction(990)).size
        == 330
    )


def test_ranges_and_conditions_are_kept() -> None:
    multiples = made_of(3 * B, SymbolRange(8, None, 8))
    assert largest(multiples, "B", Fraction(100)).size == 32
    assert largest(multiples, "B", Fraction(23)).size is None
    ended = largest(made_of(3 * B, SymbolRange(1, 20)), "B", Fraction(100))
    assert (ended.size, ended.binds) == (20, "range")
    even = (Condition(B % 2, "==", Constant(0)),)
    assert largest(made_of(3 * B, conditions=even), "B", Fraction(100)).size == 32


def test_what_cannot_be_answered_is_refused(traced: dict[str, CostModel]) -> None:
    with pytest.raises(FxcostError, match="does not grow with B"):
        largest(made_of(Constant(5)), "B", Fraction(10))
    with pytest.raises(FxcostError, match="has no symbol S"):
        traced["dense"].on("l4").largest("S")
    with pytest.raises(FxcostError, match="coral-edge-tpu publishes no memory capacity"):
        usable_bytes(load_platform("coral-edge-tpu"))
    for wrong in ("0%", "101%", "all", "1/0", -1, 2.0):
        with pytest.raises(FxcostError, match="is no share"):
            share_of(wrong)
    assert (share_of("90%"), share_of(0.9), share_of("0.9")) == (Fraction(9, 10),) * 3


# The cache of a decoder, in published figures

KV_GIB = Fraction("54.93")
"""Left for keys and values of Llama-3.1-8B on 80 GB, as vLLM 0.90 says: 79.14 GiB x 0.90 - 14.99 - 0.12 - 1.19."""


@pytest.fixture(scope="module")
def step(tmp_path_factory: pytest.TempPathFactory) -> CostModel:
    path: Path = tmp_path_factory.mktemp("llama") / "config.json"
    path.write_text(
        '{"model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 14336, "vocab_size": 128256,'
        '"num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 8192, "dtype": "bfloat16"}'
    )
    return trace(f"hf:{path.parent}", mode="decode")


@pytest.mark.parametrize(("precision", "per_token"), [(None, 131_072), ("cache=fp8", 65_536)])
def test_blocks_of_a_cache_fill_what_is_left(step: CostModel, precision: str | None, per_token: int) -> None:
    """Blocks of 16 tokens: as many sequences of so many tokens, this one included, as the bytes left hold."""
    told = step.footprint(precision=precision).along("B", {"P": 15})
    assert told.state == 16 * per_token * B
    cache_alone = made_of(told.state)
    blocks = largest(cache_alone, "B", KV_GIB * 2**30).size
    assert blocks == int(KV_GIB * 2**30 / (16 * per_token))
    assert round(
        Fraction("79.14") * Fraction("0.90") - Fraction("14.99") - Fraction("0.12") - Fraction("1.19"), 1
    ) == round(KV_GIB, 1)


def test_a_decoder_holds_weights_and_its_cache(step: CostModel) -> None:
    """Weights of 8,030,261,248 parameters in two bytes each; the rest of a step is small."""
    placed = step.on("h100-sxm5-80gb")
    use = placed.memory(B=1, P=8191)
    assert use.weights == 2 * 8_030_261_248
    assert use.state == 8192 * 131_072
    assert use.activations < 10**6
    assert use.peak == use.weights + use.buffers + use.state + use.inputs + use.activations
    assert placed.largest("B", memory=0.9, P=8191) == (72 * 10**9 - use.weights - use.buffers) // (
        use.peak - use.weights - use.buffers
    )
