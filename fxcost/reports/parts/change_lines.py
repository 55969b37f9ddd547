"""What changed between two models, in words: a summary, totals that moved, and where the formulas hold."""

from collections.abc import Sequence
from fractions import Fraction

from fxcost.costs.model import CostModel
from fxcost.drift.diff import MEASURES, Difference, Measures, Move
from fxcost.formulas.quantities import Quantity
from fxcost.reports.parts.numbers import formula, sizes_text

TITLES = {"flops": "FLOPs", "macs": "MACs", "params": "parameters", "bytes": "bytes"}
MOST_NAMES = 4


def summary(name: str, difference: Difference) -> list[str]:
    """How many operations changed, and all that no table of layers shows."""
    kinds = [pair.kind for pair in difference.pairs]
    counts = {kind: kinds.count(kind) for kind in ("changed", "added", "removed") if kind in kinds}
    told = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    same = len(kinds) - sum(counts.values())
    lines = [
        f"{name}: of {len(kinds)} operations {told}, {same} as before; at {sizes_text(difference.points[0])}"
        if told
        else f"{name}: no cost changed ({same} operations, {len(difference.points)} sizes compared)"
    ]
    lines += [f"  {line}" for line in (*_renamed(difference), *_elsewhere(difference), *_conditions(difference))]
    return lines


def _renamed(difference: Difference) -> list[str]:
    names = [(p.old.name, p.new.name) for p in difference.pairs if p.kind == "renamed" and p.old and p.new]
    if not names:
        return []
    first = ", ".join(f"{old} → {new}" for old, new in names[:MOST_NAMES])
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return [f"renamed at the same cost: {first}{more}"]


def _elsewhere(difference: Difference) -> list[str]:
    """Totals that are as before at the point shown, and not at others."""
    here = [difference.here(model, model.total) for model in (difference.old, difference.new)]
    hidden = [move for move in difference.moves() if measure(here[0], move.measure) == measure(here[1], move.measure)]
    return [f"{move_text(move)}; the same at {sizes_text(difference.points[0])}" for move in hidden]


def move_text(move: Move) -> str:
    """``FLOPs +30.2 % at B=8``, or that the formulas differ where too few sizes are allowed to compare them."""
    name = TITLES[move.measure]
    if move.old == move.new:
        return f"{name}: another formula, equal at {sizes_text(move.point)}, the only sizes compared"
    return f"{name} {formula(_whole(move.old))} → {formula(_whole(move.new))} ({percent(move.share)}) at {sizes_text(move.point)}"


def _whole(value: Fraction) -> Quantity:
    return int(value) if value.denominator == 1 else value


def percent(share: Fraction | None) -> str:
    """A signed change in percent, one decimal; one that would round to zero keeps its sign."""
    if share is None:
        return "new"
    shown = f"{float(100 * share):+,.1f} %".replace("-", "−")
    return shown if not share or abs(share) >= Fraction(1, 2000) else f"{'+' if share > 0 else '−'}<0.1 %"


# Where formulas hold


def _conditions(difference: Difference) -> list[str]:
    """What else is told about the two: ranges, fixed sizes, conditions, operators without a rule, assumptions."""
    old, new = difference.old, difference.new
    names = dict.fromkeys([*old.symbols, *old.fixed, *new.symbols, *new.fixed])
    lines = [
        f"{name}: {_held(old, name)} → {_held(new, name)}" for name in names if _held(old, name) != _held(new, name)
    ]
    lines += [f"no longer only where {c}" for c in old.conditions if c not in new.conditions]
    lines += [
        f"now only where {c}{f' ({c.where})' if c.where else ''}" for c in new.conditions if c not in old.conditions
    ]
    lines += [
        f"now without a rule: {_called(op, n)}: totals are lower bounds" for op, n in difference.gained_unknown.items()
    ]
    lines += [f"now with a rule: {_called(op, n)}" for op, n in old.unknown.items() if op not in new.unknown]
    for what, before, after in (
        ("dtype", old.dtype, new.dtype),
        ("rung", old.rung, new.rung),
        ("mode", old.mode, new.mode),
    ):
        lines += [f"{what}: {before} → {after}"] if before != after else []
    lines += [f"no longer assumed: {text}" for text in old.assumptions if text not in new.assumptions]
    return lines + [f"now assumed: {text}" for text in new.assumptions if text not in old.assumptions]


def _held(model: CostModel, name: str) -> str:
    if name in model.fixed:
        return f"fixed at {model.fixed[name].value}"
    return str(model.symbols[name]) if name in model.symbols else "no symbol"


def _called(operator: str, names: Sequence[str]) -> str:
    return f"{operator} in {', '.join(names[:3])}{', …' if len(names) > 3 else ''}"


def measure(values: Measures, name: str) -> Quantity:
    """One of the four measures by its name."""
    return values[MEASURES.index(name)]
