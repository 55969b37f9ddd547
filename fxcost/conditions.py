"""Where formulas hold: a symbol's range, and the relations between sizes that the model was traced under."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import sympy

from fxcost.errors import FxcostError
from fxcost.evaluation import evaluate
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
        upper = "" if self.high is None else f" ≤ {self.high}"
        multiple = "" if self.multiple_of == 1 else f", a multiple of {self.multiple_of}"
        return f"{self.low} ≤{upper}{multiple}" if not upper else f"{self.low} to {self.high}{multiple}"


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
        difference = self.left - self.right
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
                raise FxcostError(f"{name}={size}: {name} is fixed at {fixed[name]} in these formulas; trace again for another size")
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
