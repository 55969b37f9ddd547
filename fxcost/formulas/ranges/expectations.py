"""Where a cost that holds an expected number of things touched is not negative."""

from collections.abc import Callable

from fxcost.formulas.algebra import (
    Exact,
    Formula,
    Symbol,
    Touched,
    expanded,
    split_coefficient,
    terms_of,
)
from fxcost.formulas.evaluation import compile_formula, total
from fxcost.formulas.ranges.bisection import first_where
from fxcost.formulas.ranges.piecewise import IntegerSet, Interval, coefficients, where_nonnegative

FURTHEST = 1 << 40
"""The greatest count of steps that is looked at."""


def where_expectation_nonnegative(
    formula: Formula, symbol: Symbol, low: int = 1, high: int | None = None, step: int = 1
) -> IntegerSet:
    """As `piecewise.where_nonnegative`; solved where the formula is a line and expectations that all bend it one way.

    The expected number bends down in the rows, so that what it is taken from bends up: that is negative on one stretch
    at most, whose ends are found by bisection. Anything else is enumerated.
    """
    bends = _bend(formula, symbol)
    if bends is None:
        return where_nonnegative(formula, symbol, low, high, step)
    first, last = -(-low // step), FURTHEST if high is None else high // step
    if last < first:
        return IntegerSet((), None)
    value = compile_formula(formula)

    def at(count: int) -> Exact:
        return bends * value({symbol.name: count * step})

    # Of what bends up the numbers below zero, or not above it, stand together.
    lowest = _first(lambda count: at(count + 1) >= at(count), first, last)

    def under(count: int) -> bool:
        return at(count) < 0 or (bends < 0 and at(count) == 0)

    found: list[tuple[int, int]] = []
    if under(lowest):
        start = _first(under, first, lowest)
        end = _first(lambda count: not under(count + 1), lowest, last)
        found.append((start, end))
    if bends < 0:
        spans = found
    else:
        spans = [(first, last)] if not found else [(first, found[0][0] - 1), (found[0][1] + 1, last)]
    intervals = [(a, None if b >= last and high is None else b) for a, b in spans if a <= b]
    return IntegerSet(tuple(Interval(a * step, None if b is None else b * step) for a, b in intervals), None)


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """As `first_where`; the last number where there is none."""
    found = first_where(holds, low, high)
    return high if found is None else found


def _bend(formula: Formula, symbol: Symbol) -> int | None:
    """1 where the formula is a line less expectations, whose sum bends up; -1 where it is one with them; None for all else."""
    lines: list[Formula] = []
    signs: set[bool] = set()
    for term in terms_of(expanded(formula)):
        coefficient, rest = split_coefficient(term)
        if not isinstance(rest, Touched):
            lines.append(term)
        elif not _grows_evenly(rest, symbol):
            return None
        else:
            signs.add(coefficient > 0)
    line = coefficients(total(lines), symbol)
    if line is None or len(line) > 2 or len(signs) != 1:
        return None
    return -1 if signs.pop() else 1


def _grows_evenly(touched: Touched, symbol: Symbol) -> bool:
    things, picked, rows = touched.children
    line = coefficients(rows, symbol) if not (things.names or picked.names) else None
    return line is not None and len(line) <= 2 and sum(line[1:]) >= 0
