"""What a polynomial of sizes never falls below, and the questions about sizes that this settles."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownVariableType=false
# The table makes polynomials of the kind that it is told to, which these functions cannot know.

import math
from collections.abc import Callable
from fractions import Fraction

from fxcost.tracing.sizes.polynomials import (
    AskedRelation,
    Kind,
    Number,
    Polynomial,
    Polynomials,
    Rounded,
    has,
    minus,
    negative,
    plus,
    times,
    without,
)


def settled(relation: AskedRelation, a: Polynomial, b: Polynomial) -> bool | None:
    """Whether ``a relation b`` at every size; None where arithmetic cannot tell. Raises `Rounded` where floats decide."""
    difference = difference_of(a, b)
    if not difference.terms:
        return relation != ">"
    low, high = low_of(difference), low_of(negative(difference))
    high = None if high is None else -high
    if relation == "==":
        return False if (low is not None and low > 0) or (high is not None and high < 0) else None
    if relation == ">=":
        return True if low is not None and low >= 0 else False if high is not None and high < 0 else None
    return True if low is not None and low > 0 else False if high is not None and high <= 0 else None


def difference_of(a: Polynomial, b: Polynomial) -> Polynomial:
    """What is above 0 where ``a`` is above ``b``: floats that are rounded once compare as their fractions do."""
    if has(a, "rounded") or has(b, "rounded"):
        raise Rounded
    return a.sizes.once("difference", minus, a, b)


def least(a: Polynomial, b: Polynomial) -> Polynomial:
    return _extreme("least", min, a, b)


def greatest(a: Polynomial, b: Polynomial) -> Polynomial:
    return _extreme("greatest", max, a, b)


def _extreme(kind: Kind, choose: Callable[[Number, Number], Number], a: Polynomial, b: Polynomial) -> Polynomial:
    for first, second in ((a, b), (b, a)):
        if settled(">=", first, second):
            return first if kind == "greatest" else second
    found = a.sizes.atom(kind, choose(a.hint, b.hint), *sorted((a, b), key=lambda size: size.terms))
    return found if a.kind is b.kind is int else a.sizes.size(found.terms, float)


def low_of(size: Polynomial) -> Number | None:
    """A number that the size never falls below, each symbol being at least 1; None when none is found."""
    if size.low is None:
        size.low = (None,)  # while it is looked for
        found = _low_of_sum(size)
        if found is None and (real := _without_floors(size)) is not None:
            found = low_of(real)
            found = None if found is None else math.ceil(found)
        size.low = (found,)
    return size.low[0]


def _without_floors(size: Polynomial) -> Polynomial | None:
    """A fraction that is at most the size: ⌊a/n⌋ is at most a/n, and at least (a − n + 1)/n."""
    sizes, total, changed = size.sizes, size.sizes.number(0), False
    if size.kind is float:
        return None
    for atoms, coefficient in size.terms:
        term = sizes.number(coefficient)
        for atom in atoms:
            found = sizes.atoms[atom]
            below = found.arguments[1].constant if found.kind == "quotient" else None
            if below and not changed | (len(atoms) > 1 and coefficient > 0):
                shift = sizes.number(0 if coefficient < 0 else 1 - below)
                term = times(times(term, plus(found.arguments[0], shift)), sizes.number(Fraction(1, below)))
                changed = True
            else:
                term = times(term, sizes.alone(atom))
        total = plus(total, term)
    return total if changed else None


def _low_of_sum(size: Polynomial) -> Number | None:
    if any(atoms and coefficient < 0 for atoms, coefficient in size.terms):
        return None
    total: Number = 0
    for atoms, coefficient in size.terms:
        product: Number = coefficient
        for atom in atoms:
            low = _low_of_atom(size.sizes, atom)
            if low is None or low < 0:
                return None
            product *= low
        total += product
    return total


def _low_of_atom(sizes: Polynomials, index: int) -> Number | None:
    atom = sizes.atoms[index]
    if atom.kind == "symbol":
        return sizes.lows.get(index, 1)
    lows = [low_of(argument) for argument in atom.arguments]
    if atom.kind == "greatest" and not plus(*atom.arguments).terms:
        return 0  # the greater of a size and its negative
    if atom.kind == "greatest":
        return max((low for low in lows if low is not None), default=None)
    if lows[0] is None or (atom.kind == "least" and lows[1] is None):
        return None
    if atom.kind == "least":
        return min(low for low in lows if low is not None)
    if atom.kind == "floor":
        return math.floor(lows[0])
    if lows[1] is None or lows[1] <= 0:
        return None
    divisor = atom.arguments[1].constant
    if divisor:
        return math.floor(Fraction(lows[0]) / divisor) if atom.kind == "quotient" else Fraction(lows[0]) / divisor
    return 0 if lows[0] >= 0 else None


def primitive(difference: Polynomial) -> Polynomial:
    """The same difference without what all its terms have in common, a number or sizes that are at least 1."""
    sizes, terms = difference.sizes, difference.terms
    if difference.kind is float or any(not isinstance(c, int) for _, c in terms):
        return difference
    common = [atom for atom in dict.fromkeys(terms[0][0]) if (_low_of_atom(sizes, atom) or 0) >= 1]
    for atom in common:
        if all(atom in atoms for atoms, _ in terms):
            return primitive(sizes.size(tuple((without(atoms, (atom,)) or (), c) for atoms, c in terms)))
    number = math.gcd(*(int(c) for _, c in terms))
    return sizes.size(tuple((atoms, int(c) // number) for atoms, c in terms))
