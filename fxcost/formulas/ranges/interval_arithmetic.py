"""Between which numbers a size lies when its symbols do, and which way it grows with them."""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

from fxcost.formulas.algebra import (
    Constant,
    Extreme,
    Floor,
    Formula,
    Max,
    Min,
    Mod,
    Product,
    Rounding,
    Sum,
    Symbol,
    Touched,
    expanded,
    split_coefficient,
    terms_of,
    touched_of,
)
from fxcost.formulas.evaluation import MAX_EXPANDED_TERMS, expanded_terms

Span = tuple[Fraction | None, Fraction | None]
"""The ends between which a size lies, both included; None where there is none, or none is found."""
Ends = Mapping[str, tuple[int, int | None]]
"""The least and the greatest size of each symbol; 1 is the least of a symbol that is not named."""
ANY: Span = (None, None)


def span(formula: Formula, ends: Ends) -> Span:
    """Two numbers that ``formula`` never leaves: interval arithmetic, products of what is not negative alone."""
    if isinstance(formula, Constant):
        return Fraction(formula.value), Fraction(formula.value)
    if isinstance(formula, Symbol):
        low, high = ends.get(formula.name, (1, None))
        return Fraction(low), None if high is None else Fraction(high)
    if isinstance(formula, Product):
        return _product(formula, ends)
    if isinstance(formula, Mod):
        dividend, divisor = formula.children
        return _remainder(dividend, divisor, ends)
    inner = [span(child, ends) for child in formula.children]
    if isinstance(formula, Touched):
        return _touched(*inner)
    lows, highs = [low for low, _ in inner], [high for _, high in inner]
    if isinstance(formula, Sum):
        return _sum(lows), _sum(highs)
    if isinstance(formula, Rounding):
        whole = math.floor if isinstance(formula, Floor) else math.ceil
        low, high = (None if end is None else Fraction(whole(end)) for end in inner[0])
        return low, high
    if isinstance(formula, Max):
        return max(_known(lows), default=None), None if None in highs else max(_known(highs))
    return None if None in lows else min(_known(lows)), min(_known(highs), default=None)


def _touched(things: Span, picked: Span, rows: Span) -> Span:
    """It grows with each of the three, and never beyond the things that there are."""
    ends = [[None if end is None else int(end) for end in each] for each in (things, picked, rows)]
    (fewest, most), (least, greatest), (first, last) = ends
    low = touched_of(fewest, least, first) if fewest and least and first else 0
    high = touched_of(most, greatest, last) if most and greatest and last else things[1]
    return Fraction(low), None if high is None else Fraction(high)


def _remainder(dividend: Formula, divisor: Formula, ends: Ends) -> Span:
    low, high = span(divisor, ends)
    if low is None or low <= 0:
        return ANY
    whole = dividend.is_whole and divisor.is_whole
    return Fraction(0), None if high is None else high - 1 if whole else high


def _known(ends: Sequence[Fraction | None]) -> list[Fraction]:
    return [end for end in ends if end is not None]


def _not_negative(lows: Sequence[Fraction | None]) -> bool:
    return all(low is not None and low >= 0 for low in lows)


def _sum(ends: Sequence[Fraction | None]) -> Fraction | None:
    return None if None in ends else sum(_known(ends), Fraction(0))


def _product(product: Product, ends: Ends) -> Span:
    inner = [_power(span(base, ends), exponent) for base, exponent in product.powers]
    lows, highs = [low for low, _ in inner], [high for _, high in inner]
    if len(inner) > 1 and not _not_negative(lows):
        return ANY
    times = Fraction(product.coefficient)
    low = None if None in lows else times * math.prod(_known(lows))
    high = None if None in highs else times * math.prod(_known(highs))
    return (low, high) if times > 0 else (high, low)


def _power(base: Span, exponent: int) -> Span:
    if exponent == 1:
        return base
    if exponent < 0 or not _not_negative(base[:1]):
        return ANY
    low, high = (None if end is None else end**exponent for end in base)
    return low, high


def least(formula: Formula, ends: Ends) -> Fraction | None:
    """A number that ``formula`` never falls below; None when none is found.

    Beside the span, which takes each term for itself, the polynomial is looked at in how far each size is above its
    least: ``B·S − B`` is ``b·s + s`` for B = b + 1 and S = s + 1, and never negative.
    """
    lows = [low for low in (span(formula, ends)[0], _of_shifted(formula, ends)) if low is not None]
    return max(lows, default=None)


def is_never_negative(formula: Formula, ends: Ends) -> bool:
    """Whether `least` shows it; False says only that it does not."""
    low = least(formula, ends)
    return low is not None and low >= 0


def _of_shifted(formula: Formula, ends: Ends) -> Fraction | None:
    if expanded_terms(formula) > MAX_EXPANDED_TERMS:
        return None
    shifted = _shifted(formula, ends, {})
    if shifted is None:
        return None
    constant = Fraction(0)
    for term in terms_of(expanded(shifted)):
        if isinstance(term, Constant):
            constant = Fraction(term.value)
        elif split_coefficient(term)[0] < 0:
            return None
    return constant


def _shifted(formula: Formula, ends: Ends, shifts: dict[Formula, Formula]) -> Formula | None:
    """The formula with each size told as its least and what is more, or as its greatest and what is less."""
    if isinstance(formula, Constant) or formula in shifts:
        return shifts.get(formula, formula)
    if isinstance(formula, Sum) or (isinstance(formula, Product) and min(formula.exponents) > 0):
        found = [_shifted(child, ends, shifts) for child in formula.children]
        parts = tuple(part for part in found if part is not None)
        return formula.rebuilt(parts) if len(parts) == len(found) else None
    low, high = span(formula, ends)
    more = Symbol(f"more {len(shifts)}")
    if low is not None:
        shifts[formula] = more + low
    elif high is not None:
        shifts[formula] = high - more
    return shifts.get(formula)


def settle(formula: Formula, ends: Ends) -> Formula:
    """The same size without the arguments of a Min or Max that never win when the symbols lie between ``ends``."""
    if not formula.children:
        return formula
    arguments = [settle(child, ends) for child in formula.children]
    if isinstance(formula, Extreme):
        sign = 1 if isinstance(formula, Min) else -1
        for argument in list(arguments):
            rivals = [other for other in arguments if other is not argument]
            if any(_not_negative([span(sign * (argument - other), ends)[0]]) for other in rivals):
                arguments.remove(argument)
    same = len(arguments) == len(formula.children) and all(
        new is old for new, old in zip(arguments, formula.children, strict=True)
    )
    try:
        return formula if same else formula.rebuilt(tuple(arguments))
    except ZeroDivisionError:  # a condition that no size meets, which is told when it is evaluated
        return formula


def direction(formula: Formula) -> int | None:
    """1 where ``formula`` never falls as its symbols grow, -1 where it never rises, 0 for a number, None when not told.

    Factors are taken to be non-negative, as sizes are.
    """
    if isinstance(formula, Constant):
        return 0
    if isinstance(formula, Symbol):
        return 1
    ways = {direction(child) for child in formula.children}
    if isinstance(formula, Product):
        grows = ways == {1} and min(formula.exponents) > 0
        return (1 if formula.coefficient > 0 else -1) if grows else None
    if isinstance(formula, Sum | Rounding | Extreme | Touched):
        ways -= {0}
        return ways.pop() if len(ways) == 1 else None
    return None
