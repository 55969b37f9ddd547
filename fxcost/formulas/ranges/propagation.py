"""Conditions turned into the ranges of symbols, and those dropped that say nothing more."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from math import lcm

from fxcost.formulas.algebra import Constant, Formula, Min, Mod, Symbol, split_coefficient
from fxcost.formulas.evaluation import assume_multiple, evaluate
from fxcost.formulas.ranges.domain import Condition, SymbolRange
from fxcost.formulas.ranges.interval_arithmetic import Ends, direction, is_never_negative, least, settle, span

LARGEST_SIZE = 2**40
"""Where the search for the largest size that a condition allows ends."""


def tighten(
    ranges: dict[str, SymbolRange], conditions: list[Condition]
) -> tuple[dict[str, SymbolRange], tuple[Condition, ...]]:
    """Turn conditions on one symbol, such as ``S > 1`` or ``H mod 32 = 0``, into its range; drop what follows from the rest."""
    left: list[Condition] = []
    for condition in conditions:
        free = (condition.left - condition.right).names
        name = next(iter(free)) if len(free) == 1 else ""
        narrowed = _narrowed(ranges[name], condition, name) if name in ranges else None
        if narrowed is not None:
            ranges[name] = narrowed
        else:
            left.append(condition)
    told = {frozenset((c.left, c.right)) if c.relation in ("==", "!=") else c: c for c in reversed(left)}
    return ranges, tuple(_needed(list(reversed(told.values())), ranges))


def _narrowed(old: SymbolRange, condition: Condition, name: str) -> SymbolRange | None:
    """The range with the condition made part of it; None when a range cannot say it."""
    difference = condition.left - condition.right
    if condition.relation == "==":
        found = _of_equality(old, condition, name)
        return found if found in (None, old) else replace(found, where=condition.where or old.where)
    if condition.relation == "!=":
        if not _differs_only_at(difference, name, old.low):
            return None
        return replace(old, low=old.low + 1, where=condition.where or old.where)
    way = direction(difference)
    if way == 1:
        low = _first(lambda size: condition.holds({name: size}), old.low)
        return old if low == old.low else replace(old, low=low, where=condition.where or old.where)
    if way == -1 and condition.holds({name: old.low}):
        high = _first(lambda size: not condition.holds({name: size}), old.low) - 1
        return replace(old, high=high if old.high is None else min(high, old.high))
    return None


def _differs_only_at(difference: Formula, name: str, low: int) -> bool:
    return (
        direction(difference) == 1
        and evaluate(difference, {name: low}) == 0
        and evaluate(difference, {name: low + 1}) > 0
    )


def _first(holds: Callable[[int], bool], low: int) -> int:
    """The smallest size from ``low`` up where ``holds``, which once true stays true."""
    if holds(low):
        return low
    above = low + 1
    while not holds(above) and above < LARGEST_SIZE:
        above *= 2
    below = low
    while above - below > 1:
        middle = (above + below) // 2
        below, above = (below, middle) if holds(middle) else (middle, above)
    return above


def _of_equality(old: SymbolRange, condition: Condition, name: str) -> SymbolRange | None:
    left, right = sorted((condition.left, condition.right), key=lambda side: isinstance(side, Min | Mod))
    if left == right:
        return old
    if isinstance(right, Min) and left == Symbol(name) and left in right.children:
        bounds = [
            bound.value for bound in right.children if isinstance(bound, Constant) and isinstance(bound.value, int)
        ]
        highs = [*bounds, *([] if old.high is None else [old.high])]
        return SymbolRange(old.low, min(highs), old.multiple_of) if len(bounds) == len(right.children) - 1 else None
    if left == 0 and isinstance(right, Mod) and (times := _times(right.children[0], name)) is not None:
        # c·x is a multiple of n where x is one of the numerator of n/c in its lowest terms.
        divisor = right.children[1]
        if not isinstance(divisor, Constant):
            return None
        together = lcm(old.multiple_of, (divisor.value / times).numerator)
        return SymbolRange(-(-old.low // together) * together, old.high, together)
    return _between_equals(old, left - right, name)


def _times(product: Formula, name: str) -> Fraction | None:
    """How many times a symbol a product is; None where it is something else."""
    times, size = split_coefficient(product)
    return Fraction(times) if size == Symbol(name) and times > 0 else None


def _between_equals(old: SymbolRange, difference: Formula, name: str) -> SymbolRange | None:
    """The sizes from the first to the last at which what never falls, or never rises, is 0."""
    way = direction(difference)
    if way not in (1, -1):
        return None
    reached = _first(lambda size: way * evaluate(difference, {name: size}) >= 0, old.low)
    passed = _first(lambda size: way * evaluate(difference, {name: size}) > 0, reached)
    high = passed - 1 if old.high is None else min(passed - 1, old.high)
    return SymbolRange(reached, high, old.multiple_of) if reached <= high < LARGEST_SIZE else None


# What follows from the rest

MOST_COMPARED = 24
"""Conditions above which they are not compared with each other, which takes time with the square of their number."""


def _needed(conditions: list[Condition], ranges: Mapping[str, SymbolRange]) -> Iterator[Condition]:
    """The conditions that follow neither from the ranges nor from others, as far as bounds on their terms can tell."""
    ends = {name: each.ends for name, each in ranges.items()}
    steps = {name: each.multiple_of for name, each in ranges.items() if each.multiple_of > 1}
    left = [c for c in conditions if not _follows(c, ends, steps)]
    kept = dict(enumerate(left))
    for index, condition in list(kept.items())[::-1] if len(left) <= MOST_COMPARED else ():
        others = (other for place, other in kept.items() if place != index and other.names & condition.names)
        if any(_follows_from(condition, other, ends) for other in others):
            del kept[index]
    yield from kept.values()


def _follows(condition: Condition, ends: Ends, steps: Mapping[str, int]) -> bool:
    difference = _difference(condition, ends)
    if steps:
        difference = assume_multiple(difference, steps)
    if condition.relation == "==":
        return span(difference, ends) == (0, 0)
    if condition.relation == ">=":
        return is_never_negative(difference, ends)
    low = least(difference, ends)
    if low is None or low <= 0:
        low = least(-difference, ends) if condition.relation == "!=" else None
    return low is not None and low > 0


def _follows_from(condition: Condition, other: Condition, ends: Ends) -> bool:
    """Whether each number that must not be negative is at least one that the other condition keeps from being so."""

    def is_kept(wanted: Formula) -> bool:
        return any(is_never_negative(wanted - kept, ends) for kept in _not_negative(other, ends))

    if condition.relation == "!=":
        difference = _difference(condition, ends)
        return difference.is_whole and (is_kept(difference - 1) or is_kept(-difference - 1))
    if condition.relation == ">" and not _difference(condition, ends).is_whole:
        return False
    return all(map(is_kept, _not_negative(condition, ends)))


def _not_negative(condition: Condition, ends: Ends) -> tuple[Formula, ...]:
    """Numbers that are not negative where the condition holds: all that it says, but that sizes differ or are fractions."""
    difference = _difference(condition, ends)
    if condition.relation == "==":
        return difference, -difference
    if condition.relation == ">":
        return (difference - 1 if difference.is_whole else difference,)
    return (difference,) if condition.relation == ">=" else ()


def _difference(condition: Condition, ends: Ends) -> Formula:
    return settle(condition.left, ends) - settle(condition.right, ends)
