"""Formulas over positive whole sizes: sums, products, roundings and extremes in one canonical form.

Like terms and like factors are gathered and a lone sum takes in its coefficient; nothing is expanded. Equal formulas so
built are equal objects, with one order of terms and factors, which is that of their text.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from functools import cached_property
from math import lcm
from typing import Any

Exact = int | Fraction

MAX_EXPONENT = 8
"""The greatest exponent that a written power has; greater ones are written as products of powers."""


class Formula:
    """A node with its ``children``; built by the functions of this module alone, which keep it canonical."""

    __slots__ = ("__dict__", "children", "code")

    def __init__(self, *children: "Formula", also: Any = None) -> None:
        self.children = children
        self.code = hash((type(self).__name__, children, also))

    def same(self, other: Any) -> bool:
        """Whether another node of the same class is equal."""
        return self.children == other.children

    def rebuilt(self, children: tuple["Formula", ...]) -> "Formula":
        """The same function of other children; a number or symbol has none."""
        assert not children
        return self

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of its symbols."""
        return frozenset[str]().union(*(child.names for child in self.children))

    @cached_property
    def is_whole(self) -> bool:
        """Whether every part is an integer, so that the value is one at all sizes; False says nothing."""
        return all(child.is_whole for child in self.children)

    @cached_property
    def text(self) -> str:
        """The formula in the grammar of a saved file."""
        return _TEXT.sum(self)

    @cached_property
    def as_factor(self) -> str:
        """The same as a factor of a product, in parentheses where it needs them."""
        return Printer.factor(_TEXT, self)

    @cached_property
    def bits(self) -> int:
        """Bits of the greatest whole number written in it."""
        return max((child.bits for child in self.children), default=0)

    @cached_property
    def nodes(self) -> int:
        """How many nodes the tree has."""
        return 1 + sum(child.nodes for child in self.children)

    def sympy(self) -> Any:
        """The same as an expression of sympy, which takes a second to load."""
        import sympy

        if isinstance(self, Constant):
            return sympy.Rational(self.value.numerator, self.value.denominator)
        if isinstance(self, Symbol):
            return sympy.Symbol(self.name, integer=True, positive=True)
        children = [child.sympy() for child in self.children]
        if isinstance(self, Sum):
            return sympy.Add(*children)
        if isinstance(self, Product):
            powers = (sympy.Pow(base, n) for base, n in zip(children, self.exponents, strict=True))
            return sympy.Mul(sympy.Rational(self.coefficient.numerator, self.coefficient.denominator), *powers)
        # What sympy would work out by itself takes without end, and is not always right.
        name = type(self).__name__
        if isinstance(self, Touched):
            return sympy.Function(name)(*children)
        return getattr(sympy, name.lower() if isinstance(self, Rounding) else name)(*children, evaluate=False)

    def __int__(self) -> int:
        if isinstance(self, Constant) and isinstance(self.value, int):
            return self.value
        raise TypeError(f"{self} is no whole number")

    def __hash__(self) -> int:
        return self.code

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if isinstance(other, (int, Fraction)):
            return isinstance(self, Constant) and self.value == other
        return type(self) is type(other) and self.code == hash(other) and self.same(other)

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__

    def __add__(self, other: "Formula | Exact") -> "Formula":
        return add(self, formula_of(other))

    def __radd__(self, other: Exact) -> "Formula":
        return add(self, formula_of(other))

    def __sub__(self, other: "Formula | Exact") -> "Formula":
        return add(self, multiply(MINUS_ONE, formula_of(other)))

    def __rsub__(self, other: Exact) -> "Formula":
        return add(formula_of(other), multiply(MINUS_ONE, self))

    def __mul__(self, other: "Formula | Exact") -> "Formula":
        return multiply(self, formula_of(other))

    def __rmul__(self, other: Exact) -> "Formula":
        return multiply(self, formula_of(other))

    def __truediv__(self, other: "Formula | Exact") -> "Formula":
        return multiply(self, power(formula_of(other), -1))

    def __rtruediv__(self, other: Exact) -> "Formula":
        return multiply(formula_of(other), power(self, -1))

    def __mod__(self, other: "Formula | Exact") -> "Formula":
        return mod(self, formula_of(other))

    def __neg__(self) -> "Formula":
        return multiply(MINUS_ONE, self)

    def __pow__(self, exponent: int) -> "Formula":
        return power(self, exponent)


class Constant(Formula):
    """An exact number: an int where it is whole."""

    __slots__ = ("value",)

    def __init__(self, value: Exact) -> None:
        self.value: Exact = value.numerator if value.denominator == 1 else value
        super().__init__(also=self.value)
        self.code = hash(self.value)

    def same(self, other: Any) -> bool:
        return self.value == other.value

    @cached_property
    def is_whole(self) -> bool:
        return isinstance(self.value, int)

    @cached_property
    def bits(self) -> int:
        return _bits_of(self.value)


class Symbol(Formula):
    """A positive whole size."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(also=name)

    def same(self, other: Any) -> bool:
        return self.name == other.name

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset((self.name,))


class Sum(Formula):
    """Two terms or more, none of them a sum, no two alike but for their coefficients."""

    __slots__ = ()

    def rebuilt(self, children: tuple[Formula, ...]) -> Formula:
        return add(*children)


class Product(Formula):
    """A coefficient and powers of different bases, none of them a number or a product."""

    __slots__ = ("coefficient", "exponents")

    def __init__(self, coefficient: Exact, powers: Iterable[tuple[Formula, int]]) -> None:
        ordered = sorted(powers, key=_factor_order)
        self.coefficient = coefficient
        self.exponents = tuple(exponent for _, exponent in ordered)
        super().__init__(*(base for base, _ in ordered), also=(coefficient, self.exponents))

    @property
    def powers(self) -> Iterator[tuple[Formula, int]]:
        """Bases and exponents."""
        return zip(self.children, self.exponents, strict=True)

    def same(self, other: Any) -> bool:
        mine, theirs = ((each.coefficient, each.exponents, each.children) for each in (self, other))
        return mine == theirs

    def rebuilt(self, children: tuple[Formula, ...]) -> Formula:
        powers = (power(base, n) for base, n in zip(children, self.exponents, strict=True))
        return multiply(Constant(self.coefficient), *powers)

    @cached_property
    def is_whole(self) -> bool:
        whole = isinstance(self.coefficient, int) and min(self.exponents) > 0
        return whole and all(child.is_whole for child in self.children)

    @cached_property
    def bits(self) -> int:
        return max(_bits_of(self.coefficient), *(child.bits for child in self.children))


def _bits_of(value: Exact) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


class Rounding(Formula):
    """The floor or the ceiling of a formula."""

    __slots__ = ()

    @cached_property
    def is_whole(self) -> bool:
        return True


class Floor(Rounding):
    """The greatest whole number that is not above."""

    __slots__ = ()

    def rebuilt(self, children: tuple[Formula, ...]) -> Formula:
        return floor(children[0])


class Ceiling(Rounding):
    """The least whole number that is not below."""

    __slots__ = ()

    def rebuilt(self, children: tuple[Formula, ...]) -> Formula:
        return ceiling(children[0])


class Mod(Formula):
    """The remainder of the first by the second, with the sign of the second."""

    __slots__ = ()

    def rebuilt(self, children: tuple[Formula, ...]) -> Formula:
        return mod(*children)


class Extreme(Formula):
    """The least or the greatest of several formulas."""

    __slots__ = ()


class Min(Extreme):
    """The least."""

    __slots__ = ()

    def rebuilt(self, children: tuple[Formula, ...]) -> Formula:
        return least_of(*children)


class Max(Extreme):
    """The greatest."""

    __slots__ = ()

    def rebuilt(self, children: tuple[Formula, ...]) -> Formula:
        return greatest_of(*children)


class Touched(Formula):
    """Of the first number of things how many are touched, as expected, when each of the third number of rows picks the second number of them."""

    __slots__ = ()

    def rebuilt(self, children: tuple[Formula, ...]) -> Formula:
        return touched(*children)


# Building


def formula_of(value: Formula | Exact) -> Formula:
    """A formula as it is, or a number as one."""
    return value if isinstance(value, Formula) else Constant(value)


def terms_of(formula: Formula) -> tuple[Formula, ...]:
    """The terms of a sum; anything else is its own term."""
    return formula.children if isinstance(formula, Sum) else (formula,)


def factors_of(term: Formula) -> tuple[Formula, ...]:
    """The coefficient of a product, where it has one, and its powers; anything else is its own factor."""
    if not isinstance(term, Product):
        return (term,)
    coefficient = (Constant(term.coefficient),) if term.coefficient != 1 else ()
    return (*coefficient, *(power(base, exponent) for base, exponent in term.powers))


def split_coefficient(term: Formula) -> tuple[Exact, Formula]:
    """The coefficient of a product and the product of its other factors."""
    if isinstance(term, Constant):
        return term.value, ONE
    if isinstance(term, Product) and term.coefficient != 1:
        return term.coefficient, _product(1, term.powers)
    return 1, term


def _scaled(rest: Formula, coefficient: Exact) -> Formula:
    """A term without a coefficient, given one."""
    if rest is ONE or isinstance(rest, Constant):
        return Constant(coefficient)
    return _product(coefficient, rest.powers if isinstance(rest, Product) else ((rest, 1),))


def _product(coefficient: Exact, powers: Iterable[tuple[Formula, int]]) -> Formula:
    powers = list(powers)
    coefficient = coefficient.numerator if coefficient.denominator == 1 else coefficient
    if not powers:
        return Constant(coefficient)
    if len(powers) == 1 and powers[0][1] == 1:
        base = powers[0][0]
        if coefficient == 1:
            return base
        if isinstance(base, Sum):
            return add(*(multiply(Constant(coefficient), term) for term in base.children))
    return Product(coefficient, powers)


def add(*parts: Formula) -> Formula:
    """The sum, like terms gathered."""
    parts = tuple(part for part in parts if part != 0)
    if len(parts) == 1:
        return parts[0]
    gathered: dict[Formula, Exact] = {}
    for part in parts:
        for term in terms_of(part):
            coefficient, rest = split_coefficient(term)
            gathered[rest] = gathered.get(rest, 0) + coefficient
    terms = [_scaled(rest, coefficient) for rest, coefficient in gathered.items() if coefficient]
    if len(terms) < 2:
        return terms[0] if terms else ZERO
    return Sum(*sorted(terms, key=_TEXT.term))


def multiply(*parts: Formula) -> Formula:
    """The product, like factors gathered; a number goes into a sum that it alone meets."""
    coefficient: Exact = 1
    powers: dict[Formula, int] = {}
    for part in parts:
        if isinstance(part, Constant):
            coefficient = coefficient * part.value
        elif isinstance(part, Product):
            coefficient = coefficient * part.coefficient
            for base, exponent in part.powers:
                powers[base] = powers.get(base, 0) + exponent
        else:
            powers[part] = powers.get(part, 0) + 1
    if coefficient == 0:
        return ZERO
    return _product(coefficient, ((base, n) for base, n in powers.items() if n))


def power(base: Formula, exponent: int) -> Formula:
    """A whole power; raises ZeroDivisionError for one divided by zero."""
    if exponent == 1:
        return base
    if exponent == 0:
        return ONE
    if isinstance(base, Constant):
        return Constant(Fraction(base.value) ** exponent)
    if isinstance(base, Product):
        raised = Fraction(base.coefficient) ** exponent
        return multiply(Constant(raised), Product(1, ((b, n * exponent) for b, n in base.powers)))
    return Product(1, ((base, exponent),))


def floor(argument: Formula) -> Formula:
    """The floor, its whole terms taken out."""
    return _rounded(argument, Floor, math.floor)


def ceiling(argument: Formula) -> Formula:
    """The ceiling, its whole terms taken out."""
    return _rounded(argument, Ceiling, math.ceil)


def _rounded(argument: Formula, kind: type[Rounding], of_number: Callable[[Exact], int]) -> Formula:
    terms = terms_of(argument)
    whole = [term for term in terms if term.is_whole]
    rest = argument if not whole else add(*(term for term in terms if not term.is_whole))
    return add(Constant(of_number(rest.value)) if isinstance(rest, Constant) else kind(rest), *whole)


def mod(dividend: Formula, divisor: Formula) -> Formula:
    """The remainder; raises ZeroDivisionError for that by zero."""
    if divisor == 0:
        raise ZeroDivisionError
    if isinstance(dividend, Constant) and isinstance(divisor, Constant):
        return Constant(dividend.value % divisor.value)
    return Mod(dividend, divisor)


def least_of(*parts: Formula) -> Formula:
    """The least."""
    return _extreme(parts, Min, min)


def greatest_of(*parts: Formula) -> Formula:
    """The greatest."""
    return _extreme(parts, Max, max)


def _extreme(parts: tuple[Formula, ...], kind: type[Extreme], of_numbers: Callable[[list[Exact]], Exact]) -> Formula:
    values = [part.value for part in parts if isinstance(part, Constant)]
    if len(values) == len(parts):
        return Constant(of_numbers(values))
    each = sorted(set(parts), key=lambda part: (part.nodes, not isinstance(part, Constant), part.text))
    return each[0] if len(each) == 1 else kind(*each)


TOUCHED_BITS = 32
"""Binary places of an expected number, which is rounded down to them."""
_WORKING_BITS = 160


def touched(things: Formula, picked: Formula, rows: Formula) -> Formula:
    """The expected number of things that are touched; raises `ValueError` where one of the first two is no whole number above 0."""
    numbers = [part.value for part in (things, picked) if isinstance(part, Constant)]
    if any(number < 1 or number.denominator != 1 for number in numbers):
        raise ValueError("Touched needs whole numbers above 0 of things, and of those that a row picks")
    if len(numbers) == 2 and isinstance(rows, Constant):
        return Constant(touched_of(int(things), int(picked), rows.value))
    return Touched(things, picked, rows)


def touched_of(things: int, picked: int, rows: Exact) -> Exact:
    """``things·(1 − (1 − picked/things)^rows)``: each row picks without regard to the others, and all things alike."""
    if rows < 1 or picked >= things:
        return things if rows >= 1 else 0
    one = 1 << _WORKING_BITS
    missed, base, left = one, (things - picked) * one // things, int(rows)
    while left and missed:
        if left & 1:
            missed = missed * base >> _WORKING_BITS
        base, left = base * base >> _WORKING_BITS, left >> 1
    return Fraction(things * (one - missed) >> (_WORKING_BITS - TOUCHED_BITS), 1 << TOUCHED_BITS)


def as_quotient(formula: Formula) -> tuple[Formula, int]:
    """``(p, q)`` with ``formula = p / q``, q the least common denominator of the terms' coefficients."""
    terms = [split_coefficient(term) for term in terms_of(formula)]
    q = lcm(*(coefficient.denominator for coefficient, _ in terms))
    if q == 1:
        return formula, 1
    return add(*(multiply(Constant(coefficient * q), rest) for coefficient, rest in terms)), q


def replaced(formula: Formula, leaves: Mapping[Formula, Formula]) -> Formula:
    """The formula with parts put in the place of others; raises ZeroDivisionError where that divides by zero."""
    found = leaves.get(formula)
    if found is not None or not formula.children:
        return formula if found is None else found
    children = tuple(replaced(child, leaves) for child in formula.children)
    unchanged = all(new is old for new, old in zip(children, formula.children, strict=True))
    return formula if unchanged else formula.rebuilt(children)


def expanded(formula: Formula) -> Formula:
    """Products and powers of sums multiplied out, roundings and extremes left as they are."""
    if isinstance(formula, Sum):
        return add(*map(expanded, formula.children))
    if not isinstance(formula, Product):
        return formula
    found: list[Formula] = [Constant(formula.coefficient)]
    for base, exponent in formula.powers:
        for _ in range(max(exponent, 1)):
            terms = terms_of(expanded(base)) if exponent > 0 else (power(base, exponent),)
            found = list(terms_of(add(*(multiply(a, b) for a in found for b in terms))))
    return add(*found)


def parts_of(formula: Formula) -> Iterator[Formula]:
    """The formula and all that it is made of."""
    yield formula
    for child in formula.children:
        yield from parts_of(child)


# The order of terms and factors, and text


def _factor_order(each: tuple[Formula, int]) -> tuple[bool, bool, bool, str, int]:
    base, exponent = each
    return exponent < 0, not isinstance(base, Symbol), base.as_factor != "B", base.as_factor, abs(exponent)


Term = tuple[bool, bool, str, str]
"""A term of a sum, in the order of printing: whether it is a number, whether it is negative, its factors, its text without the sign."""


class Printer:
    """Plain ASCII; other printers differ in their signs, powers and floors."""

    times, minus, space = "*", "-", " "

    def sum(self, formula: Formula, space: str | None = None) -> str:
        """A sum or a single term, without parentheses around it."""
        gap = self.space if space is None else space
        first, *others = sorted(map(self.term, terms_of(formula)))
        signed = [f"{gap}{self.minus if negative else '+'}{gap}{text}" for _, negative, _, text in others]
        return (self.minus if first[1] else "") + first[3] + "".join(signed)

    def term(self, term: Formula) -> Term:
        """A term as it is sorted and printed."""
        coefficient, rest = split_coefficient(term)
        above, below = self._factors(rest)
        factors = "/".join([self.times.join(above), *below])
        p, q = digits(abs(coefficient.numerator)), digits(coefficient.denominator)
        numerator = above if above and p == "1" else [p, *above]
        denominator = below if q == "1" else [q, *below]
        text = "/".join([self.times.join(numerator), *denominator])
        return rest is ONE, coefficient < 0, factors, text

    def _factors(self, product: Formula) -> tuple[list[str], list[str]]:
        """What stands above and below the fraction bar; symbols first, B before the others."""
        if product is ONE:
            return [], []
        sides: tuple[list[str], list[str]] = ([], [])
        powers = product.powers if isinstance(product, Product) else ((product, 1),)
        ordered = ((not isinstance(b, Symbol), self.factor(b) != "B", self.factor(b), abs(n), n < 0) for b, n in powers)
        for *_, base, exponent, below in sorted(ordered):
            sides[below].extend(self.powers(base, exponent))
        return sides

    def powers(self, base: str, exponent: int) -> list[str]:
        """A power, as one factor or as several."""
        return [base if exponent == 1 else f"{base}**{exponent}"]

    def factor(self, formula: Formula) -> str:
        """A formula as a factor, in parentheses where it needs them."""
        if isinstance(formula, Symbol):
            return formula.name
        if isinstance(formula, Floor):
            return self.floor(formula.children[0])
        if isinstance(formula, Ceiling):
            return self.ceiling(formula.children[0])
        if isinstance(formula, Mod | Extreme | Touched):
            return f"{type(formula).__name__}({', '.join(map(self.sum, formula.children))})"
        return f"({self.sum(formula)})"

    def floor(self, argument: Formula) -> str:
        """The floor of a formula."""
        return f"floor({self.quotient(argument) or self.sum(argument)})"

    def ceiling(self, argument: Formula) -> str:
        """The ceiling of a formula."""
        return f"ceiling({self.quotient(argument) or self.sum(argument)})"

    def quotient(self, formula: Formula, slash: str = "/") -> str:
        """``(H - 1)/32`` for ``H/32 - 1/32``, or nothing where there is no such number to divide by."""
        p, q = as_quotient(formula)
        if q == 1:
            return ""
        numerator = self.factor(p) if isinstance(p, Sum | Floor) else self.sum(p)
        return f"{numerator}{slash}{digits(q)}"


class _TextPrinter(Printer):
    """The grammar of a saved file: ``p//q`` for a floor, and powers that the parser's limit allows."""

    def term(self, term: Formula) -> Term:
        quotient = self.quotient(term.children[0], "//") if isinstance(term, Floor) else ""
        # Alone in its term a quotient needs no parentheses.
        return (False, False, quotient, quotient) if quotient else super().term(term)

    def factor(self, formula: Formula) -> str:
        return formula.as_factor

    def floor(self, argument: Formula) -> str:
        quotient = self.quotient(argument, "//")
        return f"({quotient})" if quotient else super().floor(argument)

    def powers(self, base: str, exponent: int) -> list[str]:
        whole, left = divmod(exponent, MAX_EXPONENT)
        return [base if n == 1 else f"{base}**{n}" for n in [MAX_EXPONENT] * whole + [left] * (left > 0)]


def digits(value: int) -> str:
    """The decimal digits of a number, or the hexadecimal ones of a number so long that Python refuses the others."""
    return str(value) if value.bit_length() < LONGEST_BITS else hex(value)


LONGEST_BITS = 3_321
"""Bits of the numbers that can be printed: up to some thousand digits."""
_TEXT = _TextPrinter()
ZERO, ONE, MINUS_ONE = Constant(0), Constant(1), Constant(-1)
