"""A model on machines along the sizes of a symbol, or of several."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fxcost.costs.model import CostModel
from fxcost.inputs import BATCH_SIZE
from fxcost.reports.costs import percent
from fxcost.reports.crossovers import LONGEST_LIST, NO_BEST_BATCH, others_of
from fxcost.reports.memory import TOO_MUCH, gigabytes
from fxcost.reports.parts.numbers import share, sizes_text
from fxcost.reports.parts.tables import Cell, Column, Report
from fxcost.reports.platforms import machine_lines
from fxcost.reports.roofline import ROOFLINE_TIMES, counted_in, share_range
from fxcost.roofline.rate import Machine
from fxcost.roofline.sweep import SweepPoint


@dataclass(frozen=True)
class _Swept:
    """The model on a machine at one size."""

    machine: Machine
    point: SweepPoint


def sweep_report(
    model: CostModel, over: str, swept: Sequence[tuple[Machine, Sequence[SweepPoint]]], at: Mapping[str, int]
) -> Report[Any]:
    """Time, throughput and changes of bound along the sizes of a symbol, on each machine, for each size of others."""
    machines = list({machine.name: machine for machine, _ in swept}.values())
    beside = list(dict.fromkeys(name for _, points in swept for p in points for name in p.beside))
    others = {name: size for name, size in others_of(model, over, at).items() if name not in beside}
    overs = ", ".join((*beside, over))
    unit = counted_in(model)

    def beside_of(name: str) -> Column[_Swept]:
        return Column(name, name, lambda row: Cell(f"{row.point.beside[name]:,}", row.point.beside[name]))

    def changed(title: str, key: str, names: Callable[[SweepPoint], Sequence[str]], priority: int) -> Column[_Swept]:
        return Column(
            title, key, lambda row: _changed(names(row.point)), numeric=False, priority=priority, overflow="fold"
        )

    one = len(machines) == 1
    rows = tuple(_Swept(machine, point) for machine, points in swept for point in points)
    told = all(p.bound_seconds is not None for _, points in swept for p in points)
    columns: tuple[Column[_Swept], ...] = (
        Column("platform", "platform", lambda row: Cell(row.machine.name), numeric=False, hidden=one),
        *map(beside_of, beside),
        Column(over, over, lambda row: Cell(f"{row.point.size:,}", row.point.size)),
        Column("ms", "seconds", _time),
        Column("bound ms", "bound_seconds", _bound, priority=4, hidden=not told),
        Column(f"{unit}/s", f"{unit}_per_second", _throughput),
        Column("GB", "held_bytes", _held, hidden=not any(row.point.held for row in rows)),
        Column("fits", "fits", _fits, hidden=True),
        Column("% time compute-bound", "compute_time_share_percent", _compute_share, priority=3),
        changed("to compute-bound", "to_compute_bound", lambda point: point.to_compute, priority=2),
        changed("to memory-bound", "to_memory_bound", lambda point: point.to_memory, priority=1),
    )
    heading = (
        f"{model.ref} over {overs}" + (f" at {sizes_text(others)}" if others else ""),
        *(line for machine in machines for line in machine_lines(machine)),
    )
    notes = (ROOFLINE_TIMES,)
    if any(p.unknown for _, points in swept for p in points):
        notes += ("≥ and ≤: the bound of some layers is unknown; % is of the time of the others.",)
    if any(_is_too_much(row) for row in rows):
        notes += (f"{TOO_MUCH}: the machine has less memory than is held, so that nothing runs there.",)
    return Report(
        columns,
        rows,
        heading,
        (*notes, NO_BEST_BATCH) if BATCH_SIZE in (over, *beside) else notes,
        {"model": model.ref, "over": overs, "at": others},
    )


def _time(row: _Swept) -> Cell:
    seconds = float(row.point.seconds)
    return Cell(f"{'≥ ' if row.point.unknown else ''}{float(row.point.seconds * 1000):,.4g}", seconds)


def _throughput(row: _Swept) -> Cell:
    throughput = float(row.point.throughput)
    mark = f" {TOO_MUCH}" if _is_too_much(row) else ""
    return Cell(f"{'≤ ' if row.point.unknown else ''}{throughput:,.5g}{mark}", throughput)


def _is_too_much(row: _Swept) -> bool:
    return row.point.held is not None and not row.point.held.fits


def _held(row: _Swept) -> Cell:
    held = row.point.held
    return Cell("", "") if held is None else Cell(gigabytes(held.peak), held.peak)


def _fits(row: _Swept) -> Cell:
    held = row.point.held
    known = held is not None and held.capacity is not None
    return Cell("", "") if held is None or not known else Cell(str(held.fits), held.fits)


def _compute_share(row: _Swept) -> Cell:
    computing, known = row.point.compute_seconds, row.point.known_seconds
    told = share(computing, known)
    other = row.point.compute_share_of_other
    return Cell(
        told if other is None else share_range(computing / known if known else computing, other),
        percent(computing, known),
    )


def _bound(row: _Swept) -> Cell:
    seconds = row.point.bound_seconds
    return Cell("") if seconds is None else Cell(f"{float(seconds * 1000):,.4g}", float(seconds))


def _changed(names: Sequence[str]) -> Cell:
    shown = ", ".join(names[:LONGEST_LIST])
    more = ", …" if len(names) > LONGEST_LIST else ""
    return Cell(f"{len(names)}: {shown}{more}" if names else "", " ".join(names))
