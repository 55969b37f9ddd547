"""Exact arithmetic on cost expressions: evaluate, substitute and sum; no floats, no expansion."""

# pyright: reportMissingTypeStubs=false
# sympy ships no type stubs: its own sources are its types.

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from functools import lru_cache, partial
from math import lcm, prod
from operator import itemgetter
from typing import Any, cast

from sympy import Add, Dummy, Expr, Integer, Max, Min, Mod, Mul, Pow, Rational, Symbol, ceiling, floor

from fxcost.errors import FxcostError

ExactNumber = int | Fraction
Point = Mapping[str, int]
Function = Callable[..., Expr]

MAX_EXPANDED_TERMS = 64
_PRODUCTS_ONLY = {"power_base": False, "power_exp": False, "multinomial": False, "log": False, "basic": False}
_ROUNDING: tuple[Function, ...] = (floor, ceiling)
_UNEVALUATED: tuple[Function, ...] = (Mod, Min, Max)


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
    whole = [term for term in terms if is_whole(term)]
    rest = argument if not whole else Add(*(term for term in terms if not is_whole(term)))
    rounded = function(rest) if isinstance(rest, Rational) else function(rest, evaluate=False)
    return Add(rounded, *whole)


def is_whole(expr: Expr) -> bool:
    """Whether every part is an integer, so that the value is one at all sizes; False says nothing."""
    if isinstance(expr, Integer | floor | ceiling):
        return True
    if isinstance(expr, Symbol):
        return bool(expr.is_integer)
    if isinstance(expr, Pow):
        return is_whole(expr.base) and isinstance(expr.exp, Integer) and bool(expr.exp.is_positive)
    return isinstance(expr, Add | Mul | Mod | Min | Max) and all(map(is_whole, cast(tuple[Expr, ...], expr.args)))


def split_coefficient(term: Expr) -> tuple[Rational, Expr]:
    """The rational coefficient of a product and the product of its other factors."""
    return cast(tuple[Rational, Expr], term.as_coeff_Mul(rational=True))


def as_quotient(expr: Expr) -> tuple[Expr, int]:
    """``(p, q)`` with ``expr = p / q``, q the least common denominator of the terms' coefficients."""
    terms = [split_coefficient(term) for term in Add.make_args(expr)]
    q = lcm(*(coefficient.q for coefficient, _ in terms))
    if q == 1:
        return expr, 1
    return Add(*(Mul(coefficient * q, rest) for coefficient, rest in terms)), q


def evaluate(expr: Expr, sizes: Point) -> ExactNumber:
    """The value at these sizes: an int where it is whole, else a Fraction; errors as ``compile_expression``."""
    return compile_expression(expr)(sizes)


@lru_cache(maxsize=16384)
def compile_expression(expr: Expr) -> Callable[[Point], ExactNumber]:
    """A function from sizes to the exact value, built once per expression.

    The function raises FxcostError for a symbol without a size, a size that is not a positive int, and a division by
    zero. Building it raises FxcostError for anything but sums, products, whole powers, floor, ceiling, Mod, Min and Max
    of rationals and symbols.
    """
    body = _compiled(expr)
    names = symbol_names(expr)

    def value(sizes: Point) -> ExactNumber:
        _check(names, sizes)
        try:
            return _lowest(body(sizes))
        except ZeroDivisionError:
            at = ", ".join(f"{name}={sizes[name]}" for name in names)
            raise FxcostError(f"a cost expression divides by zero at {at}") from None

    return value


def symbol_names(expr: Expr) -> tuple[str, ...]:
    """The names of the symbols in an expression, sorted."""
    return tuple(sorted(cast(Symbol, free).name for free in expr.free_symbols))


def _check(names: Iterable[str], sizes: Point) -> None:
    for name in names:
        size = sizes.get(name)
        if size is None:
            missing = ", ".join(other for other in names if other not in sizes)
            raise FxcostError(f"no size given for {missing}; give one such as {name}=8")
        if type(size) is not int or size < 1:
            raise FxcostError(f"{name}={size!r} is not a size: sizes are positive integers")


def _lowest(value: ExactNumber) -> ExactNumber:
    return value.numerator if value.denominator == 1 else value


def _compiled(expr: Expr) -> Callable[[Point], ExactNumber]:
    if isinstance(expr, Rational):
        number = rational(expr)
        return lambda _: number
    if isinstance(expr, Symbol):
        return itemgetter(expr.name)
    if isinstance(expr, Add | Mul):
        return _compiled_ratio(expr)
    if isinstance(expr, floor | ceiling):
        return _compiled_rounding(expr)
    return _compiled_call(expr)


def _compiled_call(expr: Expr) -> Callable[[Point], ExactNumber]:
    if not isinstance(expr, Mod | Min | Max) and not (isinstance(expr, Pow) and isinstance(expr.exp, Integer)):
        raise FxcostError(f"a cost expression cannot hold {type(expr).__name__}: its value would not be exact")
    parts = [_compiled(argument) for argument in cast(tuple[Expr, ...], expr.args)]
    if isinstance(expr, Min | Max):
        choose = min if isinstance(expr, Min) else max
        return lambda sizes: choose([part(sizes) for part in parts])
    first, second = parts
    if isinstance(expr, Mod):
        return lambda sizes: first(sizes) % second(sizes)
    exponent = int(cast(Integer, expr.exp))
    if exponent < 0:
        return lambda sizes: Fraction(first(sizes)) ** exponent
    return lambda sizes: first(sizes) ** exponent


def _compiled_rounding(expr: floor | ceiling) -> Callable[[Point], ExactNumber]:
    p, q = as_quotient(expr.args[0])
    inner = _compiled(p)
    if isinstance(expr, floor):
        return lambda sizes: inner(sizes) // q
    return lambda sizes: -(-inner(sizes) // q)


def _compiled_ratio(expr: Expr) -> Callable[[Point], ExactNumber]:
    """A sum or product as whole numbers over one denominator, so that only the last step can need a Fraction."""
    p, q = as_quotient(expr)
    if q != 1:
        numerator = _compiled(p)
        return lambda sizes: Fraction(numerator(sizes), q)
    parts = [_compiled(cast(Expr, argument)) for argument in expr.args]
    combine = sum if isinstance(expr, Add) else prod
    return lambda sizes: combine([part(sizes) for part in parts])


def rational(value: Rational) -> ExactNumber:
    """The same number as an int or a Fraction."""
    return _lowest(Fraction(int(value.p), int(value.q)))


def substitute(expr: Expr, sizes: Point) -> Expr:
    """The expression with these symbols replaced by numbers; raises FxcostError for a wrong size or a zero divisor."""
    return _replaced(expr, {free: Integer(sizes[free.name]) for free in _named(expr, sizes)}, apply)


def assume_multiple(expr: Expr, multiples: Point) -> Expr:
    """The expression where each named size is a multiple of the number given: ``⌊(H−1)/32⌋ + 1`` is ``H/32``.

    Equal to ``expr`` at every such size; at others it may differ. Errors as ``substitute``.
    """
    counts = {free: Dummy(free.name, integer=True, positive=True) for free in _named(expr, multiples)}
    down = {free: Mul(multiples[free.name], count) for free, count in counts.items()}
    up = {count: Mul(Rational(1, multiples[free.name]), free) for free, count in counts.items()}
    return _replaced(_replaced(expr, down, _reduced), up, apply)


def _named(expr: Expr, sizes: Point) -> list[Symbol]:
    """The symbols of an expression that have a size."""
    named = [free for free in cast(set[Symbol], expr.free_symbols) if free.name in sizes]
    _check(sorted(free.name for free in named), sizes)
    return named


def _replaced(expr: Expr, leaves: Mapping[Any, Expr], build: Function) -> Expr:
    try:
        return _rebuilt(expr, leaves, build)
    except ZeroDivisionError:
        at = ", ".join(f"{old.name}={new}" for old, new in leaves.items())
        raise FxcostError(f"a cost expression divides by zero at {at}") from None


def _rebuilt(expr: Expr, leaves: Mapping[Any, Expr], build: Function) -> Expr:
    if not expr.args:
        return leaves.get(expr, expr)
    old = cast(tuple[Expr, ...], expr.args)
    new = [_rebuilt(argument, leaves, build) for argument in old]
    if all(a is b for a, b in zip(old, new, strict=True)):
        return expr
    return build(cast(Function, expr.func), *new)


def _reduced(function: Function, *arguments: Expr) -> Expr:
    """As ``apply``, with whole terms taken out of a floor, ceiling or Mod even where they show only multiplied out."""
    if function not in (floor, ceiling, Mod):
        return apply(function, *arguments)
    argument, divisor = arguments[0], arguments[1] if function is Mod else Integer(1)
    step = apply(Pow, divisor, Integer(-1))
    if is_whole(Mul(argument, step)):
        return Integer(0) if function is Mod else argument
    terms = [expanded for term in Add.make_args(argument) for expanded in Add.make_args(_multiplied_out(term))]
    whole = [is_whole(Mul(term, step)) for term in terms]
    if not any(whole):
        return apply(function, *arguments)
    rest = Add(*(term for term, is_whole in zip(terms, whole, strict=True) if not is_whole))
    if function is Mod:
        return apply(Mod, rest, divisor)
    return Add(apply(function, rest), *(term for term, is_whole in zip(terms, whole, strict=True) if is_whole))


def _multiplied_out(term: Expr) -> Expr:
    if not isinstance(term, Mul) or expanded_terms(term) > MAX_EXPANDED_TERMS:
        return term
    return cast(Expr, term.expand(deep=False, **_PRODUCTS_ONLY))  # pyright: ignore[reportUnknownMemberType]  # untyped


def expanded_terms(expr: Expr) -> int:
    """How many terms multiplying out would give, without doing it."""
    if isinstance(expr, Add):
        return sum(expanded_terms(term) for term in expr.args)
    if isinstance(expr, Mul):
        return prod(expanded_terms(factor) for factor in expr.args)
    return 1


def total(exprs: Iterable[Expr]) -> Expr:
    """The sum as monomials: equal products of symbols, floors and sums are gathered, and nothing is expanded."""
    gathered: defaultdict[Expr, Expr] = defaultdict(partial(Integer, 0))
    for expr, count in Counter(exprs).items():
        for coefficient, factors in _monomials(expr):
            gathered[factors] += coefficient * count
    return Add(*(Mul(coefficient, factors) for factors, coefficient in gathered.items()))


@lru_cache(maxsize=16384)
def _monomials(expr: Expr) -> tuple[tuple[Rational, Expr], ...]:
    return tuple(split_coefficient(term) for term in Add.make_args(expr))
