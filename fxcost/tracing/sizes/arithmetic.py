"""The model's own arithmetic on carried sizes: exact while they are whole, and told apart where its floats round twice.

A float that is rounded once, a quotient of exact numbers, equals its fraction wherever that has few binary digits; so its
floor, and how it compares, are those of the fraction. Rounded again on its way it may fall short: 97 * (800 / 97) < 800.
"""

from collections.abc import Callable
from fractions import Fraction

from fxcost.tracing.sizes import polynomials
from fxcost.tracing.sizes.naming import EXACT_DENOMINATOR
from fxcost.tracing.sizes.polynomials import Number, Polynomial, Rounded, has


def add(a: Polynomial, b: Polynomial) -> Polynomial:
    return _rounded(Fraction.__add__, a, b) if is_rounded(a) and is_rounded(b) else polynomials.plus(a, b)


def subtract(a: Polynomial, b: Polynomial) -> Polynomial:
    return add(a, polynomials.negative(b))


def multiply(a: Polynomial, b: Polynomial) -> Polynomial:
    if any(is_rounded(one) and not _keeps(one, other) for one, other in ((a, b), (b, a))):
        return _rounded(Fraction.__mul__, a, b)
    return polynomials.times(a, b)


def divide(a: Polynomial, b: Polynomial) -> Polynomial:
    twice = is_rounded(b) or has(a, "rounded")
    return _rounded(Fraction.__truediv__, a, b) if twice else polynomials.ratio(a, b)


def floor_divide(a: Polynomial, b: Polynomial) -> Polynomial:
    """Raises `Rounded` where the floats themselves decide."""
    if has(a, "rounded") or is_rounded(b):
        raise Rounded
    return polynomials.quotient(a, b)


def modulo(a: Polynomial, b: Polynomial) -> Polynomial:
    """Raises `Rounded` as `floor_divide` does."""
    return subtract(a, multiply(floor_divide(a, b), b))


def is_rounded(size: Polynomial) -> bool:
    """Whether this is a float that need not be its fraction."""
    if size.kind is not float:
        return False
    atoms = [size.sizes.atoms[atom] for product, _ in size.terms for atom in product]
    if any(is_rounded(each) for atom in atoms if atom.kind in ("least", "greatest") for each in atom.arguments):
        return True
    below = [Fraction(coefficient).denominator for _, coefficient in size.terms]
    return has(size, "ratio", "rounded") or any(n.bit_count() > 1 or n > EXACT_DENOMINATOR for n in below)


def _keeps(rounded: Polynomial, factor: Polynomial) -> bool:
    """Whether a product is rounded once at most: of a float of the model's code and what is exact, or by a power of two."""
    if len(rounded.terms) == 1 and rounded.constant is not None and not is_rounded(factor):
        return Fraction(rounded.terms[0][1]).denominator.bit_count() == 1
    if len(factor.terms) != 1 or factor.constant is None:
        return False
    above, below = abs(Fraction(factor.terms[0][1])).as_integer_ratio()
    return 1 in (above, below) and above.bit_count() == below.bit_count() == 1


def _rounded(operate: Callable[[Fraction, Fraction], Number], a: Polynomial, b: Polynomial) -> Polynomial:
    value = operate(Fraction(a.hint), Fraction(b.hint))
    return a.sizes.size(a.sizes.atom("rounded", value, a, b, name=operate.__name__).terms, float)
