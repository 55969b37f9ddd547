"""What a saved file takes: of disk, to be read, evaluated and summed, until all rows are made, and of a command on it.

Run as ``python -m bench.saved``. Beside the files stand the same models as records, one for each layer, as files of
version 1 hold them; beside the command, Python that does nothing and the command line's help, in the same run.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from bench.trace import reference
from fxcost.costs.analysis import Request, trace_source
from fxcost.costs.files.records import to_record
from fxcost.costs.files.saved import load, save
from fxcost.costs.files.versioned_json import as_json
from fxcost.costs.model import CostModel
from fxcost.files import write_file
from fxcost.models.references import load_source

TRIES = 7
MODELS = ("resnet50", "Llama-3-8B", "Llama-3-405B")
CROSSOVER = ("-p", "h100-sxm5-80gb", "--precision", "fp16")


def median_seconds(run: Callable[[], object]) -> float:
    """What a call takes, in the middle of `TRIES`."""
    times: list[float] = []
    for _ in range(TRIES):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def forms(costs: CostModel, folder: Path) -> dict[str, Path]:
    """The model as a file of today, and as records."""
    today, records = folder / "today.json", folder / "records.json"
    save(costs, today)
    write_file(records, as_json(to_record(costs).model_dump(mode="json")))
    return {"schema 2": today, "records": records}


def file_rows(name: str, folder: Path) -> list[list[str]]:
    """A row for each form of a model's file."""
    costs = trace_source(load_source(reference(name, folder)), Request(), warn=lambda _: None)
    rows: list[list[str]] = []
    for form, path in forms(costs, folder).items():
        read = load(path)
        assert read.at() == costs.at() or form == "records"
        size = f"{path.stat().st_size / 1e6:.3f} MB"
        steps: list[Callable[[], object]] = [
            lambda path=path: load(path),
            lambda read=read: read.at().total,
            lambda path=path: list(load(path).at().layers),
        ]
        rows.append([name, f"{len(costs.layers):,}", form, size, *(f"{median_seconds(step):.3f} s" for step in steps)])
    return rows


def process_rows(folder: Path) -> list[list[str]]:
    """A row for each command: how long a whole process takes."""
    save(trace_source(load_source("resnet50"), Request(), warn=lambda _: None), folder / "resnet50.json")
    fxcost = (sys.executable, "-m", "fxcost")
    commands: dict[str, Sequence[str]] = {
        "python -c pass": (sys.executable, "-c", "pass"),
        "fxcost --help": (*fxcost, "--help"),
        "fxcost crossover resnet50.json": (*fxcost, "crossover", str(folder / "resnet50.json"), *CROSSOVER),
    }
    taken = {name: median_seconds(lambda command=command: ran(command)) for name, command in commands.items()}
    least = taken["python -c pass"]
    return [[name, f"{seconds:.3f} s", f"{seconds / least:.1f}x"] for name, seconds in taken.items()]


def ran(command: Sequence[str]) -> None:
    """Run a command to its end, without its output."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main() -> None:
    """Print both tables."""
    console = Console(width=120)
    files = Table("model", "layers", "form", "size", "load", "evaluate", "all, with rows")
    processes = Table("process", "takes", "of the first")
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            for row in file_rows(name, Path(folder)):
                files.add_row(*row)
        for row in process_rows(Path(folder)):
            processes.add_row(*row)
    console.print(files, processes)


if __name__ == "__main__":
    typer.run(main)
