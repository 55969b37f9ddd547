"""Where formulas hold: a symbol's range, and the relations between sizes that the model was traced under."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# sympy and torch are typed in part.

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import sympy

from fxcost.errors import FxcostError
from fxcost.evaluation import apply, evaluate
from fxcost.expressions import to_pretty

Relation = Literal["==", "!=", ">=", ">"]


@dataclass(frozen=True)
class SymbolRange:
    """The sizes a symbol may take: positive integers from ``low`` to ``high``, multiples of ``multiple_of``."""

    low: int = 1
    high: int | None = None
    multiple_of: int = 1

    def refusal(self, name: str, size: int) -> str | None:
        """Why ``size`` is outside the range, or None."""
        if size < self.low:
            return f"{name}={size} is below {self.low}, the smallest {name} these formulas hold for"
        if self.high is not None and size > self.high:
            return f"{name}={size} is above {self.high}, the largest {name} these formulas hold for"
        if size % self.multiple_of:
            return f"{name}={size} is not a multiple of {self.multiple_of}, which these formulas assume of {name}"
        return None

    def __str__(self) -> str:
        upper = "or more" if self.high is None else f"to {self.high}"
        multiple = f", a multiple of {self.multiple_of}" if self.multiple_of > 1 else ""
        return f"{self.low} {upper}{multiple}"


@dataclass(frozen=True)
class Pinned:
    """A size that the model or the user holds fixed, and the place or reason."""

    value: int
    where: str


@dataclass(frozen=True)
class Condition:
    """A relation between sizes that held when the model was traced; elsewhere the model may run other operators."""

    left: sympy.Expr
    relation: Relation
    right: sympy.Expr
    where: str = field(default="", compare=False)
    """The line of the user's code that asked for it."""

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Whether the relation is true at these sizes."""
        difference = evaluate(self.left - self.right, sizes)
        return {"==": difference == 0, "!=": difference != 0, ">=": difference >= 0, ">": difference > 0}[self.relation]

    def implied(self, lows: Mapping[str, int]) -> bool:
        """Whether the relation is true at every size from ``lows`` up, as far as a bound on each term can tell."""
        difference = settle(self.left, lows) - settle(self.right, lows)
        if self.relation == "==":
            return difference == 0
        above = lower_bound(difference, lows)
        below = lower_bound(-difference, lows)
        if self.relation == ">=":
            return above is not None and above >= 0
        if self.relation == ">":
            return above is not None and above > 0
        return (above is not None and above > 0) or (below is not None and below > 0)

    def __str__(self) -> str:
        sign = {"==": "=", "!=": "≠", ">=": "≥", ">": ">"}[self.relation]
        return f"{to_pretty(self.left)} {sign} {to_pretty(self.right)}"


def lower_bound(expr: sympy.Expr, lows: Mapping[str, int]) -> Fraction | None:
    """A number that ``expr`` never falls below when each symbol is at least ``lows``; None when none is found.

    Interval arithmetic on the lower ends: sums add, products of non-negative factors multiply, floors round down.
    """
    if expr.is_Rational:
        return Fraction(int(expr.p), int(expr.q))  # pyright: ignore[reportAttributeAccessIssue]  # numbers have p, q
    if isinstance(expr, sympy.Symbol):
        return Fraction(lows.get(expr.name, 1))
    bounds = [lower_bound(argument, lows) for argument in expr.args]  # pyright: ignore[reportArgumentType]
    known = [b for b in bounds if b is not None]
    if len(known) < len(bounds):
        return max(known) if isinstance(expr, sympy.Max) and known else None
    if isinstance(expr, sympy.Add):
        return sum(known, Fraction(0))
    if isinstance(expr, sympy.Mul) and min(known) >= 0:
        product = Fraction(1)
        for bound in known:
            product *= bound
        return product
    if isinstance(expr, sympy.Pow) and known[0] >= 0 and expr.exp.is_Integer and expr.exp.is_positive:
        return known[0] ** int(expr.exp)
    if isinstance(expr, sympy.floor):
        return Fraction(known[0].__floor__())
    if isinstance(expr, sympy.ceiling):
        return Fraction(known[0].__ceil__())
    if isinstance(expr, (sympy.Max, sympy.Min)):
        return max(known) if isinstance(expr, sympy.Max) else min(known)
    return None


def settle(expr: sympy.Expr, lows: Mapping[str, int]) -> sympy.Expr:
    """The same size without the arguments of a Min or Max that never win when each symbol is at least ``lows``."""
    if not expr.has(sympy.Min, sympy.Max):
        return expr
    arguments = [settle(argument, lows) for argument in expr.args]  # pyright: ignore[reportArgumentType]
    if isinstance(expr, (sympy.Min, sympy.Max)):
        sign = 1 if isinstance(expr, sympy.Min) else -1
        for argument in list(arguments):
            rivals = [other for other in arguments if other is not argument]
            if any(_never_negative(sign * (argument - other), lows) for other in rivals):
                arguments.remove(argument)
        if len(arguments) == 1:
            return arguments[0]
    return apply(type(expr), *arguments)


def _never_negative(expr: sympy.Expr, lows: Mapping[str, int]) -> bool:
    bound = lower_bound(expr, lows)
    return bound is not None and bound >= 0


def direction(expr: sympy.Expr) -> int | None:
    """1 where ``expr`` never falls as its symbols grow, -1 where it never rises, 0 for a number, None when not told.

    Factors are taken to be non-negative, as sizes are.
    """
    if expr.is_number:
        return 0
    if isinstance(expr, sympy.Symbol):
        return 1
    if isinstance(expr, sympy.Mul):
        coefficient, rest = expr.as_coeff_mul()
        ways = {direction(factor) for factor in rest}
        return (1 if coefficient.is_positive else -1) if ways == {1} else None
    if isinstance(expr, sympy.Pow):
        return direction(expr.base) if expr.exp.is_Integer and expr.exp.is_positive else None
    if isinstance(expr, (sympy.Add, sympy.floor, sympy.ceiling, sympy.Max, sympy.Min)):
        ways = {direction(argument) for argument in expr.args} - {0}  # pyright: ignore[reportArgumentType]
        return ways.pop() if len(ways) == 1 else None
    return None


LARGEST_SIZE = 2**40
"""Where the search for the largest size that a condition allows ends."""


def tighten(
    ranges: dict[str, SymbolRange], conditions: list[Condition]
) -> tuple[dict[str, SymbolRange], tuple[Condition, ...]]:
    """Turn conditions on one symbol, such as ``S > 1`` or ``H mod 32 = 0``, into its range; drop what ranges imply."""
    left: list[Condition] = []
    for condition in conditions:
        free = {s.name for s in (condition.left - condition.right).free_symbols}  # pyright: ignore[reportAttributeAccessIssue]
        name = free.pop() if len(free) == 1 else ""
        narrowed = _narrowed(ranges[name], condition, name) if name in ranges else None
        if narrowed is not None:
            ranges[name] = narrowed
        else:
            left.append(condition)
    lows = {name: each.low for name, each in ranges.items()}
    return ranges, tuple(condition for condition in left if not condition.implied(lows))


def _narrowed(old: SymbolRange, condition: Condition, name: str) -> SymbolRange | None:
    """The range with the condition made part of it; None when a range cannot say it."""
    difference = condition.left - condition.right
    if condition.relation == "==":
        return _of_equality(old, condition, name)
    if condition.relation == "!=":
        return (
            SymbolRange(old.low + 1, old.high, old.multiple_of) if _differs_only_at(difference, name, old.low) else None
        )
    way = direction(difference)
    if way == 1:
        low = _first(lambda size: condition.holds({name: size}), old.low)
        return SymbolRange(low, old.high, old.multiple_of)
    if way == -1 and condition.holds({name: old.low}):
        high = _first(lambda size: not condition.holds({name: size}), old.low) - 1
        return SymbolRange(old.low, high if old.high is None else min(high, old.high), old.multiple_of)
    return None


def _differs_only_at(difference: sympy.Expr, name: str, low: int) -> bool:
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
    left, right = sorted((condition.left, condition.right), key=lambda side: isinstance(side, (sympy.Min, sympy.Mod)))
    if left == right:
        return old
    if isinstance(right, sympy.Min) and str(left) == name and left in right.args:
        bounds = [int(str(bound)) for bound in right.args if bound.is_Integer]
        highs = [*bounds, *([] if old.high is None else [old.high])]
        return SymbolRange(old.low, min(highs), old.multiple_of) if len(bounds) == len(right.args) - 1 else None
    if left == 0 and isinstance(right, sympy.Mod) and str(right.args[0]) == name and right.args[1].is_Integer:
        together = int(sympy.ilcm(old.multiple_of, int(right.args[1])))  # pyright: ignore[reportArgumentType]
        return SymbolRange(-(-old.low // together) * together, old.high, together)
    return None


def check_sizes(
    sizes: Mapping[str, int],
    symbols: Mapping[str, SymbolRange],
    conditions: tuple[Condition, ...],
    fixed: Mapping[str, int],
) -> None:
    """Refuse sizes where formulas don't hold, naming the symbol, the bound and who set it."""
    for name, size in sizes.items():
        if name in fixed:
            if fixed[name] != size:
                raise FxcostError(
                    f"{name}={size}: {name} is fixed at {fixed[name]} in these formulas; trace again for another size"
                )
        elif name not in symbols:
            known = ", ".join([*symbols, *fixed]) or "none"
            raise FxcostError(f"{name}={size}: these formulas have no symbol {name}; they have {known}")
        elif why := symbols[name].refusal(name, size):
            raise FxcostError(why)
    missing = [name for name in symbols if name not in sizes]
    if missing:
        raise FxcostError(f"no size is given for {', '.join(missing)}; add {','.join(f'{m}=…' for m in missing)}")
    for condition in conditions:
        if not condition.holds(sizes):
            at = ", ".join(f"{name}={sizes[name]}" for name in symbols)
            place = f" (asked for by {condition.where})" if condition.where else ""
            raise FxcostError(f"at {at} these formulas do not hold: they were traced where {condition}{place}")
