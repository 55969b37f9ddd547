"""Between which numbers a size lies when its symbols do, and which way it grows with them."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# sympy and torch are typed in part.

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import sympy

from fxcost.formulas.evaluation import MAX_EXPANDED_TERMS, apply, expanded_terms

Span = tuple[Fraction | None, Fraction | None]
"""The ends between which a size lies, both included; None where there is none, or none is found."""
Ends = Mapping[str, tuple[int, int | None]]
"""The least and the greatest size of each symbol; 1 is the least of a symbol that is not named."""
ANY: Span = (None, None)


def span(expr: sympy.Expr, ends: Ends) -> Span:
    """Two numbers that ``expr`` never leaves: interval arithmetic, products of what is not negative alone."""
    if expr.is_Rational:
        number = Fraction(int(expr.p), int(expr.q))  # pyright: ignore[reportAttributeAccessIssue]  # numbers have p, q
        return number, number
    if isinstance(expr, sympy.Symbol):
        low, high = ends.get(expr.name, (1, None))
        return Fraction(low), None if high is None else Fraction(high)
    if isinstance(expr, sympy.Mod):
        return Fraction(0), _below(expr.args[1])  # pyright: ignore[reportArgumentType]
    inner = [span(argument, ends) for argument in expr.args]  # pyright: ignore[reportArgumentType]
    lows, highs = [low for low, _ in inner], [high for _, high in inner]
    match expr:
        case sympy.Add():
            return _sum(lows), _sum(highs)
        case sympy.Mul():
            return _product(*expr.as_coeff_mul(), ends)
        case sympy.Pow() if expr.exp.is_Integer and expr.exp.is_positive and _not_negative(lows[:1]):
            power = int(expr.exp)
            return tuple(None if end is None else end**power for end in inner[0])  # pyright: ignore[reportReturnType]
        case sympy.floor() | sympy.ceiling():
            whole = math.floor if isinstance(expr, sympy.floor) else math.ceil
            return tuple(None if end is None else Fraction(whole(end)) for end in inner[0])  # pyright: ignore[reportReturnType]
        case sympy.Max():
            return max(_known(lows), default=None), None if None in highs else max(_known(highs))
        case sympy.Min():
            return None if None in lows else min(_known(lows)), min(_known(highs), default=None)
        case _:
            return ANY


def _below(divisor: sympy.Expr) -> Fraction | None:
    return Fraction(int(divisor) - 1) if divisor.is_Integer else None


def _known(ends: Sequence[Fraction | None]) -> list[Fraction]:
    return [end for end in ends if end is not None]


def _not_negative(lows: Sequence[Fraction | None]) -> bool:
    return all(low is not None and low >= 0 for low in lows)


def _sum(ends: Sequence[Fraction | None]) -> Fraction | None:
    return None if None in ends else sum(_known(ends), Fraction(0))


def _product(coefficient: sympy.Expr, factors: Sequence[sympy.Expr], ends: Ends) -> Span:
    inner = [span(factor, ends) for factor in factors]
    lows, highs = [low for low, _ in inner], [high for _, high in inner]
    if len(inner) > 1 and not _not_negative(lows):
        return ANY
    times = Fraction(int(coefficient.p), int(coefficient.q))  # pyright: ignore[reportAttributeAccessIssue]
    low = None if None in lows else times * math.prod(_known(lows))
    high = None if None in highs else times * math.prod(_known(highs))
    return (low, high) if times > 0 else (high, low)


def least(expr: sympy.Expr, ends: Ends) -> Fraction | None:
    """A number that ``expr`` never falls below; None when none is found.

    Beside the span, which takes each term for itself, the polynomial is looked at in how far each size is above its
    least: ``B·S − B`` is ``b·s + s`` for B = b + 1 and S = s + 1, and never negative.
    """
    lows = [low for low in (span(expr, ends)[0], _of_shifted(expr, ends)) if low is not None]
    return max(lows, default=None)


def _of_shifted(expr: sympy.Expr, ends: Ends) -> Fraction | None:
    if expanded_terms(expr) > MAX_EXPANDED_TERMS:
        return None
    shifts: dict[sympy.Expr, sympy.Expr] = {}
    shifted = _shifted(expr, ends, shifts)
    if shifted is None:
        return None
    constant, rest = sympy.expand(shifted).as_coeff_add()
    if any(term.as_coeff_Mul()[0].is_negative for term in rest):
        return None
    return Fraction(int(constant.p), int(constant.q))  # pyright: ignore[reportAttributeAccessIssue]  # numbers have p, q


def _shifted(expr: sympy.Expr, ends: Ends, shifts: dict[sympy.Expr, sympy.Expr]) -> sympy.Expr | None:
    """The expression with each size told as its least and what is more, or as its greatest and what is less."""
    if expr.is_Rational or expr in shifts:
        return shifts.get(expr, expr)
    is_power = isinstance(expr, sympy.Pow) and expr.exp.is_Integer and expr.exp.is_positive
    if isinstance(expr, (sympy.Add, sympy.Mul)) or is_power:
        found = [_shifted(argument, ends, shifts) for argument in expr.args]  # pyright: ignore[reportArgumentType]
        parts = [part for part in found if part is not None]
        return expr.func(*parts) if len(parts) == len(found) else None
    low, high = span(expr, ends)
    if low is None and high is None:
        return None
    end, more = (low, sympy.Dummy()) if low is not None else (high, -sympy.Dummy())
    shifts[expr] = sympy.Rational(end.numerator, end.denominator) + more  # pyright: ignore[reportOptionalMemberAccess]
    return shifts[expr]


def settle(expr: sympy.Expr, ends: Ends) -> sympy.Expr:
    """The same size without the arguments of a Min or Max that never win when the symbols lie between ``ends``."""
    if not expr.has(sympy.Min, sympy.Max):
        return expr
    arguments = [settle(argument, ends) for argument in expr.args]  # pyright: ignore[reportArgumentType]
    if isinstance(expr, (sympy.Min, sympy.Max)):
        sign = 1 if isinstance(expr, sympy.Min) else -1
        for argument in list(arguments):
            rivals = [other for other in arguments if other is not argument]
            if any(_not_negative([span(sign * (argument - other), ends)[0]]) for other in rivals):
                arguments.remove(argument)
        if len(arguments) == 1:
            return arguments[0]
    return apply(type(expr), *arguments)


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
