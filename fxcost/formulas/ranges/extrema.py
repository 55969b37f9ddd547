"""Where a cost with a least or greatest of two sizes in it is positive: stretch by stretch, each without it."""

from collections.abc import Iterator
from fractions import Fraction

from fxcost.formulas.algebra import Extreme, Formula, Min, Symbol, Touched, parts_of, replaced
from fxcost.formulas.ranges.expectations import where_expectation_nonnegative
from fxcost.formulas.ranges.piecewise import IntegerSet, coefficients, union
from fxcost.formulas.ranges.piecewise import where_nonnegative as where_unbent

Stretch = tuple[int, int | None, Formula]
"""From a size to another, both included (None: without end), and the expression there."""


def where_nonnegative(
    formula: Formula, symbol: Symbol, low: int = 1, high: int | None = None, step: int = 1
) -> IntegerSet:
    """As `piecewise.where_nonnegative`, proven also where Min or Max of two lines bends the expression."""
    if any(isinstance(part, Touched) for part in parts_of(formula)):
        return where_expectation_nonnegative(formula, symbol, low, high, step)
    found: list[IntegerSet] = []
    for first, last, straight in stretches(formula, symbol, low, high):
        found.append(where_unbent(straight, symbol, first, last, step))
        if found[-1].checked_up_to is not None:
            break
    return union(found, step)


def stretches(formula: Formula, symbol: Symbol, low: int = 1, high: int | None = None) -> Iterator[Stretch]:
    """The expression on each stretch of sizes on which every Min and Max of two lines keeps to one of them."""
    extremes = sorted({part for part in parts_of(formula) if isinstance(part, Extreme)}, key=str)
    bend = next((found for each in extremes if (found := _bend(each, symbol))), None)
    if bend is None:
        yield low, high, formula
        return
    extreme, last, before, after = bend
    if low <= last:
        until = last if high is None else min(last, high)
        yield from stretches(replaced(formula, {extreme: before}), symbol, low, until)
    if high is None or high > last:
        yield from stretches(replaced(formula, {extreme: after}), symbol, max(low, last + 1), high)


def _bend(extreme: Extreme, symbol: Symbol) -> tuple[Formula, int, Formula, Formula] | None:
    """An extreme of lines: the last size at which the first of two of them counts, and what it is up to there and beyond.

    None for an extreme of anything else.
    """
    flat, steep, *others = extreme.children
    line = coefficients(steep - flat, symbol)
    if line is None or not 1 <= len(line) <= 2:
        return None
    start, slope = line[0], sum(line[1:], Fraction(0))
    if slope < 0 or (slope == 0 and start < 0):
        flat, steep, start, slope = steep, flat, -start, -slope
    # The steep line is the lower one up to where they meet; where they never meet, the flat one is lower throughout.
    last = -start // slope if slope else 0
    before, after = (steep, flat) if isinstance(extreme, Min) else (flat, steep)
    return extreme, last, extreme.rebuilt((before, *others)), extreme.rebuilt((after, *others))
