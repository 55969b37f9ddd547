"""Exact sets of positive integers on which a cost expression is not negative."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby, product
from math import comb, lcm

from fxcost.errors import FxcostError
from fxcost.formulas.algebra import Ceiling, Constant, Exact, Floor, Formula, Mod, Product, Sum, Symbol
from fxcost.formulas.evaluation import compile_formula, symbol_names
from fxcost.formulas.ranges.bisection import first_where

Coefficients = list[Exact]  # lowest degree first, never empty

MAX_DEGREE = 32
MAX_PERIOD = 4096  # residue classes solved one by one; beyond, sizes are enumerated
MAX_PERIODIC = 1 << 18  # sizes in one stretch on which some classes hold and others do not
HORIZON = 65_536  # the largest size enumerated


@dataclass(frozen=True)
class Interval:
    """Every size from ``low`` to ``high``, both included; ``high`` None is without end."""

    low: int
    high: int | None


@dataclass(frozen=True)
class IntegerSet:
    """Disjoint intervals in increasing order.

    ``checked_up_to`` None: proven for every size asked about. Otherwise the sizes up to it were tried one by one, and
    nothing is said about larger ones: an interval that ends there may go on.
    """

    intervals: tuple[Interval, ...]
    checked_up_to: int | None


def union(sets: Sequence[IntegerSet], step: int) -> IntegerSet:
    """The multiples of ``step`` in any of the sets, as far as all of them were looked at."""
    horizon = min((each.checked_up_to for each in sets if each.checked_up_to is not None), default=None)
    found: list[Interval] = []
    for each in sorted((interval for some in sets for interval in some.intervals), key=lambda i: i.low):
        if not found or (found[-1].high is not None and each.low > found[-1].high + step):
            found.append(each)
            continue
        ends = [end for end in (found[-1].high, each.high) if end is not None]
        found[-1] = Interval(found[-1].low, max(ends) if len(ends) == 2 else None)
    if horizon is not None:
        found = [
            Interval(i.low, horizon if i.high is None else min(i.high, horizon)) for i in found if i.low <= horizon
        ]
    return IntegerSet(tuple(found), horizon)


def where_nonnegative(
    formula: Formula, symbol: Symbol, low: int = 1, high: int | None = None, step: int = 1
) -> IntegerSet:
    """The multiples of ``step`` from ``low`` to ``high`` at which ``formula``, in this one symbol, is not negative.

    Neighbouring multiples of ``step`` share an interval, whose ends are multiples. A polynomial, or one in floors,
    ceilings and remainders whose residue classes settle, is solved for every size; anything else is enumerated up to
    HORIZON. Raises FxcostError for another symbol, a bound below 1, and a division by zero at an enumerated size.
    """
    others = [name for name in symbol_names(formula) if name != symbol.name]
    if others:
        raise FxcostError(f"solving over {symbol.name} needs a number for {', '.join(others)} first")
    if low < 1 or step < 1:
        raise FxcostError(f"sizes are positive: low={low}, step={step}")
    first = -(-low // step)
    last = None if high is None else high // step
    spans, horizon = _proven(formula, symbol, first, step), None
    if spans is None:
        reach = HORIZON // step if last is None else min(last, HORIZON // step)
        spans = _enumerated(formula, symbol, first, reach, step)
        horizon = None if last == reach else HORIZON
    kept = [span for span in spans if last is None or span.low <= last]
    if last is not None and kept and (kept[-1].high is None or kept[-1].high > last):
        kept[-1] = Interval(kept[-1].low, last)
    return IntegerSet(tuple(Interval(s.low * step, None if s.high is None else s.high * step) for s in kept), horizon)


def _enumerated(formula: Formula, symbol: Symbol, first: int, last: int, step: int) -> list[Interval]:
    value = compile_formula(formula)
    runs = _Runs()
    for count in range(first, last + 1):
        if value({symbol.name: count * step}) >= 0:
            runs.add(count, count)
    return runs.found


class _Runs:
    """Intervals given in increasing order, neighbours joined."""

    def __init__(self) -> None:
        self.found: list[Interval] = []

    def add(self, low: int, high: int | None) -> None:
        if self.found and self.found[-1].high == low - 1:
            low = self.found.pop().low
        self.found.append(Interval(low, high))


def _proven(formula: Formula, symbol: Symbol, first: int, step: int) -> list[Interval] | None:
    """The solution among ``step * n``, n from ``first`` on without end, or None where this method has no proof.

    On each residue class n = first + r + P*q the floors vanish and a polynomial in q is left. Between two values of q
    at which some class changes its sign, every block of P sizes is like the next.
    """
    try:
        classes = _classes(formula, symbol, first, step)
    except NotPolynomialError:
        return None
    period, flips = len(classes), _flips(classes)
    holds = [False] * period
    runs = _Runs()
    for q, following in zip(flips, [*list(flips)[1:], None], strict=True):
        for residue in flips[q]:
            holds[residue] = not holds[residue]
        if all(holds):
            runs.add(first + period * q, None if following is None else first + period * following - 1)
        elif any(holds):
            if following is None or (following - q) * period > MAX_PERIODIC:
                return None
            blocks = range(first + period * q, first + period * following, period)
            for start, (low, high) in product(blocks, _true_runs(holds)):
                runs.add(start + low, start + high)
    return runs.found


def _flips(classes: list[Coefficients]) -> dict[int, list[int]]:
    """For each q at which the sign of some class changes, in order, the residues of those classes."""
    flips: dict[int, list[int]] = {0: []}
    for residue, in_class in enumerate(classes):
        for span in nonnegative_runs(_whole(in_class), 0, None):
            flips.setdefault(span.low, []).append(residue)
            if span.high is not None:
                flips.setdefault(span.high + 1, []).append(residue)
    return dict(sorted(flips.items()))


def _true_runs(flags: list[bool]) -> list[tuple[int, int]]:
    runs = ([i for i, _ in group] for flag, group in groupby(enumerate(flags), key=lambda pair: pair[1]) if flag)
    return [(run[0], run[-1]) for run in runs]


class _NeedsPeriodError(Exception):
    """A floor does not vanish until the period is this many times longer."""

    def __init__(self, factor: int) -> None:
        self.factor = factor


def _classes(formula: Formula, symbol: Symbol, first: int, step: int) -> list[Coefficients]:
    """The polynomial in q of each residue class, for the period at which every floor is one."""
    period = 1
    while period <= MAX_PERIOD:
        try:
            return [
                polynomial(formula, symbol, [step * (first + residue), step * period], _on_class)
                for residue in range(period)
            ]
        except _NeedsPeriodError as needs:
            period *= needs.factor
    raise NotPolynomialError


def _on_class(formula: Formula, arguments: list[Coefficients]) -> Coefficients:
    argument = arguments[0]
    if isinstance(formula, Floor):
        return _rounded_down(argument)
    if isinstance(formula, Ceiling):
        return _scaled(_rounded_down(_scaled(argument, -1)), -1)
    if isinstance(formula, Mod) and len(arguments[1]) == 1 and arguments[1][0] != 0:
        divisor = arguments[1][0]
        whole = _rounded_down(_scaled(argument, 1 / Fraction(divisor)))
        return _sum([argument, _scaled(whole, -divisor)])
    raise NotPolynomialError


def _rounded_down(argument: Coefficients) -> Coefficients:
    """The floor at every whole q: whole coefficients stay and the constant is rounded."""
    factor = lcm(*(coefficient.denominator for coefficient in argument[1:]))
    if factor > 1:
        raise _NeedsPeriodError(factor)
    return [argument[0] // 1, *argument[1:]]


def _scaled(found: Coefficients, factor: Exact) -> Coefficients:
    return [coefficient * factor for coefficient in found]


def _whole(found: Coefficients) -> list[int]:
    """A positive multiple with whole coefficients."""
    scale = lcm(*(coefficient.denominator for coefficient in found))
    return [int(coefficient * scale) for coefficient in found]


def nonnegative_runs(p: list[int], low: int, high: int | None) -> list[Interval]:
    """The integers from ``low`` to ``high`` at which a polynomial with whole coefficients is not negative.

    Between the sign changes of its difference p(x+1) - p(x), a polynomial of a lower degree, p is monotone on the
    integers, so that bisection finds the one change of its own sign.
    """
    runs = _Runs()
    if high is not None and high < low:
        return []
    if len(p) == 1:
        return [Interval(low, high)] if p[0] >= 0 else []
    for start, end, rising in _monotone(p, low, high):
        span = _in_monotone(p, start, end, rising)
        if span:
            runs.add(*span)
    return runs.found


def _monotone(p: list[int], low: int, high: int | None) -> Iterator[tuple[int, int | None, bool]]:
    """Consecutive pieces ``(start, end, rising)`` of the integers from ``low`` to ``high``."""
    start = low
    for rise in nonnegative_runs(_difference(p), low, None if high is None else high - 1):
        if start <= rise.low:
            yield start, rise.low, False
            start = rise.low + 1
        end = None if rise.high is None else rise.high + 1
        if end is None or start <= end:
            yield start, end, True
        if end is None:
            return
        start = end + 1
    if high is None or start <= high:
        yield start, high, False


def _difference(p: list[int]) -> list[int]:
    return [sum(comb(i, j) * p[i] for i in range(j + 1, len(p))) for j in range(len(p) - 1)]


def _in_monotone(p: list[int], start: int, end: int | None, rising: bool) -> tuple[int, int | None] | None:
    """Where p is not negative on a piece on which it only rises or only falls."""
    change = _first_change(p, start, end, rising)
    if rising:
        return None if change is None else (change, end)
    if change is None:
        return start, end
    return None if change == start else (start, change - 1)


def _first_change(p: list[int], start: int, end: int | None, rising: bool) -> int | None:
    """The first x at which a rising p is not negative, or a falling p negative; without end there always is one."""

    def changed(x: int) -> bool:
        return (_at(p, x) >= 0) == rising

    return first_where(changed, start, end)


def _at(p: list[int], x: int) -> int:
    value = 0
    for coefficient in reversed(p):
        value = value * x + coefficient
    return value


def coefficients(formula: Formula, symbol: Symbol) -> tuple[Fraction, ...] | None:
    """The exact coefficients, lowest degree first, of a polynomial in this symbol alone; None for anything else."""
    try:
        found = polynomial(formula, symbol, [0, 1], _no_function)
    except NotPolynomialError:
        return None
    return tuple(Fraction(coefficient) for coefficient in found)


class NotPolynomialError(Exception):
    """The expression is no polynomial of a degree up to MAX_DEGREE."""


def _no_function(_formula: Formula, _arguments: list[Coefficients]) -> Coefficients:
    raise NotPolynomialError


def polynomial(
    formula: Formula,
    symbol: Symbol,
    value: Coefficients,
    function: Callable[[Formula, list[Coefficients]], Coefficients],
) -> Coefficients:
    """The expression as a polynomial where ``symbol`` is the polynomial ``value``.

    ``function`` answers for a floor, ceiling, Mod, Min or Max with these arguments. Raises NotPolynomialError.
    """
    if isinstance(formula, Constant):
        return [formula.value]
    if formula == symbol:
        return value
    parts = [polynomial(child, symbol, value, function) for child in formula.children]
    if isinstance(formula, Sum):
        return _sum(parts)
    if isinstance(formula, Product):
        raised = [_power(part, exponent) for part, exponent in zip(parts, formula.exponents, strict=True)]
        return _product([[formula.coefficient], *raised])
    if not parts:
        raise NotPolynomialError
    return function(formula, parts)


def _power(base: Coefficients, exponent: int) -> Coefficients:
    if exponent < 0 and (len(base) > 1 or base[0] == 0):
        raise NotPolynomialError
    if len(base) == 1:
        return [Fraction(base[0]) ** exponent]
    return _product([base] * min(exponent, MAX_DEGREE + 1))


def _sum(parts: list[Coefficients]) -> Coefficients:
    found: Coefficients = [0] * max(map(len, parts))
    for part in parts:
        for degree, coefficient in enumerate(part):
            found[degree] += coefficient
    return _trimmed(found)


def _product(parts: list[Coefficients]) -> Coefficients:
    found: Coefficients = [1]
    for part in parts:
        longer: Coefficients = [0] * (len(found) + len(part) - 1)
        if len(longer) > MAX_DEGREE + 1:
            raise NotPolynomialError
        for i, a in enumerate(found):
            for j, b in enumerate(part):
                longer[i + j] += a * b
        found = longer
    return _trimmed(found)


def _trimmed(found: Coefficients) -> Coefficients:
    while len(found) > 1 and found[-1] == 0:
        found.pop()
    return found
