"""Figures that people who serve language models know, each derived from the model's sizes in words."""

import csv
from collections.abc import Callable, Mapping
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import pytest

from fxcost.costs.roles import bytes_by_role
from fxcost.formulas.quantities import number
from fxcost.machines.sheets import load_platform
from fxcost.roofline.crossover import step_crossovers
from fxcost.roofline.points import layer_points
from fxcost.roofline.rate import Machine

# Llama-3-8B in bfloat16 on an H100: 989.4 TFLOP/s dense over 3.35 TB/s (NVIDIA's data sheet of the SXM5 board).
H100 = "h100-sxm5-80gb"
RIDGE = Fraction(989_400, 3_350)

WIDTH, HIDDEN, VOCABULARY, LAYERS = 4096, 14336, 128256, 32
HEADS, KEPT_HEADS, HEAD = 32, 8, 128
# Each layer: queries and the output WIDTH by WIDTH, keys and values of the kept heads, three matrices of the MLP.
MATRICES = LAYERS * (2 * WIDTH * WIDTH + 2 * WIDTH * KEPT_HEADS * HEAD + 3 * WIDTH * HIDDEN) + WIDTH * VOCABULARY
NORMS = (2 * LAYERS + 1) * WIDTH
FREQUENCIES = HEAD // 2  # of the rotary embedding
TABLE = VOCABULARY * WIDTH
# For each position keys and values of the kept heads in every layer, two bytes each.
CACHE_OF_A_TOKEN = 2 * LAYERS * KEPT_HEADS * HEAD * 2


@pytest.fixture(scope="module")
def llama(decoded: Callable[[str], Any]) -> Any:
    return decoded("llama-3-8b")


def products_of_a_token(past: int) -> int:
    """FLOPs: a token meets every matrix once, and in each layer and head the keys and values of all positions."""
    return 2 * MATRICES + 2 * 2 * LAYERS * HEADS * HEAD * (past + 1)


def test_weights_streamed(llama: Any) -> None:
    """All 8.03 billion parameters but the table of tokens, of which each sequence reads one row: 15.0 GB."""
    assert llama.total.params == MATRICES + NORMS + TABLE == 8_030_261_248
    for batch in (1, 64):
        weights = llama.at(B=batch, P=8192).total.reads["weight"]
        assert weights == {"bfloat16": MATRICES + NORMS + FREQUENCIES + batch * WIDTH}
    assert f"{2 * (MATRICES + NORMS) / 1e9:.2f}" == "15.01"


def test_cache_of_a_token(llama: Any) -> None:
    assert CACHE_OF_A_TOKEN == 131_072
    assert llama.state.bytes_per_token(llama.bits()) == CACHE_OF_A_TOKEN
    at = llama.at(B=16, P=8192)
    assert at.state.bytes_held(at.bits()) == 16 * (8192 + 1) * CACHE_OF_A_TOKEN
    read, written = at.total.reads["state"]["bfloat16"], at.total.writes["state"]["bfloat16"]
    assert (2 * read, 2 * written) == (16 * (8192 + 1) * CACHE_OF_A_TOKEN, 16 * CACHE_OF_A_TOKEN)


@pytest.mark.parametrize("past", [1, 8192])
def test_critical_batch_of_each_matrix(past: int, llama: Any) -> None:
    """2·B·n·m FLOPs against 2·(n·m + B·(n + m)) bytes: B = R·n·m / (n·m − R·(n + m)), a little above the ridge of 295."""
    found = {c.layer.name: c for c in llama.crossovers(H100, at={"P": past})}
    sizes = {
        "self_attn.q_proj": (WIDTH, WIDTH), "self_attn.k_proj": (WIDTH, KEPT_HEADS * HEAD),
        "self_attn.v_proj": (WIDTH, KEPT_HEADS * HEAD), "self_attn.o_proj": (WIDTH, WIDTH),
        "mlp.gate_proj": (WIDTH, HIDDEN), "mlp.up_proj": (WIDTH, HIDDEN), "mlp.down_proj": (HIDDEN, WIDTH),
    }  # fmt: skip
    names = {f"model.layers.{layer}.{name}": nm for layer in range(LAYERS) for name, nm in sizes.items()}
    for name, (n, m) in {**names, "lm_head": (WIDTH, VOCABULARY)}.items():
        exact = RIDGE * n * m / (n * m - RIDGE * (n + m))
        assert (found[name].outcome, found[name].exact, found[name].threshold) == ("at", exact, ceil(exact))
    assert found["model.layers.0.mlp.up_proj"].threshold == 326


def test_attention_is_never_compute_bound(llama: Any) -> None:
    """Four queries share a head's keys and values: 4·4·128 FLOPs a position against 2·2·128 bytes, whatever the batch."""
    found = [c for c in llama.crossovers(H100, at={"P": 8192}) if c.layer.rule == "attention"]
    queries = 2 * HEADS * HEAD * 2  # read, and as many outputs written
    limit = Fraction(4 * HEADS * HEAD * 8193, 4 * KEPT_HEADS * HEAD * 8193 + queries)
    assert [(c.outcome, c.limit) for c in found] == [("never", limit)] * LAYERS
    assert round(float(limit), 2) == 4.0
    over_past = [c for c in llama.crossovers(H100, over="P", at={"B": 512}) if c.layer.rule == "attention"]
    assert {(c.outcome, c.limit) for c in over_past} == {("never", Fraction(4))}


def kept_on_chip(past: int) -> tuple[int, int, int]:
    """FLOPs of a token, bytes of weights, and bytes that each sequence adds: its cache, a new position, a row of the table."""
    weights = 2 * (MATRICES + NORMS + FREQUENCIES)
    return products_of_a_token(past), weights, (past + 1 + 1) * CACHE_OF_A_TOKEN + 2 * WIDTH


def test_critical_batch_of_the_step_with_no_past_to_speak_of(llama: Any) -> None:
    """Weights alone: B = R·w / (f − R·a), just above the ridge."""
    flops, weights, each = kept_on_chip(past=1)
    _, kept = step_crossovers(llama, Machine(load_platform(H100), "bf16"), "B", {"P": 1})
    assert (kept.outcome, kept.exact) == ("at", RIDGE * weights / (flops - RIDGE * each))
    assert kept.threshold == 298


def test_no_batch_makes_a_step_with_a_past_of_8192_compute_bound(llama: Any) -> None:
    """Each sequence adds 19.3 GFLOPs and 1.07 GB: 18 FLOP/B at most, far below the ridge."""
    flops, _, each = kept_on_chip(past=8192)
    whole, kept = step_crossovers(llama, Machine(load_platform(H100), "bf16"), "B", {"P": 8192})
    assert (kept.outcome, kept.limit) == ("never", Fraction(flops, each))
    assert (f"{flops / 1e9:.1f}", f"{each / 1e9:.2f}", f"{float(kept.limit or 0):.1f}") == ("19.3", "1.07", "18.0")
    # Activations that go through memory only lower it.
    assert whole.outcome == "never"
    assert whole.limit is not None
    assert kept.limit is not None
    assert whole.limit < kept.limit


def test_the_longest_past_that_leaves_a_batch_compute_bound(llama: Any) -> None:
    """At B = 512 the past may grow while f(P)·B ≥ R·(w + a(P)·B); both are lines in P."""
    _, kept = step_crossovers(llama, Machine(load_platform(H100), "bf16"), "P", {"B": 512})

    def holds(past: int) -> bool:
        flops, weights, each = kept_on_chip(past)
        return 512 * flops >= RIDGE * (weights + 512 * each)

    (interval,) = kept.where.intervals
    assert interval.low == 1
    assert interval.high is not None
    assert holds(interval.high)
    assert not holds(interval.high + 1)
    assert kept.where.checked_up_to is None


# The tables of "How to Scale Your Model" (jax-ml/scaling-book, inference.md and applied-inference.md)

EXAMPLES = Path(__file__).parent.parent / "data" / "roofline_examples.csv"


def book_rows(start: str) -> list[dict[str, str]]:
    with EXAMPLES.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["case"].startswith(start)]
    assert rows
    return rows


def eight_chips(tmp_path: Path, bandwidth: str) -> Path:
    """Eight TPU v5e as one machine, with the figures that the book takes."""
    text = (Path(__file__).parent.parent.parent / "specs" / "machines" / "tpu-v5e.toml").read_text(encoding="utf-8")
    for old, new in {
        'name = "tpu-v5e"': 'name = "eight-v5e"', "197e12": "1576e12", "393e12": "3152e12", "819e9": bandwidth,
    }.items():  # fmt: skip
        assert text.count(old) == 1
        text = text.replace(old, new)
    path = tmp_path / "eight-v5e.toml"
    path.write_text(text, encoding="utf-8")
    return path


LLAMA_2_13B_CACHE: Mapping[str, tuple[str, int, str]] = {
    # Which rows, the heads that are kept, and the bytes that the book has for a sequence: it rounds before it multiplies.
    "llama-2-13b": ("LLaMA-2-13B decode, ctx 8192 MHA", 40, "6.7"),
    "llama-2-13b-gqa": ("LLaMA-2-13B decode, 5x smaller KV", 8, "1.34"),
}


@pytest.mark.parametrize("name", LLAMA_2_13B_CACHE)
def test_scaling_books_steps_of_llama_2_13b(name: str, decoded: Callable[[str], Any], tmp_path: Path) -> None:
    """Steps at 6.56 TB/s and 8,192 positions: a past of 8,191 and the new token.

    The book streams 26 GB of weights whole, nothing else than them and the cache, and rounds the cache of a sequence. We
    leave out the table of tokens (0.3 GB), and add what the operations' activations move.
    """
    start, heads, per_sequence = LLAMA_2_13B_CACHE[name]
    bandwidth = Fraction(8 * 820 * 10**9)
    machine = Machine(load_platform(str(eight_chips(tmp_path, "6560e9"))), "bf16")
    rows = book_rows(start)
    assert len(rows) == 6
    for row in rows:
        batch = int(row["case"].rpartition("batch ")[2])
        cache_gb, total_gb, milliseconds, tokens = (Fraction(each.strip()) for each in row["value"].split(";"))
        costs = decoded(name).at(B=batch, P=8191)
        bits = costs.bits()
        held = costs.state.bytes_held(bits)
        assert held == batch * 8192 * 2 * 40 * heads * 128 * 2  # keys and values, 40 layers, two bytes
        digits = len(per_sequence.partition(".")[2])
        assert batch * Fraction(f"{held / batch / 1e9:.{digits}f}") == batch * Fraction(per_sequence) == cache_gb
        moved = bytes_by_role(costs.total, bits)
        seconds = sum(point.seconds for point in layer_points(decoded(name), machine, {"B": batch, "P": 8191}))
        assert seconds == sum(moved.values()) / bandwidth  # every operation waits for memory, at 240 sequences too
        new_position = batch * 2 * 40 * heads * 128 * 2
        assert moved["state"] == held + new_position
        # What we count more, and less, than the book explains the whole difference of the two times.
        book = total_gb * 10**9
        differs = moved["activation"] + new_position + (held - cache_gb * 10**9) + (moved["weight"] - 26 * 10**9)
        assert seconds * bandwidth - book == differs
        assert abs(book / bandwidth * 1000 - milliseconds) <= Fraction(5, 1000)
        assert abs(batch / (book / bandwidth) / tokens - 1) < Fraction(1, 1000)
        # Of the weights that is the table, and here fewer matrices of keys and values too: the book keeps its 26 GB.
        layer = 2 * 5120 * 5120 + 2 * 5120 * heads * 128 + 3 * 5120 * 13824 + 2 * 5120
        assert moved["weight"] == 2 * (40 * layer + 5120 + 5120 * 32000 + 128 // 2 + batch * 5120)
        assert number(moved["activation"]) < Fraction(3, 100) * sum(map(number, moved.values()))
        if heads == 40:
            assert abs(seconds * 1000 / milliseconds - 1) < Fraction(3, 100)


def test_scaling_books_step_of_llama_3_70b_in_int8(decoded: Callable[[str], Any], tmp_path: Path) -> None:
    """All in eight bits: 70 GB of weights, and 160 kB for each of 32 sequences' 8,192 positions, at 8 · 8.1e11 B/s."""
    (per_token,) = book_rows("LLaMA-3-70B KV per token")
    (step,) = book_rows("LLaMA-3-70B decode batch 32")
    costs = decoded("llama-3-70b")
    machine = Machine(load_platform(str(eight_chips(tmp_path, "6480e9"))), "int8")
    bits = costs.bits(machine.bits)
    # Keys and values of 80 layers, 8 heads of 128: the book's 160 kB are KiB.
    assert (
        costs.state.bytes_per_token(bits)
        == 2 * 80 * 8 * 128
        == 163_840
        == int(per_token["recomputed"].replace(",", ""))
    )
    assert costs.state.bytes_per_token(bits) / 1024 == float(per_token["value"]) / 1000
    at = {"B": 32, "P": 8191}
    evaluated = costs.at(at)
    memory = evaluated.total.params + evaluated.state.bytes_held(bits)
    assert f"{memory / 1e9:.1f}" == "113.5"  # the book's 112 GB: 70 of weights, and 42 by its 160e3 bytes a position
    seconds = sum(point.seconds for point in layer_points(costs, machine, at))
    streamed = evaluated.total.params - 128256 * 8192 + evaluated.state.bytes_held(bits)
    activations = bytes_by_role(evaluated.total, bits)["activation"]
    book = Fraction(step["recomputed"].removesuffix(" ms")) / 1000
    assert abs(streamed / Fraction(6480 * 10**9) / book - 1) < Fraction(1, 100)
    # Ours also has the activations, the new positions, and a row of the table for each sequence.
    others = activations + 32 * 163_840 + 32 * 8192
    assert seconds * 6480 * 10**9 == streamed + others + 128 // 2
    assert others < Fraction(3, 100) * streamed
