"""How long the time of a whole model takes at a million sizes, beside writing as many floats and beside one at a time.

Run as ``python -m bench.evaluate``. Models are traced, saved and read again first; each figure is the middle one of
`TRIES`, of one process.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from bench.trace import reference
from fxcost.costs.analysis import Request, trace_source
from fxcost.costs.files.saved import load, save
from fxcost.costs.model import CostModel
from fxcost.formulas.ranges.domain import SymbolRange
from fxcost.machines.sheets import load_platform
from fxcost.models.references import load_source
from fxcost.roofline.arrays import ModelTimes
from fxcost.roofline.points import layer_points
from fxcost.roofline.rate import Machine

POINTS = 1_000_000
ONE_BY_ONE = 100
"""Points that are evaluated each for itself, by which the time of all is told."""
TRIES = 5
LARGEST = {"B": 256, "H": 1024, "W": 1024, "S": 8192}
MODELS = {"resnet50": "B,H,W", "Llama-3-8B": "B,S"}
MACHINE = Machine(load_platform("h100-sxm5-80gb"), "bf16")

Drawn = Mapping[str, np.ndarray[Any, np.dtype[np.int64]]]


@dataclass(frozen=True)
class Timed:
    """Seconds of each way, for all points."""

    preparing: float
    arrays: float
    floats: float
    one_by_one: float

    @property
    def cells(self) -> list[str]:
        """The figures, and what the arrays take beside the other two."""
        return [
            f"{self.preparing:.3f} s",
            f"{self.arrays:.4f} s",
            f"{self.floats:.5f} s",
            f"{self.arrays / self.floats:.0f}x",
            f"{self.one_by_one:,.0f} s",
            f"1/{self.one_by_one / self.arrays:,.0f}",
        ]


def drawn(model: CostModel) -> Drawn:
    """Sizes at random, each within its range."""
    random = np.random.default_rng(0)
    return {name: draw(random, LARGEST[name], each) for name, each in model.symbols.items()}


def draw(random: np.random.Generator, largest: int, allowed: SymbolRange) -> np.ndarray[Any, np.dtype[np.int64]]:
    step = allowed.multiple_of
    highest = largest if allowed.high is None else min(largest, allowed.high)
    return step * random.integers(allowed.smallest // step, highest // step + 1, POINTS)


def timed(work: Callable[[], object]) -> float:
    """Seconds of the try that took neither longest nor shortest."""
    return statistics.median(once(work) for _ in range(TRIES))


def once(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(model: CostModel) -> Timed:
    """Each way once prepared; a wrong answer is an error."""
    sizes = drawn(model)
    points = [{name: int(each[index]) for name, each in sizes.items()} for index in range(ONE_BY_ONE)]
    times = ModelTimes(model, MACHINE)
    first = once(lambda: times.seconds(sizes))
    arrays = timed(lambda: times.seconds(sizes))
    expected = [float(sum(each.seconds for each in layer_points(model, MACHINE, point))) for point in points]
    assert np.allclose(times.seconds(sizes)[:ONE_BY_ONE], expected, rtol=1e-12, atol=0)
    one_by_one = once(lambda: [layer_points(model, MACHINE, point) for point in points])
    return Timed(first - arrays, arrays, timed(lambda: np.empty(POINTS).fill(1.0)), one_by_one * POINTS / ONE_BY_ONE)


def saved(name: str, folder: Path) -> CostModel:
    """The model traced, written and read again."""
    file = folder / f"{name}.json"
    save(trace_source(load_source(reference(name, folder)), Request(MODELS[name]), warn=lambda _: None), file)
    return load(file)


def main() -> None:
    """Print the seconds that each model takes, and their ratios."""
    out = Console()
    table = Table(
        *("model", "over", "layers", "rows", "prepared in", "arrays", "as many floats", "ratio", "one by one", "ratio"),
        caption=f"seconds of a whole model on {MACHINE.platform.name} at {POINTS:,} sizes; "
        f"one by one at {ONE_BY_ONE}, scaled",
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, over in MODELS.items():
            model = saved(name, Path(folder))
            rows = len(ModelTimes(model, MACHINE).rows)
            table.add_row(name, over, str(len(model.layers)), str(rows), *measure(model).cells)
    out.width = max(out.width, 130)
    out.print(table, markup=False)


if __name__ == "__main__":
    typer.run(main)
