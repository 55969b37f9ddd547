"""A model on machines along the sizes of a symbol, or of several."""

from collections.abc import Mapping, Sequence

from fxcost.costs.model import CostModel
from fxcost.inputs import BATCH_SIZE
from fxcost.reports.costs import percent
from fxcost.reports.crossovers import LONGEST_LIST, NO_BEST_BATCH, others_of
from fxcost.reports.numbers import share, sizes_text
from fxcost.reports.platforms import machine_lines
from fxcost.reports.roofline import counted_in
from fxcost.reports.tables import Cell, Column, Report
from fxcost.roofline.rate import Machine
from fxcost.roofline.sweep import SweepPoint


def sweep_report(
    model: CostModel, over: str, swept: Sequence[tuple[Machine, Sequence[SweepPoint]]], at: Mapping[str, int]
) -> Report:
    """Time, throughput and changes of bound along the sizes of a symbol, on each machine, for each size of others."""
    machines = list({machine.platform.name: machine for machine, _ in swept}.values())
    beside = list(dict.fromkeys(name for _, points in swept for p in points for name in p.beside))
    others = {name: size for name, size in others_of(model, over, at).items() if name not in beside}
    overs = ", ".join((*beside, over))
    columns = (
        Column("platform", "platform", numeric=False, hidden=len(machines) == 1),
        *(Column(name, name) for name in beside),
        Column(over, over),
        Column("ms", "seconds"),
        Column(f"{counted_in(model)}/s", f"{counted_in(model)}_per_second"),
        Column("% time compute-bound", "compute_time_share_percent"),
        Column("to compute-bound", "to_compute_bound", numeric=False, folds=True),
        Column("to memory-bound", "to_memory_bound", numeric=False, folds=True),
    )
    rows = tuple(
        (
            Cell(machine.platform.name),
            *(Cell(f"{p.beside[name]:,}", p.beside[name]) for name in beside),
            Cell(f"{p.size:,}", p.size),
            Cell(f"{'≥ ' if p.unknown else ''}{float(p.seconds * 1000):,.4g}", float(p.seconds)),
            Cell(f"{'≤ ' if p.unknown else ''}{float(p.throughput):,.5g}", float(p.throughput)),
            Cell(share(p.compute_seconds, p.known_seconds), percent(p.compute_seconds, p.known_seconds)),
            Cell(_changed(p.to_compute), " ".join(p.to_compute)),
            Cell(_changed(p.to_memory), " ".join(p.to_memory)),
        )
        for machine, points in swept
        for p in points
    )
    heading = (
        f"{model.ref} over {overs}" + (f" at {sizes_text(others)}" if others else ""),
        *(line for machine in machines for line in machine_lines(machine)),
    )
    notes = ("Layers run one after the other at peak rates: times are lower bounds, throughputs upper bounds.",)
    if any(p.unknown for _, points in swept for p in points):
        notes += ("≥ and ≤: the bound of some layers is unknown; % is of the time of the others.",)
    return Report(
        columns,
        rows,
        heading,
        (*notes, NO_BEST_BATCH) if BATCH_SIZE in (over, *beside) else notes,
        {"model": model.ref, "over": overs, "at": others},
    )


def _changed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:LONGEST_LIST])
    return f"{len(names)}: {shown}{', …' if len(names) > LONGEST_LIST else ''}" if names else ""
