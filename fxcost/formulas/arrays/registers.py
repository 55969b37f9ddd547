"""Formulas as straight-line programs over registers of whole numbers, each step once, whatever formulas share it."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, reduce
from math import gcd, lcm, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxcost.formulas.algebra import (
    TOUCHED_BITS,
    Constant,
    Extreme,
    Floor,
    Formula,
    Min,
    Mod,
    Product,
    Rounding,
    Sum,
    Symbol,
    Touched,
    floor,
    split_coefficient,
    touched_of,
)

Array = NDArray[Any]
Integers = Array | int
"""The values of a register at each point: an array, or one number where no size changes it."""


# Instructions


@dataclass(frozen=True)
class Instruction:
    """A whole number made of those in other registers."""

    inputs: tuple[int, ...]

    @property
    def written(self) -> int:
        """The greatest magnitude of its own numbers."""
        return 0

    def bound(self, *bounds: int) -> int:
        """What the magnitude of the result, and of all on the way to it, never exceeds when those of the inputs do not."""
        raise NotImplementedError

    def apply(self, *values: Any) -> Integers:
        """The result at each point."""
        raise NotImplementedError


@dataclass(frozen=True)
class Combination(Instruction):
    """A sum of registers times whole numbers, and a number."""

    factors: tuple[int, ...]
    constant: int = 0

    @property
    def written(self) -> int:
        return max(map(abs, (*self.factors, self.constant)))

    def bound(self, *bounds: int) -> int:
        return sum(abs(k) * bound for k, bound in zip(self.factors, bounds, strict=True)) + abs(self.constant)

    def apply(self, *values: Any) -> Integers:
        parts = [value if k == 1 else value * k for k, value in zip(self.factors, values, strict=True)]
        return reduce(operator.add, parts + [self.constant] * (self.constant != 0 or not parts))


@dataclass(frozen=True)
class Multiplication(Instruction):
    """The product of two registers."""

    def bound(self, *bounds: int) -> int:
        return prod(bounds)

    def apply(self, *values: Any) -> Integers:
        return values[0] * values[1]


@dataclass(frozen=True)
class FloorByNumber(Instruction):
    """The floor of a register over a positive number."""

    number: int

    @property
    def written(self) -> int:
        return self.number

    def bound(self, *bounds: int) -> int:
        return -(-bounds[0] // self.number)

    def apply(self, *values: Any) -> Integers:
        return values[0] // self.number


@dataclass(frozen=True)
class FloorByRegister(Instruction):
    """The floor of a register over a positive one."""

    def bound(self, *bounds: int) -> int:
        return bounds[0]

    def apply(self, *values: Any) -> Integers:
        return values[0] // values[1]


@dataclass(frozen=True)
class Remainder(Instruction):
    """The remainder of a register by another, with the sign of that; raises ZeroDivisionError where it is zero."""

    def bound(self, *bounds: int) -> int:
        return bounds[1]

    def apply(self, *values: Any) -> Integers:
        return values[0] % _without_zero(values[1])


@dataclass(frozen=True)
class Choice(Instruction):
    """The least or the greatest of two registers."""

    least: bool

    def bound(self, *bounds: int) -> int:
        return max(bounds)

    def apply(self, *values: Any) -> Integers:
        if all(isinstance(value, int) for value in values):
            return min(values) if self.least else max(values)
        return (np.minimum if self.least else np.maximum)(*values)


@dataclass(frozen=True)
class Expectation(Instruction):
    """How many of so many things are touched when as many rows as a register has pick some of them, in parts of a whole."""

    things: int
    picked: int

    @property
    def written(self) -> int:
        return self.things << TOUCHED_BITS

    def bound(self, *_: int) -> int:
        return self.things << TOUCHED_BITS

    def apply(self, *values: Any) -> Integers:
        (rows,) = values
        different, back = np.unique(rows, return_inverse=True)
        found = [int(touched_of(self.things, self.picked, int(each)) * (1 << TOUCHED_BITS)) for each in different]
        kind = object if np.asarray(rows).dtype == object else np.int64
        return np.array(found, kind)[back].reshape(np.shape(rows))


@dataclass(frozen=True)
class Sign(Instruction):
    """1 or -1, whichever sign a register has; raises ZeroDivisionError where it is zero."""

    def bound(self, *_: int) -> int:
        return 1

    def apply(self, *values: Any) -> Integers:
        return np.sign(_without_zero(values[0]))


@dataclass(frozen=True)
class Magnitude(Instruction):
    """A register without its sign."""

    def bound(self, *bounds: int) -> int:
        return bounds[0]

    def apply(self, *values: Any) -> Integers:
        return abs(values[0])


def _without_zero(values: Integers) -> Integers:
    if not np.all(values):
        raise ZeroDivisionError
    return values


# Lowering


@dataclass(frozen=True)
class Scaled:
    """A coefficient times a register, over another that is positive where it is not 1."""

    coefficient: Fraction
    top: int
    bottom: int | None = None

    @cached_property
    def factor(self) -> float:
        """The coefficient as a float."""
        return float(self.coefficient)


@dataclass(frozen=True)
class RowOutputs:
    """The formulas of one row, once all that they need is in registers."""

    each: tuple[Scaled, ...]

    @property
    def inputs(self) -> tuple[int, ...]:
        """The registers that are read."""
        return tuple(r for one in self.each for r in (one.top, one.bottom) if r is not None)


class Lowering:
    """Turns formulas to instructions; the first registers hold the sizes, and each instruction fills the next."""

    def __init__(self, names: Sequence[str]) -> None:
        self.program: list[Instruction | RowOutputs] = []
        self.sizes = {name: register for register, name in enumerate(names)}
        self.positive = [True] * len(names)
        self.registers: dict[Instruction, int] = {}
        self.known: dict[Formula, Scaled] = {}

    def __call__(self, formula: Formula) -> Scaled:
        """The formula as whole numbers, over a positive one where it needs it."""
        if formula not in self.known:
            self.known[formula] = self._lowered(formula)
        return self.known[formula]

    def _lowered(self, formula: Formula) -> Scaled:
        if isinstance(formula, Constant):
            return Scaled(Fraction(formula.value), self._whole(1))
        if isinstance(formula, Symbol):
            return Scaled(Fraction(1), self.sizes[formula.name])
        if isinstance(formula, Sum):
            return self._sum(formula)
        if isinstance(formula, Product):
            return self._product(formula)
        if isinstance(formula, Rounding):
            return self._rounding(formula)
        if isinstance(formula, Touched):
            return self._touched(formula)
        tops, scale = self._alike([self(child) for child in formula.children])
        if isinstance(formula, Mod):
            return Scaled(scale.coefficient, self._do(Remainder(tuple(tops))), scale.bottom)
        assert isinstance(formula, Extreme)
        chosen = reduce(lambda a, b: self._do(Choice((a, b), isinstance(formula, Min))), tops)
        return Scaled(scale.coefficient, chosen, scale.bottom)

    def _touched(self, formula: Touched) -> Scaled:
        things, picked, rows = formula.children
        whole = self(rows if rows.is_whole else floor(rows))
        register = self._scaled_top(whole.coefficient, whole.top)
        found = self._do(Expectation((register,), int(things), int(picked)))
        return Scaled(Fraction(1, 1 << TOUCHED_BITS), found)

    def _do(self, instruction: Instruction, *, positive: bool = False) -> int:
        if instruction not in self.registers:
            self.registers[instruction] = len(self.positive)
            self.positive.append(positive)
            self.program.append(instruction)
        return self.registers[instruction]

    def _whole(self, number: int) -> int:
        return self._do(Combination((), (), number), positive=number > 0)

    def _times(self, *registers: int) -> int:
        return reduce(lambda a, b: self._do(Multiplication((a, b)), positive=self._positive(a, b)), registers)

    def _positive(self, *registers: int) -> bool:
        return all(self.positive[register] for register in registers)

    def _combined(self, factors: Sequence[int], registers: Sequence[int], constant: int = 0) -> int:
        if (*factors, constant) == (1, 0):
            return registers[0]
        positive = constant >= 0 and all(k > 0 for k in factors) and self._positive(*registers)
        return self._do(Combination(tuple(registers), tuple(factors), constant), positive=positive)

    def _sum(self, formula: Sum) -> Scaled:
        constant = sum((Fraction(each.value) for each in formula.children if isinstance(each, Constant)), Fraction(0))
        terms = [self._term(each) for each in formula.children if not isinstance(each, Constant)]
        parts, bottom = self._over_one_bottom(terms)
        q = lcm(constant.denominator, *(part.coefficient.denominator for part in parts))
        if bottom is not None and constant:
            parts, constant = [*parts, Scaled(constant, bottom)], Fraction(0)
        whole = [int(part.coefficient * q) for part in parts]
        p = gcd(*whole, int(constant * q))
        top = self._combined([k // p for k in whole], [part.top for part in parts], int(constant * q) // p)
        return Scaled(Fraction(p, q), top, bottom)

    def _term(self, formula: Formula) -> Scaled:
        """A term, of which all that is equal but for the coefficient shares a register."""
        coefficient, rest = split_coefficient(formula)
        found = self(rest)
        return Scaled(coefficient * found.coefficient, found.top, found.bottom)

    def _over_one_bottom(self, parts: Sequence[Scaled]) -> tuple[list[Scaled], int | None]:
        """The same numbers over the product of all different bottoms, which is given beside."""
        bottoms = dict.fromkeys(part.bottom for part in parts if part.bottom is not None)
        if not bottoms:
            return list(parts), None
        others = {own: [other for other in bottoms if other != own] for own in (None, *bottoms)}
        tops = [self._times(part.top, *others[part.bottom]) for part in parts]
        return [Scaled(part.coefficient, top) for part, top in zip(parts, tops, strict=True)], self._times(*bottoms)

    def _alike(self, parts: Sequence[Scaled]) -> tuple[list[int], Scaled]:
        """Registers of whole numbers, and what all of them are to be scaled by; its own top says nothing."""
        parts, bottom = self._over_one_bottom(parts)
        q = lcm(*(part.coefficient.denominator for part in parts))
        tops = [self._scaled_top(part.coefficient * q, part.top) for part in parts]
        return tops, Scaled(Fraction(1, q), tops[0], bottom)

    def _scaled_top(self, whole: Fraction, register: int) -> int:
        return self._combined((int(whole),), (register,))

    def _product(self, formula: Product) -> Scaled:
        powers = [self._power(self(base), exponent) for base, exponent in formula.powers]
        bottoms = [power.bottom for power in powers if power.bottom is not None]
        coefficient = prod((power.coefficient for power in powers), start=Fraction(formula.coefficient))
        bottom = self._times(*bottoms) if bottoms else None
        return Scaled(coefficient, self._times(*(power.top for power in powers)), bottom)

    def _power(self, base: Scaled, exponent: int) -> Scaled:
        if exponent < 0:
            return self._power(self._inverse(base), -exponent)
        bottom = None if base.bottom is None else self._raised(base.bottom, exponent)
        return Scaled(base.coefficient**exponent, self._raised(base.top, exponent), bottom)

    def _raised(self, register: int, exponent: int) -> int:
        if exponent == 1:
            return register
        half = self._raised(register, exponent // 2)
        return self._times(half, half, *[register] * (exponent % 2))

    def _inverse(self, base: Scaled) -> Scaled:
        if not base.coefficient:
            raise ZeroDivisionError
        top = self._whole(1) if base.bottom is None else base.bottom
        if self.positive[base.top]:
            return Scaled(1 / base.coefficient, top, base.top)
        sign, bottom = self._do(Sign((base.top,))), self._do(Magnitude((base.top,)), positive=True)
        return Scaled(1 / base.coefficient, self._times(sign, top), bottom)

    def _rounding(self, formula: Rounding) -> Scaled:
        inner, sign = self(formula.children[0]), 1 if isinstance(formula, Floor) else -1
        found = self._scaled_top(sign * Fraction(inner.coefficient.numerator), inner.top)
        if inner.coefficient.denominator != 1:
            found = self._do(FloorByNumber((found,), inner.coefficient.denominator))
        if inner.bottom is not None:
            found = self._do(FloorByRegister((found, inner.bottom)))
        return Scaled(Fraction(sign), found)
