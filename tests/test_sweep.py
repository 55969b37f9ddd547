"""Sweeps along a symbol, and tracing again where formulas do not hold."""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fxcost.costs.analysis import Request, trace_source
from fxcost.costs.model import Cost, CostModel, LayerCost
from fxcost.costs.retracing import Traces
from fxcost.errors import FxcostError
from fxcost.formulas.algebra import ZERO, formula_of
from fxcost.formulas.expressions import symbol
from fxcost.formulas.ranges.domain import SymbolRange
from fxcost.inputs import Arguments, InputSpec
from fxcost.machines.sheets import load_platform
from fxcost.roofline.rate import Machine
from fxcost.roofline.sweep import crossovers_tried, sweep
from fxcost.tracing.source import Source

H100 = Machine(load_platform("h100-sxm5-80gb"), "fp16")
L4 = Machine(load_platform("l4"), "fp16")
Command = Callable[..., tuple[int, str, str]]


def linear(name: str, wide: int, long: int) -> LayerCost:
    """A product of B rows: 2·B·wide·long FLOPs, the weight read once, B rows read and written."""
    batch = symbol("B")
    reads = {"weight": {"float16": formula_of(wide * long)}, "activation": {"float16": batch * wide}}
    cost = Cost(2 * batch * wide * long, ZERO, 0, reads, {"activation": {"float16": batch * long}})
    return LayerCost(name, name, "Linear", "aten.linear.default", "counted", "it", cost)


def along(*layers: LayerCost, sizes: Sequence[int]) -> Mapping[int, CostModel]:
    costs = CostModel("it", layers, symbols={"B": SymbolRange()}, dtype="float16")
    return Traces(costs).along("B", sizes, {}, print)


def test_a_sweep_names_the_layers_that_change_side() -> None:
    points = sweep(along(linear("it", 4096, 4096), sizes=(1, 345, 346, 512)), H100, "B")
    assert [point.to_compute for point in points] == [(), (), ("it",), ()]
    assert [point.compute_share for point in points] == [0, 0, 1, 1]
    assert points[3].throughput == 512 / (512 * 2 * 4096**2 / Fraction("989.4e12"))


def test_throughput_never_falls_with_the_batch() -> None:
    points = sweep(along(linear("a", 512, 64), linear("b", 64, 4096), sizes=range(1, 700, 7)), L4, "B")
    rates = [point.throughput for point in points]
    assert rates == sorted(rates)


def test_crossovers_at_sizes_that_were_tried() -> None:
    """A product of 4096 by 4096 turns between 345 and 346 on an H100; nothing is said of what lies between sizes."""
    layers = (linear("turns", 4096, 4096), linear("thin", 4096, 1))
    found = crossovers_tried(along(*layers, sizes=(8, 345, 512, 1024)), H100, "B")
    assert [(c.layer.name, c.outcome, c.threshold) for c in found] == [("turns", "at", 512), ("thin", "never", None)]
    assert [i.low for i in found[0].where.intervals] == [512, 1024]
    found = crossovers_tried(along(*layers, sizes=(512, 1024)), H100, "B")
    assert found[0].outcome == "always"


class Deeper(nn.Module):
    """Runs its convolution once for each 32 rows of the image, and not at all sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.shape[2] % 32 == 0, "whole strips only"
        for _ in range(x.shape[2] // 32):
            x = self.conv(x)
        return x


def deeper() -> tuple[Traces, list[Mapping[str, int]]]:
    """Traces of the model above, and the sizes at which it was traced again."""
    source = Source("deeper", Deeper(), Arguments((InputSpec("x", "float32", ("B", 3, "H", 8)),)), {"B": 1, "H": 64})
    asked: list[Mapping[str, int]] = []

    def again(sizes: Mapping[str, int]) -> CostModel:
        asked.append(sizes)
        return trace_source(source, Request(sizes=sizes), lambda _: None)

    return Traces(trace_source(source, Request(), lambda _: None), again), asked


def test_a_model_is_traced_again_where_its_formulas_do_not_hold() -> None:
    traces, asked = deeper()
    said: list[str] = []
    found = traces.along("H", (64, 96, 100, 128), {"B": 5}, said.append)
    macs = {size: int(costs.at(B=5, H=size).total.macs) for size, costs in found.items()}
    # Strips, images, output elements, multiply-adds of each.
    assert macs == {height: height // 32 * 5 * 3 * height * 8 * 27 for height in (64, 96, 128)}
    assert [sizes["H"] for sizes in asked] == [96, 100, 128]
    assert said[0].startswith("H=100 left out: the model does not run at")
    traces.along("H", (128, 96), {}, said.append)
    assert len(asked) == 3
    with pytest.raises(FxcostError, match="deeper runs at none of the sizes of H"):
        traces.along("H", (33,), {}, said.append)
    with pytest.raises(FxcostError, match="deeper has no symbol W"):
        traces.along("W", (33,), {}, said.append)


def test_a_saved_model_says_that_the_model_itself_is_needed() -> None:
    traces, _ = deeper()
    with pytest.raises(FxcostError, match="give the model itself in the place of the saved file"):
        Traces(traces.first).at({"H": 96})


MODEL = """
from torch import nn

class Deeper(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 64, 3, padding=1)
        self.more = nn.Conv2d(64, 64, 3, padding=1)

    def forward(self, x):
        x = self.conv(x)
        for _ in range(x.shape[2] // 32):
            x = self.more(x)
        return x
"""


def test_the_command_line(tmp_path: Path, fxcost_command: Callable[..., tuple[int, str, str]]) -> None:
    (tmp_path / "net.py").write_text(MODEL)
    model: tuple[Any, ...] = (
        tmp_path / "net.py:Deeper",
        "--input",
        "x: float32[B,3,H,W]",
        "--at",
        "H=64,W=64",
        "-p",
        "l4",
    )
    code, out, err = fxcost_command("sweep", *model, "--over", "H=64:128:32", "--precision", "fp16")
    assert code == 0, err
    assert "again at" in err
    assert [line.split()[0] for line in out.splitlines() if line.strip()[:2].isdigit()] == ["64", "96", "128"]
    code, out, err = fxcost_command("crossover", *model, "--over", "H=64,96", "--precision", "fp16")
    assert code == 0, err
    assert "sizes of H, of 2 tried (64, 96)" in out


BATCH_HELD = """
from torch import nn

class Pooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3)

    def forward(self, x):
        return self.conv(x).mean((2, 3))
"""


def rates(printed: str) -> list[float]:
    """The third column of a sweep's rows."""
    return [float(line.split()[2].replace(",", "")) for line in printed.splitlines() if line.strip()[:2].isdigit()]


def test_a_batch_that_is_held_counts_as_much_as_one_that_is_free(
    tmp_path: Path, fxcost_command: Callable[..., tuple[int, str, str]]
) -> None:
    """The same eight images a call, however B was traced: as many samples a second, and headings that say B=8."""
    (tmp_path / "net.py").write_text(BATCH_HELD)
    model = (tmp_path / "net.py:Pooled", "--input", "x: float32[B,3,H,64]", "--at", "B=8,H=64")
    machine = ("-p", "l4", "--precision", "fp16")
    printed = {
        held: fxcost_command("sweep", *model, *held, *machine, "--over", "H=64,96")[1]
        for held in ((), ("--symbolic", "H"))
    }
    free, fixed = printed.values()
    assert rates(free) == rates(fixed)
    assert "over H at B=8" in free
    assert "over H at B=8" in fixed
    for command in ("roofline", "trace"):
        options = machine if command == "roofline" else ()
        free, fixed = (fxcost_command(command, *model, *held, *options)[1] for held in ((), ("--symbolic", "H")))
        assert "at B=8, H=64" in free
        assert "at H=64, B=8" in fixed
        assert [line for line in free.splitlines() if "/s, " in line] == [
            line for line in fixed.splitlines() if "/s, " in line
        ]


def test_a_model_without_a_batch_size_is_counted_in_calls(
    tmp_path: Path, fxcost_command: Callable[..., tuple[int, str, str]]
) -> None:
    (tmp_path / "net.py").write_text(BATCH_HELD)
    asked = (
        tmp_path / "net.py:Pooled",
        "--input",
        "x: float32[N,3,64,64]",
        "--at",
        "N=8",
        "-p",
        "l4",
        "--precision",
        "fp16",
    )
    _, printed, _ = fxcost_command("roofline", *asked)
    assert "calls/s" in printed
    assert "samples" not in printed
    _, printed, _ = fxcost_command("sweep", *asked, "--over", "N=8", "-f", "csv")
    assert "calls_per_second" in printed
    assert "samples" not in printed


def test_a_size_to_trace_at_is_no_answer_to_what_is_asked(
    tmp_path: Path, fxcost_command: Callable[..., tuple[int, str, str]]
) -> None:
    """H has no usual size, and needs none; one that is given is where it is traced, and all of H is still asked about."""
    (tmp_path / "net.py").write_text(BATCH_HELD)
    model = (tmp_path / "net.py:Pooled", "--input", "x: float32[B,3,H,64]", "-p", "l4", "--precision", "fp16")
    _, unasked, _ = fxcost_command("crossover", *model, "--over", "H")
    assert "compute-bound sizes of H (3 or more) at B=1" in unasked
    code, printed, said = fxcost_command("crossover", *model, "--over", "H", "--at", "H=64")
    assert code == 0, said
    assert "compute-bound sizes of H (3 or more) at B=1" in printed


def test_several_symbols_are_swept_in_every_combination(fxcost_command: Command, small_model: Path) -> None:
    one = fxcost_command("sweep", small_model, "-p", "l4", "--over", "B=1,8", "--at", "H=40", "-f", "csv")
    code, out, said = fxcost_command(
        "sweep", small_model, "-p", "l4", "--over", "H=32,40", "--over", "B=1,8", "-f", "csv"
    )
    assert code == 0, said
    head, *rows = out.splitlines()
    assert head.split(",")[:3] == ["platform", "H", "B"]
    assert [row.split(",")[1:3] for row in rows] == [["32", "1"], ["32", "8"], ["40", "1"], ["40", "8"]]
    assert [row.replace(",40", "", 1) for row in rows[2:]] == one[1].splitlines()[1:]


def test_combinations_that_a_model_does_not_run_at_are_told(fxcost_command: Command, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\ndef f(): return torch.nn.Conv2d(3, 8, 3), torch.zeros(1, 3, 40, 40)\n"
    )
    model = f"{tmp_path / 'net.py'}:f"
    code, out, said = fxcost_command("sweep", model, "-p", "l4", "--over", "H=1,40", "--over", "B=1", "-f", "csv")
    assert code == 0, said
    assert len(out.splitlines()) == 2
    assert "H=1 left out" in said
    code, _, said = fxcost_command("sweep", model, "-p", "l4", "--over", "H=1", "--over", "B=1")
    assert code == 1
    assert "runs at none of the sizes" in said
    code, _, said = fxcost_command("sweep", model, "-p", "l4", "--over", "Q=1", "--over", "B=1")
    assert "has no symbol Q" in said
