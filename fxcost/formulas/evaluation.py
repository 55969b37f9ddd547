"""Exact arithmetic on formulas: evaluate, substitute and sum; no floats, no expansion."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from functools import lru_cache
from math import prod
from operator import itemgetter

from fxcost.errors import FxcostError
from fxcost.formulas.algebra import (
    ONE,
    ZERO,
    Constant,
    Exact,
    Floor,
    Formula,
    Min,
    Mod,
    Product,
    Rounding,
    Sum,
    Symbol,
    Touched,
    add,
    as_quotient,
    mod,
    multiply,
    power,
    replaced,
    terms_of,
    touched_of,
)

Point = Mapping[str, int]

MAX_EXPANDED_TERMS = 64


def evaluate(formula: Formula, sizes: Point) -> Exact:
    """The value at these sizes: an int where it is whole, else a Fraction; errors as ``compile_formula``."""
    return compile_formula(formula)(sizes)


@lru_cache(maxsize=16384)
def compile_formula(formula: Formula) -> Callable[[Point], Exact]:
    """A function from sizes to the exact value, built once per formula.

    The function raises FxcostError for a symbol without a size, a size that is not a positive int, and a division by
    zero.
    """
    body = _compiled(formula)
    names = symbol_names(formula)

    def value(sizes: Point) -> Exact:
        check_point(names, sizes)
        try:
            found = body(sizes)
        except ZeroDivisionError:
            at = ", ".join(f"{name}={sizes[name]}" for name in names)
            raise FxcostError(f"a cost expression divides by zero at {at}") from None
        return found.numerator if found.denominator == 1 else found

    return value


def symbol_names(formula: Formula) -> tuple[str, ...]:
    """The names of the symbols in a formula, sorted."""
    return tuple(sorted(formula.names))


def check_point(names: Iterable[str], sizes: Point) -> None:
    """Raise FxcostError unless each of the names has a size, a positive int."""
    for name in names:
        size = sizes.get(name)
        if size is None:
            missing = ", ".join(other for other in names if other not in sizes)
            raise FxcostError(f"no size given for {missing}; give one such as {name}=8")
        if type(size) is not int or size < 1:
            raise FxcostError(f"{name}={size!r} is not a size: sizes are positive integers")


def _compiled(formula: Formula) -> Callable[[Point], Exact]:
    if isinstance(formula, Constant):
        number = formula.value
        return lambda _: number
    if isinstance(formula, Symbol):
        return itemgetter(formula.name)
    if isinstance(formula, Sum | Product):
        return _compiled_ratio(formula)
    if isinstance(formula, Rounding):
        return _compiled_rounding(formula)
    parts = [_compiled(child) for child in formula.children]
    if isinstance(formula, Mod):
        first, second = parts
        return lambda sizes: first(sizes) % second(sizes)
    if isinstance(formula, Touched):
        things, picked, rows = parts
        return lambda sizes: touched_of(int(things(sizes)), int(picked(sizes)), rows(sizes))
    choose = min if isinstance(formula, Min) else max
    return lambda sizes: choose([part(sizes) for part in parts])


def _compiled_rounding(formula: Rounding) -> Callable[[Point], Exact]:
    p, q = as_quotient(formula.children[0])
    inner = _compiled(p)
    if isinstance(formula, Floor):
        return lambda sizes: inner(sizes) // q
    return lambda sizes: -(-inner(sizes) // q)


def _compiled_ratio(formula: Sum | Product) -> Callable[[Point], Exact]:
    """A sum or product as whole numbers over one denominator, so that only the last step can need a Fraction."""
    p, q = as_quotient(formula)
    if q != 1:
        numerator = _compiled(p)
        return lambda sizes: Fraction(numerator(sizes), q)
    if isinstance(formula, Sum):
        terms = [_compiled(term) for term in formula.children]
        return lambda sizes: sum([term(sizes) for term in terms])
    factors = [_compiled_power(base, exponent) for base, exponent in formula.powers]
    coefficient = formula.coefficient
    return lambda sizes: coefficient * prod([factor(sizes) for factor in factors])


def _compiled_power(base: Formula, exponent: int) -> Callable[[Point], Exact]:
    inner = _compiled(base)
    if exponent == 1:
        return inner
    if exponent < 0:
        return lambda sizes: Fraction(inner(sizes)) ** exponent
    return lambda sizes: inner(sizes) ** exponent


def substitute(formula: Formula, sizes: Point) -> Formula:
    """The formula with these symbols replaced by numbers; raises FxcostError for a wrong size or a zero divisor."""
    named = _named(formula, sizes)
    return _or_told(replaced, formula, {Symbol(name): Constant(sizes[name]) for name in named})


def assume_multiple(formula: Formula, multiples: Point) -> Formula:
    """The formula where each named size is a multiple of the number given: ``⌊(H−1)/32⌋ + 1`` is ``H/32``.

    Equal to ``formula`` at every such size; at others it may differ. Errors as ``substitute``.
    """
    named = _named(formula, multiples)
    counts = {name: Symbol(f"{name} / {multiples[name]}") for name in named}
    down: dict[Formula, Formula] = {Symbol(name): multiples[name] * counts[name] for name in named}
    up: dict[Formula, Formula] = {counts[name]: Symbol(name) * Fraction(1, multiples[name]) for name in named}
    return _or_told(replaced, _or_told(_reduced, formula, down), up)


def _named(formula: Formula, sizes: Point) -> list[str]:
    """The symbols of a formula that have a size."""
    named = sorted(name for name in formula.names if name in sizes)
    check_point(named, sizes)
    return named


def _or_told(
    change: Callable[[Formula, Mapping[Formula, Formula]], Formula], formula: Formula, leaves: Mapping[Formula, Formula]
) -> Formula:
    try:
        return change(formula, leaves)
    except ZeroDivisionError:
        at = ", ".join(f"{old}={new}" for old, new in leaves.items())
        raise FxcostError(f"a cost expression divides by zero at {at}") from None


def _reduced(formula: Formula, leaves: Mapping[Formula, Formula]) -> Formula:
    """As ``replaced``, with whole terms taken out of a rounding or remainder even where they show only multiplied out."""
    if not formula.children:
        return leaves.get(formula, formula)
    children = tuple(_reduced(child, leaves) for child in formula.children)
    if all(new is old for new, old in zip(children, formula.children, strict=True)):
        return formula
    if not isinstance(formula, Rounding | Mod):
        return formula.rebuilt(children)
    argument, divisor = children[0], children[1] if isinstance(formula, Mod) else ONE
    step = power(divisor, -1)
    if (argument * step).is_whole:
        return ZERO if isinstance(formula, Mod) else argument
    terms = [part for term in terms_of(argument) for part in terms_of(_multiplied_out(term))]
    rest = add(*(term for term in terms if not (term * step).is_whole))
    whole = [term for term in terms if (term * step).is_whole]
    if not whole:
        return formula.rebuilt(children)
    return mod(rest, divisor) if isinstance(formula, Mod) else add(formula.rebuilt((rest,)), *whole)


def _multiplied_out(term: Formula) -> Formula:
    if not isinstance(term, Product) or expanded_terms(term) > MAX_EXPANDED_TERMS:
        return term
    found = [
        multiply(Constant(term.coefficient), *(power(b, n) for b, n in term.powers if n != 1 or not isinstance(b, Sum)))
    ]
    for base, exponent in term.powers:
        if exponent == 1 and isinstance(base, Sum):
            found = [part * other for part in found for other in base.children]
    return add(*found)


def expanded_terms(formula: Formula) -> int:
    """How many terms multiplying out would give, without doing it."""
    if isinstance(formula, Sum):
        return sum(map(expanded_terms, formula.children))
    if isinstance(formula, Product):
        return prod(expanded_terms(base) ** max(exponent, 1) for base, exponent in formula.powers)
    return 1


def total(formulas: Iterable[Formula]) -> Formula:
    """The sum as monomials: equal products of symbols, floors and sums are gathered, and nothing is expanded."""
    return add(*(count * formula for formula, count in Counter(formulas).items()))
