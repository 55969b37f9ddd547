"""Where formulas hold: a symbol's range, and the relations between sizes that the model was traced under."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# sympy and torch are typed in part.

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import sympy

from fxcost.errors import FxcostError
from fxcost.evaluation import evaluate
from fxcost.expressions import to_pretty
from fxcost.spans import Ends, direction, settle, span

Relation = Literal["==", "!=", ">=", ">"]


@dataclass(frozen=True)
class SymbolRange:
    """The sizes a symbol may take: positive integers from ``low`` to ``high``, multiples of ``multiple_of``."""

    low: int = 1
    high: int | None = None
    multiple_of: int = 1

    @property
    def ends(self) -> tuple[int, int | None]:
        """The least and the greatest size."""
        return self.low, self.high

    @property
    def smallest(self) -> int:
        """The least size that is a multiple as asked for, which a range without a size lacks."""
        return -(-self.low // self.multiple_of) * self.multiple_of

    @property
    def is_empty(self) -> bool:
        """Whether no size is within the range."""
        return self.high is not None and self.smallest > self.high

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

    @property
    def names(self) -> frozenset[str]:
        """The symbols that it is about."""
        return frozenset(str(free) for side in (self.left, self.right) for free in side.free_symbols)

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Whether the relation is true at these sizes."""
        difference = evaluate(self.left - self.right, sizes)
        return {"==": difference == 0, "!=": difference != 0, ">=": difference >= 0, ">": difference > 0}[self.relation]

    def implied(self, ends: Ends) -> bool:
        """Whether the relation is true at every size between ``ends``, as far as a bound on each term can tell."""
        low, high = span(settle(self.left, ends) - settle(self.right, ends), ends)
        if self.relation == "==":
            return low == high == 0
        if self.relation == ">=":
            return low is not None and low >= 0
        if self.relation == ">":
            return low is not None and low > 0
        return (low is not None and low > 0) or (high is not None and high < 0)

    def __str__(self) -> str:
        sign = {"==": "=", "!=": "≠", ">=": "≥", ">": ">"}[self.relation]
        return f"{to_pretty(self.left)} {sign} {to_pretty(self.right)}"


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
    ends = {name: each.ends for name, each in ranges.items()}
    told = {frozenset((c.left, c.right)) if c.relation in ("==", "!=") else c: c for c in reversed(left)}
    return ranges, tuple(c for c in reversed(told.values()) if not c.implied(ends))


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
    return _between_equals(old, left - right, name)


def _between_equals(old: SymbolRange, difference: sympy.Expr, name: str) -> SymbolRange | None:
    """The sizes from the first to the last at which what never falls, or never rises, is 0."""
    way = direction(difference)
    if way not in (1, -1):
        return None
    reached = _first(lambda size: way * evaluate(difference, {name: size}) >= 0, old.low)
    passed = _first(lambda size: way * evaluate(difference, {name: size}) > 0, reached)
    high = passed - 1 if old.high is None else min(passed - 1, old.high)
    return SymbolRange(reached, high, old.multiple_of) if reached <= high < LARGEST_SIZE else None


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
