"""Each layer on a machine at one point: intensity, bound and time."""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from fxcost.costs.model import CostModel
from fxcost.reports.costs import Alike, alike, percent
from fxcost.reports.numbers import decimal, merged_name, scaled, share, sizes_text
from fxcost.reports.platforms import machine_lines
from fxcost.reports.tables import Cell, Column, Report
from fxcost.roofline.points import LayerPoint, layer_points
from fxcost.roofline.rate import Machine

STYLES = {"compute": "blue", "memory": "dark_orange"}
"""Blue and orange stay apart for every kind of colour vision; the word says the same."""


def roofline_report(
    model: CostModel, machines: Sequence[Machine], at: Mapping[str, int] | None, *, wide: bool, top: int | None = None
) -> Report:
    """Each layer's intensity, bound and time at one point; rows of layers that repeat are merged when ``wide``."""
    point = model.point(at)
    whole = model.with_fixed(point)
    rows: list[tuple[Cell, ...]] = []
    notes: list[str] = []
    points: Sequence[LayerPoint] = ()
    seconds = Fraction(0)
    for machine in machines:
        points = layer_points(model, machine, at)
        seconds = sum((p.seconds for p in points), Fraction(0))
        groups = _grouped_points(points) if wide else [[p] for p in points]
        if top is not None:
            groups = sorted(groups, key=lambda g: sum((p.seconds for p in g), Fraction(0)), reverse=True)[:top]
        doubt = any(p.bound == "unknown" for p in points)
        rows += [_point_row(machine, group, seconds, doubt=doubt) for group in groups]
        notes.append(_point_summary(machine, points, seconds, model, point))
    columns = (
        Column("platform", "platform", numeric=False, hidden=len(machines) == 1),
        Column("layer", "layer", numeric=False),
        Column("type", "type", numeric=False),
        Column("×N", "count"),
        Column("unit", "unit", numeric=False),
        Column("MFLOPs", "flops"),
        Column("MB moved", "bytes_moved"),
        Column("intensity FLOP/B", "intensity_flop_per_byte"),
        Column("ridge FLOP/B", "ridge_flop_per_byte"),
        Column("bound", "bound", numeric=False),
        Column("µs", "seconds"),
        Column("% time", "time_share_percent"),
    )
    heading = (f"{model.ref} at {sizes_text(whole)}", *(line for m in machines for line in machine_lines(m)))
    # Of several machines the notes have a line for each.
    last = _total_row(machines[0], points, seconds) if len(machines) == 1 else None
    return Report(columns, tuple(rows), heading, tuple(notes), {"model": model.ref, "at": whole}, total=last)


def _grouped_points(points: Iterable[LayerPoint]) -> list[list[LayerPoint]]:
    groups: dict[Alike, list[LayerPoint]] = {}
    for point in points:
        groups.setdefault(alike(point.layer), []).append(point)
    return list(groups.values())


def _point_row(machine: Machine, group: list[LayerPoint], whole: Fraction, *, doubt: bool) -> tuple[Cell, ...]:
    first, count = group[0], len(group)
    seconds = first.seconds * count
    uncounted = first.layer.coverage == "unknown"
    least = "≥ " if first.bound == "unknown" else ""
    taken = share(seconds, whole)
    return (
        Cell(machine.platform.name),
        Cell(merged_name([p.layer.name for p in group])),
        Cell(first.layer.kind),
        Cell(f"×{count}" if count > 1 else "", count),
        Cell(first.unit),
        Cell(_at_least(first.flops * count, uncounted), first.flops * count),
        Cell(_at_least(first.bytes_moved * count, uncounted), first.bytes_moved * count),
        Cell(decimal(None if uncounted else first.intensity, 2), None if uncounted else first.intensity),
        Cell(decimal(machine.ridge(first.unit)), machine.ridge(first.unit)),
        Cell(first.bound, style=STYLES.get(first.bound, "")),
        Cell(f"{least}{float(seconds * 10**6):,.3f}", float(seconds)),
        Cell(
            "–" if first.bound == "unknown" else f"≤ {taken}" if doubt else taken,
            None if first.bound == "unknown" else percent(seconds, whole),
        ),
    )


def _total_row(machine: Machine, points: Sequence[LayerPoint], seconds: Fraction) -> tuple[Cell, ...]:
    """What all operations come to."""
    flops, moved = sum((p.flops for p in points), Fraction(0)), sum((p.bytes_moved for p in points), Fraction(0))
    uncounted = any(p.layer.coverage == "unknown" for p in points)
    least = "≥ " if any(p.bound == "unknown" for p in points) else ""
    return (
        Cell(machine.platform.name),
        Cell("total"),
        Cell(""),
        Cell("", len(points)),
        Cell(""),
        Cell(_at_least(flops, uncounted), flops),
        Cell(_at_least(moved, uncounted), moved),
        *(Cell(""), Cell(""), Cell("")),
        Cell(f"{least}{float(seconds * 10**6):,.3f}", float(seconds)),
        Cell("100.0", 100.0),
    )


def _at_least(value: Fraction, uncounted: bool) -> str:
    """Millions, as a lower bound where an operator has no rule."""
    shown = scaled(value, 10**6)
    return f"≥ {shown or 0}" if uncounted else shown


def _point_summary(
    machine: Machine, points: Sequence[LayerPoint], seconds: Fraction, model: CostModel, point: Mapping[str, int]
) -> str:
    computing = sum((p.seconds for p in points if p.bound == "compute"), Fraction(0))
    known = sum((p.seconds for p in points if p.bound != "unknown"), Fraction(0))
    doubt = any(p.bound == "unknown" for p in points)
    rate = model.batch(point) / seconds
    least, at_most, only = ("≥ ", "≤ ", " (of layers whose bound is known)") if doubt else ("", "", "")
    return (
        f"{machine.platform.name}: {least}{float(seconds * 1000):,.4g} ms, {at_most}{float(rate):,.5g} {counted_in(model)}/s, "
        f"{share(computing, known) or 0} % of the time compute-bound{only}; layers run one after the other at peak rates, so real time is longer."
    )


def counted_in(model: CostModel) -> str:
    """What a call yields one of for each of its batch; calls themselves where the inputs have no batch size."""
    if not model.has_batch:
        return "calls"
    return "samples" if model.state is None else "tokens"
