"""Formulas as sympy has them, which is how sizes are traced and passes annotate: built with care, and turned into ours."""

# pyright: reportMissingTypeStubs=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# sympy ships no type stubs: its own sources are its types.

from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any, cast

import sympy
from sympy import Add, Expr, Integer, Max, Min, Mod, Mul, Pow, Rational, ceiling, floor
from sympy.core.function import AppliedUndef

from fxcost.errors import FxcostError
from fxcost.formulas import algebra
from fxcost.formulas.algebra import Formula
from fxcost.formulas.parsing import symbol as checked
from fxcost.formulas.ranges.domain import Condition, Relation
from fxcost.formulas.ranges.interval_arithmetic import Ends, settle

Function = Callable[..., Expr]

TOUCHED: Function = sympy.Function(algebra.Touched.__name__)
"""Of so many things the expected number that are touched, when each of so many rows picks some of them."""

_ROUNDING: tuple[Function, ...] = (floor, ceiling)
_UNEVALUATED: tuple[Function, ...] = (Mod, Min, Max)
_KINDS: tuple[tuple[Any, Callable[..., Formula]], ...] = (
    (Add, algebra.add),
    (Mul, algebra.multiply),
    (floor, algebra.floor),
    (ceiling, algebra.ceiling),
    (Mod, algebra.mod),
    (Min, algebra.least_of),
    (Max, algebra.greatest_of),
)


def symbol(name: str) -> sympy.Symbol:
    """The positive whole size of this name; raises FxcostError unless the name is a plain ASCII identifier."""
    return cast(sympy.Symbol, checked(name).sympy())


@lru_cache(maxsize=16384)
def from_sympy(expr: Expr) -> Formula:
    """The formula that an expression is; raises FxcostError for one that would not be exact, or has a size not positive and whole."""
    if isinstance(expr, Rational):
        return algebra.Constant(Fraction(int(expr.p), int(expr.q)))
    if isinstance(expr, sympy.Symbol):
        return algebra.Symbol(expr.name)
    if isinstance(expr, Pow) and isinstance(expr.exp, Integer):
        return algebra.power(from_sympy(expr.base), int(expr.exp))
    if isinstance(expr, AppliedUndef) and expr.func.__name__ == algebra.Touched.__name__:
        try:
            return algebra.touched(*map(from_sympy, cast(tuple[Expr, ...], expr.args)))
        except (TypeError, ValueError) as error:
            raise FxcostError(str(error)) from error
    for kind, build in _KINDS:
        if isinstance(expr, kind):
            return build(*map(from_sympy, cast(tuple[Expr, ...], expr.args)))
    raise FxcostError(f"a cost expression cannot hold {type(expr).__name__}: its value would not be exact")


def apply(function: Function, *arguments: Expr) -> Expr:
    """The function of these arguments, which must be built here and not by sympy's own floor, ceiling, Mod, Min or Max.

    Mod, Min and Max of symbols stay as written: sympy would factor and compare their arguments without a bound on time,
    and sympy 1.14 makes 1 of ``Min(1/(x*y), 1)``. Raises ZeroDivisionError where sympy would answer with an infinity.
    """
    first, last = arguments[0], arguments[-1]
    if (function is Pow and first == 0 and last.is_negative) or (function is Mod and last == 0):
        raise ZeroDivisionError
    if function in _UNEVALUATED and not all(isinstance(argument, Rational) for argument in arguments):
        return function(*arguments, evaluate=False)
    if function in _ROUNDING:
        return _rounded(function, first)
    return function(*arguments)


def _rounded(function: Function, argument: Expr) -> Expr:
    """A floor or ceiling with its whole terms taken out.

    sympy's own constructors are slow, try floating point, and trust ``is_integer``, which sympy 1.14 answers with True
    for ``y*(2*x + 64)/6``.
    """
    terms = Add.make_args(argument)
    whole = [term for term in terms if from_sympy(term).is_whole]
    rest = argument if not whole else Add(*(term for term in terms if not from_sympy(term).is_whole))
    rounded = function(rest) if isinstance(rest, Rational) else function(rest, evaluate=False)
    return Add(rounded, *whole)


def condition(left: Expr, relation: Relation, right: Expr, where: str = "") -> Condition:
    """A condition between expressions."""
    return Condition(from_sympy(left), relation, from_sympy(right), where)


def settled(expr: Expr, ends: Ends) -> Expr:
    """As `settle`, of an expression."""
    if not expr.has(Min, Max):
        return expr
    formula = from_sympy(expr)
    found = settle(formula, ends)
    return expr if found is formula else found.sympy()
