"""Rooflines and crossovers against published worked examples and re-derived numbers."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from fxcost import api
from fxcost.costs.files.saved import save
from fxcost.costs.model import Cost, CostModel, LayerCost
from fxcost.errors import FxcostError
from fxcost.formulas.algebra import ZERO
from fxcost.formulas.expressions import evaluate, parse
from fxcost.formulas.ranges.domain import SymbolRange
from fxcost.formulas.ranges.piecewise import Interval
from fxcost.machines.sheets import Platform, load_platform
from fxcost.roofline.crossover import crossovers
from fxcost.roofline.points import layer_points
from fxcost.roofline.rate import Machine

EXAMPLES = {
    row["case"]: row
    for row in csv.DictReader(
        (Path(__file__).parent / "data" / "roofline_examples.csv").read_text(encoding="utf-8").splitlines()
    )
}


def layer(
    flops: str, weights: str, activations: str, *, unit: Any = "matrix", names: tuple[str, ...] = ("B",)
) -> LayerCost:
    """A layer of so many FLOPs that reads so many float32 weights and moves so many activations."""
    moved = {"weight": {"float32": parse(weights, names)}, "activation": {"float32": parse(activations, names)}}
    cost = replace(Cost(ZERO, ZERO, reads=moved), **{unit: parse(flops, names)})
    return LayerCost("it", "it", "Linear", "aten.linear.default", "counted", "linear", cost)


def model(*layers: LayerCost, symbols: dict[str, SymbolRange] | None = None, **usual: int) -> CostModel:
    symbols = symbols or {"B": SymbolRange()}
    return CostModel("it", layers, symbols=symbols, defaults={**dict.fromkeys(symbols, 1), **usual})


def linear(inputs: int, outputs: int) -> LayerCost:
    return layer(f"2*{inputs}*{outputs}*B", str(inputs * outputs), f"{inputs + outputs}*B")


def machine(peak: str, bandwidth: str, precision: str = "fp16") -> Machine:
    """A machine of so many FLOP/s and byte/s, as if a file had said it."""
    source = {"sources": {"here": "this test"}}
    figure = {"source": "here"}
    rate = "op_per_s" if precision.startswith("int") else "flop_per_s"
    known: dict[str, Any] = {
        "name": "it", "title": "it", "vendor": "it", "kind": "gpu", "year": 2026, **source,
        "peak": {"matrix": {precision: {rate: Fraction(peak), **figure}}, "vector": {"fp32": {"flop_per_s": 1, **figure}}},
        "memory": {"type": "HBM3", "bandwidth": {"byte_per_s": Fraction(bandwidth), **figure}},
    }  # fmt: skip
    known["peak"]["matrix"][precision][rate] = int(Fraction(peak))
    known["memory"]["bandwidth"]["byte_per_s"] = int(Fraction(bandwidth))
    return Machine(Platform.model_validate(known, context=source["sources"]), precision)


@pytest.mark.parametrize(("platform", "exact", "batch"), [("h100-sxm5-80gb", 345.1, 346), ("l4", 502.2, 503)])
def test_a_square_linear_layer(platform: str, exact: float, batch: int) -> None:
    """B* = R·w/(f − R·a): w = 2·4096² bytes, f = 2·4096² FLOPs, a = 2·2·4096 bytes."""
    (found,) = crossovers(model(linear(4096, 4096)), Machine(load_platform(platform), "fp16"))
    ridge = {"h100-sxm5-80gb": Fraction("989.4e12") / Fraction("3.35e12"), "l4": Fraction("121e12") / Fraction("300e9")}
    r = ridge[platform]
    assert found.exact == r * 2 * 4096**2 / (2 * 4096**2 - r * 4 * 4096)
    assert found.exact is not None
    assert float(found.exact) == pytest.approx(exact, abs=0.05)
    assert (found.outcome, found.threshold) == ("at", batch)
    assert found.where.intervals == (Interval(batch, None),)
    assert found.where.checked_up_to is None


def test_a_depthwise_convolution_never(costs_of: Callable[..., Any]) -> None:
    """18 FLOPs an output, 2 bytes in and 2 bytes out: 4.5 FLOP/B at best."""
    from torch import nn

    from fxcost.api import trace

    costs = trace(nn.Conv2d(64, 64, 3, padding=1, groups=64, bias=False), inputs=("input: float32[B,64,56,56]",))
    (found,) = crossovers(costs, Machine(load_platform("h100-sxm5-80gb"), "fp16"))
    assert (found.outcome, found.limit) == ("never", Fraction(9, 2))


def test_always() -> None:
    """A layer whose every byte meets 1,000 FLOPs."""
    (found,) = crossovers(model(layer("4000*B", "0", "B")), Machine(load_platform("h100-sxm5-80gb"), "fp32"))
    assert found.outcome == "always"


def test_the_smallest_batch_counts_from_the_symbols_range() -> None:
    ranged = model(linear(4096, 4096), symbols={"B": SymbolRange(400)}, B=400)
    (found,) = crossovers(ranged, Machine(load_platform("h100-sxm5-80gb"), "fp16"))
    assert found.outcome == "always"
    ended = model(linear(4096, 4096), symbols={"B": SymbolRange(1, 300)})
    assert crossovers(ended, Machine(load_platform("h100-sxm5-80gb"), "fp16"))[0].outcome == "never"


def test_multiples() -> None:
    """Of the multiples of 64, 384 is the first from 345.1 on."""
    stepped = model(linear(4096, 4096), symbols={"B": SymbolRange(64, None, 64)}, B=64)
    (found,) = crossovers(stepped, Machine(load_platform("h100-sxm5-80gb"), "fp16"))
    assert found.where.intervals == (Interval(384, None),)


def test_intervals_where_cost_is_no_line() -> None:
    """FLOPs 40·H·(200 − H) on 4 bytes·H: intensity 10·(200 − H) is at least a ridge of 20 up to H = 198 only."""
    falling = layer("40*H*(200 - H)", "0", "H", names=("H",))
    found = crossovers(
        model(falling, symbols={"H": SymbolRange()}), Machine(load_platform("h100-sxm5-80gb"), "fp32"), over="H"
    )
    assert found[0].outcome == "within"
    assert found[0].where.intervals == (Interval(1, 198),)


def test_over_a_resolution_with_floors() -> None:
    """Every size is tried: FLOPs at the ridge or above on a machine of 20 FLOP/B (67 TFLOP/s over 3.35 TB/s)."""
    strided = layer("5200*((H - 1)//32 + 1)**2", "100", "H**2//16", names=("H",))
    found = crossovers(
        model(strided, symbols={"H": SymbolRange()}), Machine(load_platform("h100-sxm5-80gb"), "fp32"), over="H"
    )[0]
    compute_bound = {h for h in range(1, 600) if 5200 * ((h - 1) // 32 + 1) ** 2 >= 20 * 4 * (100 + h * h // 16)}
    told = {
        h for h in range(1, 600) if any(i.low <= h and (i.high is None or h <= i.high) for i in found.where.intervals)
    }
    assert told == compute_bound
    assert compute_bound  # the question has more than one answer
    assert len(compute_bound) < 599


@pytest.mark.parametrize(
    ("case", "peak", "bandwidth", "precision", "depth"),
    [
        ("matmul [B,D]x[D,F], B<<D,F", "1.97e14", "8.2e11", "bf16", 10**9),
        ("matmul int8 x int8", "3.94e14", "8.1e11", "int8", 10**9),
        ("H100 matmul critical batch", "1e15", "3.35e12", "bf16", 10**9),
    ],
)
def test_published_critical_batches(case: str, peak: str, bandwidth: str, precision: str, depth: int) -> None:
    """Where activations are small beside weights the crossover is the ridge, in elements: R·bytes/2."""
    (found,) = crossovers(model(linear(depth, depth)), machine(peak, bandwidth, precision))
    assert found.exact is not None
    assert float(found.exact) == pytest.approx(float(EXAMPLES[case]["value"]), rel=0.005)


def test_published_critical_batch_of_an_int8_matmul() -> None:
    """W of 16384×4096: the text rounds to 271, exact integers give 262.7; its own note allows 263 to 271."""
    row = EXAMPLES["matmul int8 W[16384,4096] x [B,4096] from HBM"]
    (found,) = crossovers(model(linear(4096, 16384)), machine("3.94e14", "8.1e11", "int8"))
    assert found.threshold == 263
    assert found.threshold <= float(row["value"])


def test_bounds_and_times_at_a_point() -> None:
    """At batch 1 a 4096² layer takes its 33.6 MB of fp16 weights over 3.35 TB/s; at 4,096, its FLOPs over the peak."""
    h100 = Machine(load_platform("h100-sxm5-80gb"), "fp16")
    (small,) = layer_points(model(linear(4096, 4096)), h100, {"B": 1})
    assert (small.bound, small.seconds) == ("memory", (2 * 4096**2 + 4 * 4096) / Fraction("3.35e12"))
    assert small.intensity == Fraction(2 * 4096**2, 2 * 4096**2 + 4 * 4096)
    (large,) = layer_points(model(linear(4096, 4096)), h100, {"B": 4096})
    assert (large.bound, large.seconds) == ("compute", 2 * 4096**3 / Fraction("989.4e12"))


def test_vector_work_meets_the_vector_peak() -> None:
    """At 1,000 FLOP/B vector work is limited by 67 TFLOP/s, not by the tensor cores."""
    (point,) = layer_points(
        model(layer("4000*B", "0", "B", unit="vector")), Machine(load_platform("h100-sxm5-80gb"), "fp16")
    )
    assert point.seconds == 4000 / Fraction("67e12")


def test_a_machine_without_a_vector_peak_says_so() -> None:
    vector, tpu = model(layer("4000*B", "0", "B", unit="vector")), Machine(load_platform("tpu-v5e"), "bf16")
    (found,) = crossovers(vector, tpu)
    assert (found.outcome, found.ridge) == ("unknown", None)
    assert layer_points(vector, tpu)[0].bound == "unknown"


def test_an_unknown_layer_has_no_crossover() -> None:
    from dataclasses import replace

    opaque = replace(linear(8, 8), coverage="unknown")
    h100 = Machine(load_platform("h100-sxm5-80gb"), "fp16")
    assert crossovers(model(opaque), h100)[0].outcome == "unknown"
    assert layer_points(model(opaque), h100)[0].bound == "unknown"


def test_asking_over_a_fixed_symbol() -> None:
    from fxcost.formulas.ranges.domain import Pinned

    fixed = CostModel("it", (linear(8, 8),), symbols={"B": SymbolRange()}, fixed={"H": Pinned(224, "line 3")})
    with pytest.raises(FxcostError, match="H is fixed at 224 in it .line 3.; give its sizes.*--over H=224,…"):
        crossovers(fixed, Machine(load_platform("l4"), "fp16"), over="H")


def test_a_crossover_stays_where_the_formulas_hold() -> None:
    """Traced where B·S ≤ 256: at S = 1 no batch reaches 346, at which this layer would turn."""
    from dataclasses import replace

    from fxcost.formulas.ranges.domain import Condition

    names = ("B", "S")
    held = Condition(parse("256", names), ">=", parse("B*S", names))
    symbols = {"B": SymbolRange(), "S": SymbolRange()}
    limited = replace(model(linear(4096, 4096), symbols=symbols), conditions=(held,))
    h100 = Machine(load_platform("h100-sxm5-80gb"), "fp16")
    assert crossovers(limited, h100, at={"S": 1})[0].outcome == "never"
    unlike = replace(limited, conditions=(Condition(parse("B", names), "!=", parse("7*S", names)),))
    with pytest.raises(FxcostError, match="hold only where B ≠ 7, which is no range of B; give sizes of it"):
        crossovers(unlike, h100, at={"S": 1})


def limited_to(low: int, high: int) -> CostModel:
    """A product of 4096 by 4096, of whose rows B·S the formulas allow S from low to high."""
    rows = layer(f"2*{4096**2}*B*S", str(4096**2), "2*4096*B*S", names=("B", "S"))
    return model(rows, symbols={"B": SymbolRange(), "S": SymbolRange(low, high)}, S=low)


def test_a_crossover_says_among_which_sizes() -> None:
    """346 rows are enough: never among 128 to 135 for one sequence, always for three; its limit is beyond the range."""
    h100 = Machine(load_platform("h100-sxm5-80gb"), "fp16")
    for batch, outcome in ((1, "never"), (3, "always")):
        (found,) = crossovers(limited_to(128, 135), h100, over="S", at={"B": batch})
        assert (found.outcome, found.among, found.limit) == (outcome, SymbolRange(128, 135), None)
    (found,) = crossovers(model(linear(4096, 4096)), h100)
    assert found.among == SymbolRange()


def test_reports_say_among_which_sizes(fxcost_command: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    asked = ("-p", "h100-sxm5-80gb", "--precision", "fp16", "--over", "S", "--at")
    narrow, wide, file = limited_to(128, 135), limited_to(128, 2000), tmp_path / "model.json"
    for costs, batch, words in (
        (narrow, 1, ("sizes of S (128 to 135) at B=1", "1 at no S of these", " never ")),
        (narrow, 3, ("sizes of S (128 to 135) at B=3", "1 compute-bound at every S of these", " always ")),
        (wide, 1, ("sizes of S (128 to 2000) at B=1", "1 from some S on", "from S = 346 (345.1) to 2,000")),
    ):
        save(costs, file)
        code, printed, said = fxcost_command("crossover", file, *asked, f"B={batch}")
        assert code == 0, said
        for word in words:
            assert word in printed
        assert "→" not in printed
    told = json.loads(fxcost_command("crossover", file, *asked, "B=1", "-f", "json")[1])
    assert told["range"] == {"min": 128, "max": 2000, "multiple_of": 1}
    row, *_ = csv.DictReader(fxcost_command("crossover", file, *asked, "B=1", "-f", "csv")[1].splitlines())
    assert (row["holds_from"], row["holds_to"]) == ("128", "2000")


def test_a_symbol_that_is_solved_for_needs_no_size() -> None:
    """Neither has S a usual size here, nor would that of B allow it: the condition is one on S."""
    from dataclasses import replace

    from fxcost.formulas.ranges.domain import Condition

    names = ("B", "S")
    open_ended = replace(
        limited_to(1, 4096), defaults={"B": 64}, conditions=(Condition(parse("S", names), ">=", parse("4*B", names)),)
    )
    h100 = Machine(load_platform("h100-sxm5-80gb"), "fp16")
    (found,) = crossovers(open_ended, h100, over="S")
    assert found.among == SymbolRange(256, 4096)
    with pytest.raises(FxcostError, match="hold at no size of S at B=1025: they hold only where S ≥ 4·B"):
        crossovers(open_ended, h100, over="S", at={"B": 1025})


def test_the_one_symbol_of_a_model_is_suggested() -> None:
    rows = model(layer("N", "1", "N", names=("N",)), symbols={"N": SymbolRange()})
    with pytest.raises(FxcostError, match="it has no symbol B; it has N; ask with --over N$"):
        crossovers(rows, Machine(load_platform("l4"), "fp16"))
    both = model(layer("N", "1", "M", names=("N", "M")), symbols={"N": SymbolRange(), "M": SymbolRange()})
    with pytest.raises(FxcostError, match="it has N, M$"):
        crossovers(both, Machine(load_platform("l4"), "fp16"))


def both(matrix: str, vector: str, moved: str) -> LayerCost:
    """A layer with work on both units."""
    cost = Cost(parse(matrix, "B"), parse(vector, "B"), reads={"activation": {"float16": parse(moved, "B")}})
    return LayerCost("it", "it", "LSTM", "aten.lstm.input", "counted", "recurrence", cost)


@pytest.mark.parametrize(
    "work",
    [
        ("400*B", "100*B", "B + 600"),  # contractions turn first
        ("40*B", "100*B", "B + 600"),  # all else turns first
        ("400*B", "30*B*((B - 1)//7)", "2*B + 600"),
        ("300*(B - 60)**2", "20*B", "B + 9000"),
        ("2*B", "B", "B + 1"),
    ],
)
def test_the_slower_unit_decides_where_a_layer_has_work_on_both(work: tuple[str, str, str]) -> None:
    """Solved for every size as each size by itself says, time being that of the slowest of units and memory."""
    a100 = Machine(load_platform("a100-sxm4-80gb"), "fp16")
    costs = model(both(*work))
    (found,) = crossovers(costs, a100)
    inside = {size for size in range(1, 300) for i in found.where.intervals if i.low <= size <= (i.high or size)}
    matrix, vector, bandwidth = (a100.rate(each) for each in ("matrix", "vector", "memory"))
    assert matrix
    assert vector
    assert bandwidth
    for size in range(1, 300):
        (point,) = layer_points(costs, a100, {"B": size})
        times = [
            evaluate(parse(text, "B"), {"B": size}) * factor / rate
            for text, factor, rate in zip(work, (1, 1, 2), (matrix, vector, bandwidth), strict=True)
        ]
        assert point.seconds == max(times)
        assert (point.bound == "compute") == (max(times[:2]) >= times[2]) == (size in inside)
        assert point.unit == ("matrix" if times[0] >= times[1] else "vector")


def test_contractions_on_the_vector_unit_wait_for_the_rest() -> None:
    cpu = Machine(load_platform("xeon-8380"), "fp32")
    (point,) = layer_points(model(both("400*B", "100*B", "B")), cpu, {"B": 8})
    peak = cpu.peak("vector")
    assert peak is not None
    assert peak == cpu.peak("matrix")
    assert point.seconds == Fraction(500 * 8) / peak


def test_a_peak_that_is_not_published_leaves_open_only_what_it_decides() -> None:
    tpu = Machine(load_platform("tpu-v5e"), "bf16")
    assert tpu.peak("vector") is None
    (sure,) = crossovers(model(both("10**6*B", "B", "B")), tpu)
    (open_,) = crossovers(model(both("2*B", "B", "B")), tpu)
    assert (sure.outcome, open_.outcome) == ("always", "unknown")
    assert [p.bound for p in layer_points(model(both("10**6*B", "B", "B"), both("2*B", "B", "B")), tpu)] == [
        "compute", "unknown",
    ]  # fmt: skip


def test_a_model_placed_on_a_machine() -> None:
    """As the functions have it: a whole call is its layers, one after the other."""
    costs = api.CostModel(**vars(model(linear(4096, 4096), layer("4000*B", "0", "B", unit="vector"))))
    placed = costs.on("h100-sxm5-80gb", precision="fp16", fusion="none")
    points = layer_points(costs, Machine(load_platform("h100-sxm5-80gb"), "fp16"), {"B": 500})
    assert placed.rows(B=500) == placed.rows({"B": 500}) == points
    assert placed.roofline_seconds(B=500) == points[0].seconds + points[1].seconds > points[0].seconds
    assert placed.bytes_moved(B=500) == 2 * (4096**2 + 2 * 4096 * 500 + 500)
    assert [c.threshold for c in placed.crossovers()] == [346, 1]
    assert costs.crossovers("h100-sxm5-80gb", precision="fp16", fusion="none") == placed.crossovers()
    with pytest.raises(FxcostError, match="it was saved before .* ask with --fusion none"):
        costs.on("h100-sxm5-80gb", precision="fp16")
    frame = placed.to_pandas(B=500)
    assert list(frame["seconds"]) == [float(point.seconds) for point in points]
    with pytest.raises(FxcostError, match="have no symbol H"):
        placed.rows(H=3)
