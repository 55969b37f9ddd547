"""Machines as tables: all of them, or one with every figure and its source."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

from fxcost.machines.sheets import BFLOAT16_PRODUCTS, NO_CROSSOVER, Platform
from fxcost.machines.units import (
    ByteRate,
    Bytes,
    CountFigure,
    Figure,
    Hertz,
    Link,
    Measured,
    OpRate,
    OtherRate,
    Peak,
    Watts,
)
from fxcost.reports.parts.numbers import decimal, prefix_for
from fxcost.reports.parts.tables import KEPT, Cell, Column, Report
from fxcost.roofline.rate import Machine
from fxcost.work import Unit

SHOWN = {"fp32": 6, "tf32": 3, "fp16": KEPT, "bf16": 8, "fp8": 4, "int8": 5}
"""Precisions of the table of all machines, and the priorities of their columns."""


def platforms_report(platforms: Iterable[Platform]) -> Report[Any]:
    """One row for each machine: matrix peaks, bandwidth and ridge point."""

    def peak_of(precision: str, priority: int) -> Column[Platform]:
        def peak(platform: Platform) -> Cell:
            has_peak = precision in platform.precisions
            return _figure(platform.peak("matrix", precision) if has_peak else None, 10**12)

        return Column(f"{precision} TFLOP/s", f"{precision}_flop_per_s", peak, priority=priority)

    columns: tuple[Column[Platform], ...] = (
        Column("name", "name", lambda each: Cell(each.name), numeric=False),
        Column("machine", "title", lambda each: Cell(each.title), numeric=False, priority=1),
        Column("year", "year", lambda each: Cell(str(each.year), each.year), priority=2),
        *(peak_of(precision, priority) for precision, priority in SHOWN.items()),
        Column("GB", "memory_bytes", lambda each: _figure(each.memory and each.memory.capacity, 10**9), priority=7),
        Column("GB/s", "bandwidth_byte_per_s", lambda each: _figure(each.memory and each.memory.bandwidth, 10**9)),
        Column("fp16 ridge FLOP/B", "fp16_ridge_flop_per_byte", _ridge),
    )
    notes = (
        "Dense peaks of the matrix unit (int8: TOP/s); ~ marks a doubtful figure. Sources: fxcost platforms NAME",
        "A machine of your own: a TOML file like these, named by its path; check it with fxcost platforms --lint FILE",
    )
    return Report(columns, tuple(platforms), notes=notes)


def _ridge(platform: Platform) -> Cell:
    ridged = "fp16" in platform.precisions and _has_bandwidth(platform)
    ridge = platform.ridge("matrix", "fp16") if ridged else None
    return Cell(decimal(ridge), ridge if ridge is not None else "")


def _figure(figure: Figure | None, factor: int) -> Cell:
    if figure is None:
        return Cell("", "")
    return Cell(("~" if figure.doubtful else "") + _plain(figure.value / factor), float(figure.value))


def _plain(value: Decimal) -> str:
    return f"{value.quantize(Decimal('0.0001')).normalize():,f}"


def platform_report(platform: Platform) -> Report[Any]:
    """Every figure of one machine with its source and what is doubtful about it."""
    columns: tuple[Column[_Named], ...] = (
        Column("figure", "figure", lambda each: Cell(_key(each), each.key), numeric=False),
        Column("value", "value", lambda each: Cell(_with_unit(each.figure), float(each.figure.value))),
        Column("unit", "unit", lambda each: Cell(_unit(each.figure)), numeric=False, hidden=True),
        Column("source", "source", lambda each: Cell(each.figure.source), numeric=False, overflow="fold"),
        Column("remark", "remark", lambda each: Cell(_remark(each.figure)), numeric=False, priority=1, overflow="fold"),
    )
    rows = tuple(_Named(key, figure) for key, figure in platform.figures())
    ridges = (
        [f"{p} {decimal(platform.ridge('matrix', p))}" for p in platform.precisions] if _has_bandwidth(platform) else []
    )
    notes = (
        (f"ridge points in FLOP/B, matrix unit: {', '.join(ridges)}",)
        if ridges
        else (f"no memory bandwidth is published{NO_CROSSOVER}",)
    )
    notes += (BFLOAT16_PRODUCTS,) if platform.multiplies_in_bfloat16("fp32") else ()
    heading = (f"{platform.name}: {platform.title} ({platform.arch or platform.kind}, {platform.year})",)
    return Report(
        columns, rows, heading, (*notes, *platform.notes, *(f"sources disagree: {c}" for c in platform.conflicts))
    )


MEASURED_UNITS = {
    "flop_per_s": "FLOP/s",
    "op_per_s": "OP/s",
    "byte_per_s": "B/s",
    "byte_per_clock": "B/clock",
    "watts": "W",
}
UNITS = ((OpRate, "OP/s"), (Peak, "FLOP/s"), (ByteRate, "B/s"), (Bytes, "B"), (Hertz, "Hz"), (Watts, "W"))


def _unit(figure: Figure) -> str:
    if isinstance(figure, CountFigure):
        return figure.unit
    if isinstance(figure, (Measured, OtherRate)):
        return MEASURED_UNITS[figure.unit]
    return next((unit for kind, unit in UNITS if isinstance(figure, kind)), "")


def _with_unit(figure: Figure) -> str:
    factor, prefix = prefix_for(Fraction(figure.value))
    return f"{_plain(figure.value / factor)} {prefix}{_unit(figure)}"


@dataclass(frozen=True)
class _Named:
    """A figure by its key in the file."""

    key: str
    figure: Figure


def _key(named: _Named) -> str:
    """The key; of a link its name, of a measurement what was measured."""
    if isinstance(named.figure, Link):
        return f"interconnect: {named.figure.name}"
    if isinstance(named.figure, Measured):
        return f"measured: {named.figure.metric}"
    return named.key


def _has_bandwidth(platform: Platform) -> bool:
    return platform.memory is not None and platform.memory.bandwidth is not None


def _remark(figure: Figure) -> str:
    marks = ["doubtful"] if figure.doubtful else []
    marks += [f"{figure.basis.replace('_', ' ')}"] if figure.basis not in (None, "quoted") else []
    marks += [figure.direction] if isinstance(figure, Link) else []
    marks += [f"printed as {figure.printed}"] if figure.printed else []
    marks += [figure.note] if figure.note else []
    return "; ".join(marks)


TELLING = ("outcome", "bound", "to_compute_bound", "binds")
"""The columns of a crossover, a roofline, a sweep and of what fits that say what a machine answers."""


@dataclass(frozen=True)
class _Refused:
    """A machine that answers nothing."""

    platform: str
    why: str


def with_refused(report: Report[Any], refused: Mapping[str, str]) -> Report[Any]:
    """The report with what each machine that answers nothing says instead, by its name: in a row, or in its column."""
    if not refused:
        return report
    columns, rows = report.columns, report.rows
    if any(column.key == "platform" for column in columns):
        columns = tuple(map(_or_refused, columns))
        rows += tuple(_Refused(name, why) for name, why in refused.items())
    else:
        columns += tuple(_refused_column(name, why) for name, why in refused.items())
    notes = (*report.notes, *(f"{name} {why}" for name, why in refused.items()))
    # A total beside machines that answer nothing would stand for all of them.
    return replace(report, columns=columns, rows=rows, notes=notes, total=None)


def _or_refused(column: Column[Any]) -> Column[Any]:
    def cell(row: Any) -> Cell:
        if not isinstance(row, _Refused):
            return column.cell(row)
        text = row.platform if column.key == "platform" else row.why if column.key in TELLING else ""
        return Cell(text, text)

    return replace(column, cell=cell, hidden=column.hidden and column.key != "platform")


def _refused_column(name: str, why: str) -> Column[Any]:
    return Column(name, name, lambda _: Cell(why.partition(";")[0]), numeric=False, priority=8)


def machine_lines(machine: Machine) -> tuple[str, ...]:
    """The numbers of a machine that a table rests on."""
    matrix, vector = (machine.peak(unit) for unit in ("matrix", "vector"))
    ridge = machine.ridge("matrix")
    within = f" in {machine.precision}" if machine.scheme else ""
    line = (
        f"{machine.platform.name}  {machine.stored_in}: matrix {_rate(matrix)}FLOP/s{within}, "
        f"vector {_rate(vector)}FLOP/s, memory {_rate(machine.bandwidth)}B/s, ridge point {decimal(ridge)} FLOP/B"
    )
    others = {each.precision: each for each in machine.beside if each.precision != machine.precision}
    told = [
        f"in {name} {_rate(each.peak('matrix'))}FLOP/s, ridge point {decimal(each.ridge('matrix'))} FLOP/B"
        for name, each in others.items()
    ]
    doubts = [f"{key} is doubtful ({figure.source})" for key, figure in _used(machine) if figure.doubtful]
    if machine.platform.multiplies_in_bfloat16(machine.precision):
        doubts.append(BFLOAT16_PRODUCTS)
    if vector is None:
        doubts.append(
            "its vector peak is not published: the bound of layers on the vector unit is unknown, their time that of their traffic"
        )
    return (line, *(f"         {each}" for each in (*told, *doubts)))


def _used(machine: Machine) -> list[tuple[str, Any]]:
    platform = machine.platform
    used = [(f"{unit} peak", platform.peak(unit, machine.precision_of(unit))) for unit in UNITS_OF_WORK]
    return [(name, figure) for name, figure in [*used, ("bandwidth", platform.bandwidth)] if figure is not None]


UNITS_OF_WORK: tuple[Unit, ...] = ("matrix", "vector")


def _rate(value: Fraction | None) -> str:
    if value is None:
        return "unpublished "
    factor, prefix = prefix_for(value)
    return f"{float(value / factor):,.4g} {prefix}"
