"""Counters side by side: each total, its gap to ours, and the reasons."""

from typing import Any

from fxcost.reports.numbers import prefix_for, scaled, sizes_text
from fxcost.reports.tables import Cell, Column, Report
from fxcost.verify.comparison import Agreement, Comparison


def verify_report(comparison: Comparison) -> Report:
    """A row for each counter with its gap, and one for each reason; amounts at the first of the sizes."""
    largest = max((abs(t) for v in comparison.verdicts for t in (*v.totals[:1], *v.ours[:1])), default=0)
    factor, prefix = prefix_for(largest)
    rows = [row for verdict in comparison.verdicts for row in _rows(verdict, comparison, factor, prefix)]
    points = [comparison.costs.with_fixed(point) for point in comparison.sizes]
    sizes = "; ".join(map(sizes_text, comparison.sizes))
    return Report(
        _columns(),
        tuple(rows),
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


def _columns() -> tuple[Column, ...]:
    return (
        Column("counter", "counter", numeric=False),
        Column("unit", "unit", numeric=False),
        Column("its total", "total"),
        Column("ours", "ours"),
        Column("gap", "gap"),
        Column("because", "reason", numeric=False, folds=True),
    )


def _rows(verdict: Agreement, comparison: Comparison, factor: int, prefix: str) -> list[tuple[Cell, ...]]:
    name, unit = verdict.counter, verdict.unit
    if verdict.failure:
        return [(Cell(name), Cell(unit), Cell("", ""), Cell("", ""), Cell("", ""), Cell(verdict.failure))]
    gap, sizes = verdict.gaps[0], comparison.sizes
    least = "≥ " if comparison.costs.unknown else ""
    rows = [
        (
            Cell(name),
            Cell(f"{prefix}{unit}"),
            Cell(scaled(verdict.totals[0], factor) or "0", verdict.totals[0]),
            Cell(least + (scaled(verdict.ours[0], factor) or "0"), verdict.ours[0]),
            Cell(_signed(gap, factor), gap),
            Cell("" if any(verdict.gaps) else "equal at every size"),
        )
    ]
    reasons = sorted(verdict.reasons.items(), key=lambda each: -abs(each[1][0]))
    parts = [*reasons, *([("unexplained", verdict.unexplained)] if any(verdict.unexplained) else [])]
    blank = Cell("", "")
    for reason, amounts in parts:
        place = next(place for place, amount in enumerate(amounts) if amount)
        exact = f": {amounts[place]:+,} {unit}" if reason == "unexplained" else ""
        at = f" at {sizes_text(sizes[place])}" if place else ""
        amount = Cell(_signed(amounts[place], factor), amounts[place])
        rows.append((Cell("", name), blank, blank, blank, amount, Cell(f"{reason}{exact}{at}")))
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
