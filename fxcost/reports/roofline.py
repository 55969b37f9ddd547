"""Each layer on a machine at one point: intensity, bound and time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from fxcost.costs.fusion.models import fused
from fxcost.costs.model import CostModel
from fxcost.inputs import BATCH_SIZE
from fxcost.reports.costs import Alike, alike, percent, times_text
from fxcost.reports.memory import TOO_MUCH, gigabytes
from fxcost.reports.parts.numbers import decimal, merged_name, scaled, share, sizes_text
from fxcost.reports.parts.tables import Cell, Column, Report, frame, records
from fxcost.reports.platforms import machine_lines
from fxcost.request import Cache, Fusion
from fxcost.roofline.bound import seconds_by_fusion
from fxcost.roofline.caches import weights_stay_up_to
from fxcost.roofline.held import HeldBytes, Holder
from fxcost.roofline.points import LayerPoint, layer_points
from fxcost.roofline.rate import Machine
from fxcost.roofline.sweep import OTHER, compute_share

STYLES = {"compute": "blue", "memory": "dark_orange"}
"""Blue and orange stay apart for every kind of colour vision; the word says the same."""


@dataclass(frozen=True)
class _LayerRow:
    """Layers that repeat on a machine, or all of its layers."""

    machine: Machine
    name: str
    points: Sequence[LayerPoint]
    whole: Fraction
    """The time of all that runs on the machine."""
    at_most: str
    """``≤`` where a share of that time is at most so large."""
    is_total: bool = False

    @property
    def first(self) -> LayerPoint | None:
        """A layer that stands for the others; none stands for all."""
        return None if self.is_total else self.points[0]

    @property
    def seconds(self) -> Fraction:
        return _seconds(self.points)

    @property
    def is_uncounted(self) -> bool:
        return any(p.layer.coverage == "unknown" for p in self.points)

    def summed(self, values: Iterable[Fraction]) -> Cell:
        """Millions, as a lower bound where an operator has no rule."""
        value = sum(values, Fraction(0))
        shown = scaled(value, 10**6)
        return Cell(f"≥ {shown or 0}" if self.is_uncounted else shown, value)


def roofline_report(
    model: CostModel,
    machines: Sequence[Machine],
    at: Mapping[str, int] | None,
    *,
    wide: bool,
    top: int | None = None,
    fusion: Fusion = "none",
    cache: Cache = "ignore",
) -> Report[Any]:
    """Each kernel's intensity, bound and time at one point; rows of kernels that repeat are merged when ``wide``."""
    edged = model
    model = fused(model, fusion)
    point = model.point(at)
    whole = model.with_fixed(point)
    rows: list[_LayerRow] = []
    notes: list[str] = []
    total: _LayerRow | None = None
    for machine in machines:
        points = layer_points(fused(machine.stored(edged), fusion), machine, at, cache)
        groups = _grouped_points(points) if wide else [[p] for p in points]
        if top is not None:
            groups = sorted(groups, key=_seconds, reverse=True)[:top]
        whole_time, at_most = _seconds(points), "≤ " * _doubt(points)
        rows += [
            _LayerRow(machine, merged_name([p.layer.name for p in group]), group, whole_time, at_most)
            for group in groups
        ]
        total = _LayerRow(machine, "total", points, whole_time, "", is_total=True)
        held = Holder(machine, fusion)(edged, point)
        mark = f" {TOO_MUCH}" if held is not None and not held.fits else ""
        notes.append(_point_summary(machine, points, edged, point, OTHER.get(fusion), cache, mark))
        if held is not None:
            notes.append(_held_line(machine, held))
        if cache == "ideal":
            notes.append(_cache_line(machine, points, model, point))
        if edged.graph is not None:
            notes.append(_fusions_line(machine, seconds_by_fusion(edged, machine, at)))
    heading = (f"{model.ref} at {sizes_text(whole)}", *(line for m in machines for line in machine_lines(m)))
    many = len(machines) > 1
    return Report(
        _columns(many=many),
        tuple(rows),
        heading,
        tuple(notes),
        {"model": model.ref, "at": whole},
        # Of several machines the notes have a line for each.
        total=None if many else total,
    )


def _columns(*, many: bool) -> tuple[Column[_LayerRow], ...]:
    return (
        Column("platform", "platform", lambda row: Cell(row.machine.name), numeric=False, hidden=not many),
        Column("layer", "layer", lambda row: Cell(row.name), numeric=False, overflow="spill"),
        Column("type", "type", lambda row: Cell(row.first.layer.kind if row.first else ""), numeric=False, priority=1),
        Column("×N", "count", lambda row: Cell(times_text(len(row.points)) * (not row.is_total), len(row.points))),
        Column("unit", "unit", lambda row: Cell(row.first.unit if row.first else ""), numeric=False, priority=2),
        Column("MFLOPs", "flops", lambda row: row.summed(p.flops for p in row.points), priority=4),
        Column("MB moved", "bytes_moved", lambda row: row.summed(p.bytes_moved for p in row.points), priority=5),
        Column("intensity FLOP/B", "intensity_flop_per_byte", _intensity, priority=7),
        Column("ridge FLOP/B", "ridge_flop_per_byte", _ridge, priority=3),
        Column("bound", "bound", _bound, numeric=False, overflow="fold"),
        Column("µs", "seconds", _time),
        Column("% time", "time_share_percent", _share, priority=6),
    )


def _intensity(row: _LayerRow) -> Cell:
    if row.first is None:
        return Cell("")
    intensity = None if row.is_uncounted else row.first.intensity
    return Cell(decimal(intensity, 2), intensity)


def _ridge(row: _LayerRow) -> Cell:
    if row.first is None:
        return Cell("")
    ridge = row.machine.computing(row.first.layer).ridge(row.first.unit)
    return Cell(decimal(ridge), ridge)


def _bound(row: _LayerRow) -> Cell:
    return Cell(row.first.bound, style=STYLES.get(row.first.bound, "")) if row.first else Cell("")


def _time(row: _LayerRow) -> Cell:
    return Cell(f"{'≥ ' * _doubt(row.points)}{float(row.seconds * 10**6):,.3f}", float(row.seconds))


def _share(row: _LayerRow) -> Cell:
    if _doubt(row.points) and not row.is_total:
        return Cell("–")
    return Cell(row.at_most + share(row.seconds, row.whole), percent(row.seconds, row.whole))


def _seconds(points: Iterable[LayerPoint]) -> Fraction:
    return sum((p.seconds for p in points), Fraction(0))


def _doubt(points: Iterable[LayerPoint]) -> bool:
    """Whether the bound of some layers is unknown."""
    return any(p.bound == "unknown" for p in points)


def roofline_frame(model: CostModel, machine: Machine, at: Mapping[str, int] | None, fusion: Fusion = "none") -> Any:
    """A pandas DataFrame of each layer's row at one point, without the total."""
    return frame(records(roofline_report(model, [machine], at, wide=False, fusion=fusion))[:-1])


def _grouped_points(points: Iterable[LayerPoint]) -> list[list[LayerPoint]]:
    groups: dict[Alike, list[LayerPoint]] = {}
    for point in points:
        groups.setdefault(alike(point.layer), []).append(point)
    return list(groups.values())


def _cache_line(machine: Machine, points: Sequence[LayerPoint], model: CostModel, point: Mapping[str, int]) -> str:
    """How much reaches memory, and up to which batch the weights stay."""
    moved = sum((p.bytes_moved for p in points), Fraction(0))
    whole = sum((p.bytes_moved for p in layer_points(model, machine, point)), Fraction(0))
    told = f"{machine.name}: {scaled(moved, 10**6) or 0} of {scaled(whole, 10**6)} MB reach memory beside a cache of {scaled(Fraction(machine.platform.on_chip), 10**6)} MB"
    if BATCH_SIZE not in model.symbols:
        return f"{told}."
    others = {name: size for name, size in point.items() if name != BATCH_SIZE}
    last = weights_stay_up_to(model, machine, BATCH_SIZE, others)
    return f"{told}; weights stay in it " + (f"up to {BATCH_SIZE} = {last:,}." if last else f"at no {BATCH_SIZE}.")


ROOFLINE_TIMES = "Roofline times: kernels one after the other at datasheet peaks, neither a bound nor an estimate."


def _fusions_line(machine: Machine, seconds: Mapping[Any, Fraction]) -> str:
    """``none 0.710 ms · pointwise 0.487 · …``."""
    milliseconds = {name: float(value * 1000) for name, value in seconds.items()}
    told = [f"{name} {ms:,.0f}" if ms >= 1000 else f"{name} {ms:.3g}" for name, ms in milliseconds.items()]
    return f"{machine.name}: {told[0]} ms · {' · '.join(told[1:])}; only the bound is never beaten."


def share_range(*shares: Fraction) -> str:
    """``22-46``, in percent."""
    told = [share(each, Fraction(1)) or "0" for each in sorted(shares)]
    return "-".join(dict.fromkeys(told))


def _point_summary(
    machine: Machine,
    points: Sequence[LayerPoint],
    model: CostModel,
    point: Mapping[str, int],
    other: Fusion | None,
    cache: Cache,
    mark: str,
) -> str:
    seconds, doubt = _seconds(points), _doubt(points)
    shares = [compute_share(points)]
    if other:
        shares.append(compute_share(layer_points(fused(machine.stored(model), other), machine, point, cache)))
    rate = model.batch(point) / seconds
    least, at_most, only = ("≥ ", "≤ ", " (of layers whose bound is known)") if doubt else ("", "", "")
    return (
        f"{machine.name}: {least}{float(seconds * 1000):,.4g} ms, {at_most}{float(rate):,.5g} {counted_in(model)}/s{mark}, "
        f"{share_range(*shares)} % of the time compute-bound{' (pointwise to epilogue)' if other else ''}{only}. {ROOFLINE_TIMES}"
    )


def _held_line(machine: Machine, held: HeldBytes) -> str:
    """What a call holds, and whether that fits."""
    told = f"{machine.name}: {gigabytes(held.peak)} GB held"
    if held.capacity is None:
        return f"{told}; how much memory it has is not published."
    return f"{told} of {gigabytes(held.capacity)}" + (
        "." if held.fits else f": {TOO_MUCH} it does not fit, so that it does not run there."
    )


def counted_in(model: CostModel) -> str:
    """What a call yields one of for each of its batch; calls themselves where the inputs have no batch size."""
    if not model.has_batch:
        return "calls"
    return "samples" if model.state is None else "tokens"
