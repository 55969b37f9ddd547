"""Machines as tables: all of them, or one with every figure and its source."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
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
from fxcost.reports.numbers import decimal, prefix_for
from fxcost.reports.tables import Cell, Column, Report
from fxcost.roofline.rate import Machine

SHOWN = ("fp32", "tf32", "fp16", "bf16", "fp8", "int8")


def platforms_report(platforms: Iterable[Platform]) -> Report:
    """One row for each machine: matrix peaks, bandwidth and ridge point."""
    columns = (
        Column("name", "name", numeric=False),
        Column("machine", "title", numeric=False),
        Column("year", "year"),
        *(Column(f"{p} TFLOP/s", f"{p}_flop_per_s") for p in SHOWN),
        Column("GB", "memory_bytes"),
        Column("GB/s", "bandwidth_byte_per_s"),
        Column("fp16 ridge FLOP/B", "fp16_ridge_flop_per_byte"),
    )
    notes = (
        "Dense peaks of the matrix unit (int8: TOP/s); ~ marks a doubtful figure. Sources: fxcost platforms NAME",
        "A machine of your own: a TOML file like these, named by its path; check it with fxcost platforms --lint FILE",
    )
    return Report(columns, tuple(map(_row, platforms)), notes=notes)


def _row(platform: Platform) -> tuple[Cell, ...]:
    memory = platform.memory
    peaks = [platform.peak("matrix", p) if p in platform.precisions else None for p in SHOWN]
    ridged = "fp16" in platform.precisions and memory is not None and memory.bandwidth is not None
    ridge = platform.ridge("matrix", "fp16") if ridged else None
    return (
        Cell(platform.name),
        Cell(platform.title),
        Cell(str(platform.year), platform.year),
        *(_figure(peak, 10**12) for peak in peaks),
        _figure(memory.capacity if memory else None, 10**9),
        _figure(memory.bandwidth if memory else None, 10**9),
        Cell(decimal(ridge), ridge if ridge is not None else ""),
    )


def _figure(figure: Figure | None, factor: int) -> Cell:
    if figure is None:
        return Cell("", "")
    return Cell(("~" if figure.doubtful else "") + _plain(figure.value / factor), float(figure.value))


def _plain(value: Decimal) -> str:
    return f"{value.quantize(Decimal('0.0001')).normalize():,f}"


def platform_report(platform: Platform) -> Report:
    """Every figure of one machine with its source and what is doubtful about it."""
    columns = (
        Column("figure", "figure", numeric=False),
        Column("value", "value"),
        Column("unit", "unit", numeric=False, hidden=True),
        Column("source", "source", numeric=False, folds=True),
        Column("remark", "remark", numeric=False, folds=True),
    )
    rows = tuple(
        (
            Cell(_key(key, figure), key),
            Cell(_with_unit(figure), float(figure.value)),
            Cell(_unit(figure)),
            Cell(figure.source),
            Cell(_remark(figure)),
        )
        for key, figure in platform.figures()
    )
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


def _key(key: str, figure: Figure) -> str:
    """The key of a figure in the file; of a link its name, of a measurement what was measured."""
    if isinstance(figure, Link):
        return f"interconnect: {figure.name}"
    if isinstance(figure, Measured):
        return f"measured: {figure.metric}"
    return key


def _has_bandwidth(platform: Platform) -> bool:
    return platform.memory is not None and platform.memory.bandwidth is not None


def _remark(figure: Figure) -> str:
    marks = ["doubtful"] if figure.doubtful else []
    marks += [f"{figure.basis.replace('_', ' ')}"] if figure.basis not in (None, "quoted") else []
    marks += [figure.direction] if isinstance(figure, Link) else []
    marks += [f"printed as {figure.printed}"] if figure.printed else []
    marks += [figure.note] if figure.note else []
    return "; ".join(marks)


TELLING = ("outcome", "bound", "to_compute_bound")
"""The columns of a crossover, a roofline and a sweep that say what a machine answers."""


def with_refused(report: Report, refused: Mapping[str, str]) -> Report:
    """The report with what each machine that answers nothing says instead, by its name: in a row, or in its column."""
    columns, rows = report.columns, report.rows
    for name, why in refused.items():
        if any(column.key == "platform" for column in columns):
            columns = tuple(replace(each, hidden=each.hidden and each.key != "platform") for each in columns)
            row = {"platform": name} | dict.fromkeys(TELLING, why)
            rows = (*rows, tuple(Cell(row.get(each.key, ""), row.get(each.key, "")) for each in columns))
        else:
            columns = (*columns, Column(name, name, numeric=False))
            rows = tuple((*row, Cell(why.partition(";")[0])) for row in rows)
    notes = (*report.notes, *(f"{name} {why}" for name, why in refused.items()))
    # A total beside machines that answer nothing would stand for all of them.
    return replace(report, columns=columns, rows=rows, notes=notes, total=None if refused else report.total)


def machine_lines(machine: Machine) -> tuple[str, ...]:
    """The numbers of a machine that a table rests on."""
    matrix, vector = (machine.peak(unit) for unit in ("matrix", "vector"))
    ridge = machine.ridge("matrix")
    line = (
        f"{machine.platform.name}  {machine.precision}: matrix {_rate(matrix)}FLOP/s, "
        f"vector {_rate(vector)}FLOP/s, memory {_rate(machine.bandwidth)}B/s, ridge point {decimal(ridge)} FLOP/B"
    )
    doubts = [f"{key} is doubtful ({figure.source})" for key, figure in _used(machine) if figure.doubtful]
    if machine.platform.multiplies_in_bfloat16(machine.precision):
        doubts.append(BFLOAT16_PRODUCTS)
    if vector is None:
        doubts.append(
            "its vector peak is not published: the bound of layers on the vector unit is unknown, their time that of their traffic"
        )
    return (line, *(f"         {doubt}" for doubt in doubts))


def _used(machine: Machine) -> list[tuple[str, Any]]:
    platform, precision = machine.platform, machine.precision
    used = [("matrix peak", platform.peak("matrix", precision)), ("vector peak", platform.peak("vector", precision))]
    return [(name, figure) for name, figure in [*used, ("bandwidth", platform.bandwidth)] if figure is not None]


def _rate(value: Fraction | None) -> str:
    if value is None:
        return "unpublished "
    factor, prefix = prefix_for(value)
    return f"{float(value / factor):,.4g} {prefix}"
