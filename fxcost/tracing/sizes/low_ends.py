"""The lowest sizes at which formulas are said to hold: found, and raised to where the model runs."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from fxcost.formulas.evaluation import Point
from fxcost.formulas.ranges.domain import Condition, SymbolRange

MOST_TRIED = 4096
"""Sizes of one symbol that are tried for the first that conditions allow."""


def joint_low_end(ranges: Mapping[str, SymbolRange], conditions: Iterable[Condition], known: Point) -> dict[str, int]:
    """The first allowed size of each symbol at once; where conditions refuse that, sizes as low as they allow together.

    ``known`` are sizes that conditions allow.
    """
    conditions = tuple(conditions)
    lowest = {name: each.smallest for name, each in ranges.items()}
    if _allowed(lowest, conditions):
        return lowest
    point = {name: known[name] for name in ranges}
    for name, each in ranges.items():
        sizes = range(lowest[name], point[name], each.multiple_of)[:MOST_TRIED]
        point[name] = next((n for n in sizes if _allowed({**point, name: n}, conditions)), point[name])
    return point


def _allowed(point: Point, conditions: Iterable[Condition]) -> bool:
    return all(condition.holds(point) for condition in conditions)


def raised(
    ranges: Mapping[str, SymbolRange], low: Point, known: Point, failure_at: Callable[[Point], str | None]
) -> dict[str, SymbolRange]:
    """The ranges without the sizes at which the model fails, which runs at those ``known`` and fails at those ``low``.

    Each symbol is raised by itself, with the others as they are known to run, then what still fails together. Sizes
    above one at which it runs are taken to run.
    """
    found = dict(ranges)
    point = dict(known)
    for name in ranges:
        first, why = _first_that_runs({**known, name: low[name]}, known, [name], ranges, failure_at)
        if why:
            found[name] = replace(found[name], low=first[name], where=why)
        point[name] = first[name]
    together, why = _first_that_runs(point, known, list(ranges), ranges, failure_at)
    for name in ranges if why else ():
        if together[name] > found[name].low:
            found[name] = replace(found[name], low=together[name], where=why)
    return found


def _first_that_runs(
    low: Point,
    known: Point,
    names: Iterable[str],
    ranges: Mapping[str, SymbolRange],
    failure_at: Callable[[Point], str | None],
) -> tuple[Point, str]:
    """The first point between two, moving the symbols named alike, at which the model runs, and why not below it."""
    steps = {name: (known[name] - low[name]) // ranges[name].multiple_of for name in names}
    most = max(steps.values(), default=0)

    def between(place: int) -> Point:
        moved = {n: low[n] + ranges[n].multiple_of * -(-steps[n] * place // most) for n in steps} if most else {}
        return {**low, **moved}

    why = failure_at(low)
    if why is None or not most:
        return (low, "") if why is None else (known, why)
    fails, runs = 0, most
    while runs - fails > 1:
        middle = (fails + runs) // 2
        failed = failure_at(between(middle))
        if failed is None:
            runs = middle
        else:
            fails, why = middle, failed
    return between(runs), why
