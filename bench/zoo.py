"""Walks libraries of models: how each traces, and whether torch's own counter agrees at sizes held out.

Run as ``python -m bench.zoo LIST…``. Each model is built and traced in a process of its own.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from bench.zoo_models import LISTS, Library, Listed
from bench.zoo_table import Row, document, sizes_text
from fxcost.costs.analysis import Request, trace_source
from fxcost.costs.model import CostModel
from fxcost.errors import FxcostError
from fxcost.models.building import built_on
from fxcost.models.references import load_source
from fxcost.tracing import untouched, without_memory
from fxcost.tracing.source import Source
from fxcost.verify.counters import apart, shortly
from fxcost.verify.flop_counter_mode import flops_by_torch
from fxcost.verify.random_sizes import drawn_sizes

LONGEST_SECONDS = 300
HELD_OUT = 3


def walk(listed: Listed, group: str) -> Row:
    """Build, trace and compare one model."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            source = load_source(listed.reference(Path(folder)))
            assert source.module is not None
            held = _held(source.module)
            start = time.perf_counter()
            with untouched(source.module):
                costs = trace_source(source, Request(sizes=listed.at), warn=lambda _: None)
        except FxcostError as error:
            return Row(listed=group, model=listed.name, failure=str(error).replace(folder, listed.name))
        found = _of_costs(costs, time.perf_counter() - start)
        changed = [name for name, each in _held(source.module).items() if held.get(name) != each]
        if costs.total.params < MOST_PARAMETERS and not _counts(source, costs):
            with built_on("cpu"):
                source = load_source(listed.reference(Path(folder)))
            return Row(
                listed=group,
                model=listed.name,
                changed=changed,
                **found,
                **_compared(source, costs, listed.name, "cpu"),
            )
    return Row(listed=group, model=listed.name, changed=changed, **found, **_compared(source, costs, listed.name))


def _held(model: torch.nn.Module) -> dict[str, Any]:
    """What each module has, by its path and name: tensors as themselves and their versions, others by what they show."""
    return {
        f"{path}.{name}": (id(value), value._version if isinstance(value, torch.Tensor) else repr(value))  # pyright: ignore[reportPrivateUsage]
        for path, module in model.named_modules()
        for table in (vars(module), module._parameters, module._buffers)  # pyright: ignore[reportPrivateUsage]
        for name, value in table.items()
    }


def _of_costs(costs: CostModel, seconds: float) -> dict[str, Any]:
    return {
        "rung": costs.rung,
        "symbols": {name: str(allowed) for name, allowed in costs.symbols.items()},
        "pinned": {name: pin.value for name, pin in costs.fixed.items()},
        "conditions": len(costs.conditions),
        "counted": sum(layer.coverage == "counted" for layer in costs.layers),
        "free": costs.free,
        "unknown": {op: len(names) for op, names in costs.unknown.items()},
        "seconds": seconds,
        "flops": costs.at().total.flops,
    }


MOST_PARAMETERS = 300_000_000
"""Of models that torch's counter is given with weights, where they read values that tensors without memory lack."""


def _counts(source: Source, costs: CostModel) -> bool:
    """Whether torch's counter runs the model without memory."""
    assert source.module is not None
    with suppress(Exception), untouched(source.module):
        without_memory(source.module)
        flops_by_torch(source, costs.with_fixed(costs.defaults))
        return True
    return False


def _compared(source: Source, costs: CostModel, seed: str, device: str = "meta") -> dict[str, Any]:
    """Torch's count beside ours at sizes other than those of the trace; the module is not fit for use afterwards."""
    assert source.module is not None
    if device == "meta":
        without_memory(source.module)
    held = {name: pin.value for name, pin in costs.fixed.items()}
    compared: list[tuple[dict[str, int], int, int]] = []
    for point in drawn_sizes(costs, seed, HELD_OUT):
        try:
            theirs = flops_by_torch(source, {**held, **point}, device)
        except Exception as error:
            return {"compared": compared, "failure": f"FlopCounterMode at {sizes_text(point)}: {shortly(error)}"}
        compared.append((point, 2 * int(costs.at(point).total.macs), theirs))
    return {"compared": compared}


def row_of(listed: Listed, group: str) -> Row:
    """The model's row from a process of its own."""
    found = apart(lambda: walk(listed, group), LONGEST_SECONDS)
    return Row(listed=group, model=listed.name, failure=found) if isinstance(found, str) else found


def walked(work: list[tuple[Listed, str]], jobs: int, kept: Path) -> Iterator[Row]:
    """The row of each model, in order; those that are kept already are not walked again."""
    known = [Row.model_validate_json(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    rows = {(row.listed, row.model): row for row in known}
    with ThreadPoolExecutor(jobs) as pool, kept.open("a") as file:
        left = [each for each in work if (each[1], each[0].name) not in rows]
        for count, row in enumerate(pool.map(lambda each: row_of(*each), left), start=1):
            print(row.model_dump_json(), file=file, flush=True)
            print(f"{count}/{len(left)} {row.model}: {row.rung or row.failure}", file=sys.stderr)
            rows[row.listed, row.model] = row
    return (rows[group, listed.name] for listed, group in work)


def main(
    lists: list[Library],
    output: Annotated[Path, typer.Option("--output", "-o", help="The table.")],
    kept: Annotated[Path | None, typer.Option(help="Rows as they come, to go on from after an interruption.")] = None,
    jobs: Annotated[int, typer.Option(help="Models at a time.")] = 2,
) -> None:
    """Walk the lists and write the table."""
    # Processes that are forked cannot use threads of their parent.
    torch.set_num_threads(1)
    work = [(listed, str(name)) for name in lists for listed in LISTS[name]()]
    with tempfile.TemporaryDirectory() as folder:
        rows = list(walked(work, jobs, kept or Path(folder) / "rows.jsonl"))
    output.parent.mkdir(exist_ok=True)
    output.write_text(document(rows, f"python -m bench.zoo {' '.join(lists)}"))


if __name__ == "__main__":
    typer.run(main)
