"""What changed between two models: layers, totals, and where the formulas hold."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any

from fxcost.costs.files.frame import quantity_text
from fxcost.costs.model import CostModel, LayerCost
from fxcost.drift.diff import MEASURES, Difference, Measures, Pair, amounts
from fxcost.formulas.algebra import Constant, Formula, Sum, split_coefficient
from fxcost.formulas.expressions import to_pretty
from fxcost.formulas.quantities import Quantity, number
from fxcost.reports.costs import times_text
from fxcost.reports.parts.change_lines import TITLES, measure, percent, summary
from fxcost.reports.parts.numbers import formula, merged_name, prefix_for, scaled, sizes_text
from fxcost.reports.parts.tables import KEPT, Cell, Column, Report


@dataclass(frozen=True)
class _Row:
    """Layers that changed alike, or the total: formulas of one of them, values of all together."""

    model: str
    name: str
    was: str
    type: str
    change: str
    count: int
    told: str
    formulas: tuple[Measures | None, Measures | None]
    values: tuple[Measures | None, Measures | None]
    least: tuple[str, str]
    """``≥`` where operators without a rule are missing from the values."""


def differences_report(title: str, differences: Mapping[str, Difference], more: Sequence[str] = ()) -> Report[Any]:
    """The layers that changed in each of the models, by their titles, with a line of totals; ``more`` lines follow."""
    rows = [row for name, each in differences.items() if _is_told(each) for row in _rows(name, each)]
    many = len(differences) > 1
    heading = [line for name, each in differences.items() for line in summary(name, each)]
    return Report(
        _columns(rows, differences, many=many),
        tuple(rows),
        tuple(heading),
        tuple(more),
        {"models": {name: _facts(each) for name, each in differences.items()}},
        title,
        folded=len(rows) > LONGEST_UNFOLDED,
    )


LONGEST_UNFOLDED = 24
"""Rows of a table that Markdown shows without being asked."""


def _is_told(difference: Difference) -> bool:
    return bool(difference.changes or difference.moves())


# Rows


def _rows(name: str, difference: Difference) -> list[_Row]:
    groups: dict[Any, list[Pair]] = {}
    for pair in difference.changes:
        groups.setdefault(_alike(difference, pair), []).append(pair)
    return [*(_row(name, difference, group) for group in groups.values()), _total(name, difference)]


def _alike(difference: Difference, pair: Pair) -> tuple[Any, ...]:
    """Equal for layers whose change is told in the same words."""
    sides = [(each.op, each.module_type) if each else None for each in (pair.old, pair.new)]
    formulas = (_amounts(difference.old, pair.old), _amounts(difference.new, pair.new))
    return (
        pair.kind,
        *sides,
        *formulas,
        _told(pair, formulas),
        _is_renamed(pair),
    )


def _is_renamed(pair: Pair) -> bool:
    return pair.old is not None and pair.new is not None and pair.old.name != pair.new.name


def _row(model: str, difference: Difference, group: list[Pair]) -> _Row:
    pair = group[0]
    shown = pair.new or pair.old
    formulas = (_amounts(difference.old, pair.old), _amounts(difference.new, pair.new))
    return _Row(
        model,
        merged_name([layer.name for each in group if (layer := each.new or each.old)]),
        merged_name([each.old.name for each in group if each.old]) if _is_renamed(pair) else "",
        shown.kind if shown else "",
        pair.kind,
        len(group),
        _told(pair, formulas),
        formulas,
        (
            _values(difference, difference.old, pair.old, len(group)),
            _values(difference, difference.new, pair.new, len(group)),
        ),
        (_least(pair.old), _least(pair.new)),
    )


def _least(part: CostModel | LayerCost | None) -> str:
    unknown = part.unknown if isinstance(part, CostModel) else part is not None and part.coverage == "unknown"
    return "≥ " if unknown else ""


def _total(model: str, difference: Difference) -> _Row:
    sides = (difference.old, difference.new)
    values = [difference.here(each, each.total) for each in sides]
    old, new = (amounts(each, each.total) for each in sides)
    return _Row(
        model, "total", "", "", "total", 1, "", (old, new), (values[0], values[1]), (_least(sides[0]), _least(sides[1]))
    )


def _amounts(model: CostModel, layer: LayerCost | None) -> Measures | None:
    return None if layer is None else amounts(model, layer.cost)


def _values(difference: Difference, model: CostModel, layer: LayerCost | None, count: int) -> Measures | None:
    if layer is None:
        return None
    return Measures(*(number(value) * count for value in difference.here(model, layer.cost)))


def _told(pair: Pair, formulas: tuple[Measures | None, Measures | None]) -> str:
    """The first of the measures that changed, before and after."""
    old, new = formulas
    if old is None or new is None or pair.old is None or pair.new is None:
        layer = pair.new or pair.old
        return _flops(layer) if layer else ""
    if old.flops != new.flops:
        return f"{_flops(pair.old)} → {_flops(pair.new)}"
    name = next((m for m in ("params", "bytes") if measure(old, m) != measure(new, m)), "")
    if not name:
        return (
            f"{pair.old.op} → {pair.new.op}"
            if pair.old.op != pair.new.op
            else f"{pair.old.coverage} → {pair.new.coverage}"
        )
    return f"{TITLES[name]} {formula(measure(old, name))} → {formula(measure(new, name))}"


def _flops(layer: LayerCost) -> str:
    """FLOPs with the sizes of the layer's weight set apart: ``2·B·S·11008·4096``."""
    if layer.coverage == "unknown":
        return "unknown"
    coefficient, rest = split_coefficient(layer.flops)
    weights = [tuple(map(int, dims)) for dims in layer.inputs if len(dims) > 1 and all(_is_number(d) for d in dims)]
    inside = [dims for dims in weights if prod(dims) > 1 and not coefficient.numerator % prod(dims)]
    if coefficient.denominator != 1 or rest == 1 or isinstance(rest, Sum) or not inside:
        return to_pretty(layer.flops)
    dims = max(inside, key=prod)
    factor = coefficient.numerator // prod(dims)
    parts = [*([str(factor)] if factor != 1 else []), to_pretty(rest), *(str(size) for size in dims if size > 1)]
    return "·".join(parts)


def _is_number(size: Quantity) -> bool:
    return not isinstance(size, Formula) or isinstance(size, Constant)


# Cells


def _units(rows: Iterable[_Row]) -> dict[str, tuple[int, str]]:
    """For each measure the SI factor that suits its largest value; parameters are counted one by one."""
    rows = list(rows)
    units = {"params": (1, "")}
    for name in ("flops", "bytes"):
        values = [number(measure(side, name)) for row in rows for side in row.values if side is not None]
        units[name] = prefix_for(max(map(abs, values), default=Fraction(0)))
    return {**units, "macs": units["flops"]}


def _columns(rows: list[_Row], differences: Mapping[str, Difference], *, many: bool) -> tuple[Column[_Row], ...]:
    units = _units(rows)
    points = {sizes_text(each.points[0]) for each in differences.values()}
    at = f" at {points.pop()}" if len(points) == 1 else ""
    titles = {"flops": f"{units['flops'][1]}FLOPs{at}", "macs": f"{units['macs'][1]}MACs", "params": "params"}
    titles["bytes"] = f"{units['bytes'][1]}B moved"

    def change_of(name: str, priority: int) -> Column[_Row]:
        return Column(
            titles[name], f"{name}_change_percent", lambda row: _change(row, name, units[name][0]), priority=priority
        )

    def formula_of(name: str, side: int) -> Column[_Row]:
        def formula(row: _Row) -> Cell:
            measures = row.formulas[side]
            return Cell("", quantity_text(measure(measures, name)) if measures else "")

        return Column("", f"{name}_{SIDES[side]}", formula, hidden=True)

    def value_of(name: str, side: int) -> Column[_Row]:
        def value(row: _Row) -> Cell:
            measures = row.values[side]
            return Cell("", number(measure(measures, name)) if measures else 0)

        return Column("", f"{name}_at_{SIDES[side]}", value, hidden=True)

    priorities = {"flops": KEPT, "macs": 3, "params": 4, "bytes": 5}
    return (
        Column("model", "model", lambda row: Cell(row.model), numeric=False, hidden=not many),
        Column("layer", "layer", lambda row: Cell(row.name), numeric=False, overflow="spill"),
        Column(
            "was", "was", lambda row: Cell(row.was), numeric=False, priority=2, hidden=not any(row.was for row in rows)
        ),
        Column("type", "type", lambda row: Cell(row.type), numeric=False, priority=1),
        Column("×N", "count", lambda row: Cell(times_text(row.count), row.count)),
        Column(
            "change", "change", lambda row: Cell("" if row.change == "total" else row.change, row.change), numeric=False
        ),
        Column("formula of each", "told", lambda row: Cell(row.told), numeric=False, priority=0, overflow="ellipsis"),
        *(change_of(name, priorities[name]) for name in MEASURES),
        *(formula_of(name, side) for name in MEASURES for side in (0, 1)),
        *(value_of(name, side) for name in MEASURES for side in (0, 1)),
    )


SIDES = ("old", "new")


def _change(row: _Row, name: str, factor: int) -> Cell:
    old, new = (number(measure(side, name)) if side else Fraction(0) for side in row.values)
    least = ("", "") if name == "params" else row.least
    shown = [mark + (scaled(value, factor) or "0") for mark, value in zip(least, (old, new), strict=True)]
    if old == new:
        return Cell(shown[1] if row.change == "total" else "", 0)
    share = (new - old) / old if old else None
    text = {"added": f"+{shown[1]}", "removed": f"−{shown[0]}"}.get(row.change)
    text = text or f"{shown[0]} → {shown[1]}" + ("" if any(least) else f" ({percent(share)})")
    return Cell(text, "" if share is None else float(100 * share))


def _facts(difference: Difference) -> dict[str, Any]:
    moved = {
        move.measure: {"at": dict(move.point), "old": float(move.old), "new": float(move.new)}
        for move in difference.moves()
    }
    return {"at": dict(difference.points[0]), "sizes_compared": len(difference.points), "moved_most": moved}
