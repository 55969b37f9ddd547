"""Counters side by side: each total, its gap to ours, and the reasons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fxcost.reports.parts.numbers import prefix_for, scaled, sizes_text
from fxcost.reports.parts.tables import Cell, Column, Report
from fxcost.verify.comparison import Agreement, Comparison


@dataclass(frozen=True)
class _GapRow:
    """A counter and its gap, or one of the reasons of that."""

    counter: str
    because: str
    unit: str = ""
    total: int | None = None
    ours: int | None = None
    gap: int | None = None
    is_reason: bool = False


def verify_report(comparison: Comparison) -> Report[Any]:
    """A row for each counter with its gap, and one for each reason; amounts at the first of the sizes."""
    largest = max((abs(t) for v in comparison.verdicts for t in (*v.totals[:1], *v.ours[:1])), default=0)
    factor, prefix = prefix_for(largest)
    points = [comparison.costs.with_fixed(point) for point in comparison.sizes]
    sizes = "; ".join(map(sizes_text, comparison.sizes))
    return Report(
        _columns(factor, prefix, "≥ " if comparison.costs.unknown else ""),
        tuple(row for verdict in comparison.verdicts for row in _rows(verdict, comparison.sizes)),
        (
            f"{comparison.costs.ref} at {sizes_text(points[0])}",
            f"compared at {sizes}; drawn with seed {comparison.seed}",
        ),
        tuple(_notes(comparison)),
        {
            "model": comparison.costs.ref,
            "seed": comparison.seed,
            "sizes": points,
            "counters": [_facts(verdict) for verdict in comparison.verdicts],
            "not_installed": list(comparison.missing),
        },
    )


def _columns(factor: int, prefix: str, least: str) -> tuple[Column[_GapRow], ...]:
    def amount(value: int | None, mark: str = "") -> Cell:
        return Cell("", "") if value is None else Cell(mark + (scaled(value, factor) or "0"), value)

    def unit(row: _GapRow) -> Cell:
        # What did not run has no amounts that a prefix could belong to.
        return Cell(row.unit if row.total is None else prefix + row.unit)

    def gap(row: _GapRow) -> Cell:
        return Cell("", "") if row.gap is None else Cell(_signed(row.gap, factor), row.gap)

    return (
        Column(
            "counter", "counter", lambda row: Cell("" if row.is_reason else row.counter, row.counter), numeric=False
        ),
        Column("unit", "unit", unit, numeric=False),
        Column("its total", "total", lambda row: amount(row.total)),
        Column("ours", "ours", lambda row: amount(row.ours, least)),
        Column("gap", "gap", gap),
        Column("because", "reason", lambda row: Cell(row.because), numeric=False, overflow="fold"),
    )


def _rows(verdict: Agreement, sizes: Sequence[Mapping[str, int]]) -> list[_GapRow]:
    name, unit = verdict.counter, verdict.unit
    if verdict.failure:
        return [_GapRow(name, verdict.failure, unit)]
    equal = "" if any(verdict.gaps) else "equal at every size"
    rows = [_GapRow(name, equal, unit, verdict.totals[0], verdict.ours[0], verdict.gaps[0])]
    reasons = sorted(verdict.reasons.items(), key=lambda each: -abs(each[1][0]))
    parts = [*reasons, *([("unexplained", verdict.unexplained)] if any(verdict.unexplained) else [])]
    for reason, amounts in parts:
        place = next(place for place, amount in enumerate(amounts) if amount)
        exact = f": {amounts[place]:+,} {unit}" if reason == "unexplained" else ""
        at = f" at {sizes_text(sizes[place])}" if place else ""
        rows.append(_GapRow(name, f"{reason}{exact}{at}", gap=amounts[place], is_reason=True))
    return rows


def _signed(amount: int, factor: int) -> str:
    if not amount:
        return "0"
    return f"{'+' if amount > 0 else '−'}{scaled(abs(amount), factor)}"


def _notes(comparison: Comparison) -> list[str]:
    ran = [verdict for verdict in comparison.verdicts if not verdict.failure]
    explained = ", ".join(v.counter for v in ran if not any(v.unexplained))
    rest = ", ".join(v.counter for v in ran if any(v.unexplained))
    lines = [
        "ours are the multiply-adds of contractions, 2 FLOPs each; reasons are each counter's rules, as read in its source"
    ]
    lines += [
        f"without a rule, and missing from ours: {op} ×{len(names)} in {names[0]}"
        for op, names in comparison.costs.unknown.items()
    ]
    if explained:
        lines.append(f"every gap explained to the last unit, at every size: {explained}")
    if rest:
        lines.append(f"not explained: {rest}")
    if comparison.missing:
        lines.append(f"not installed: {', '.join(comparison.missing)}; pip install 'fxcost[verify]'")
    return lines


def _facts(verdict: Agreement) -> dict[str, Any]:
    return {
        "counter": verdict.counter,
        "unit": verdict.unit,
        "failure": verdict.failure or None,
        "totals": list(verdict.totals),
        "ours": list(verdict.ours),
        "reasons": {reason: list(amounts) for reason, amounts in verdict.reasons.items()},
        "unexplained": list(verdict.unexplained),
    }
