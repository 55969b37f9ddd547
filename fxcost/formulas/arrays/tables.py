"""Many formulas at many sizes: numpy's integers where they hold every step, Python's where they do not.

Before a call the greatest size of each symbol bounds every register of the program in Python's integers: a step whose
numbers all stay below 2^63 runs on int64, any other on arrays of Python's integers, so that none wraps.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from fxcost.errors import FxcostError
from fxcost.formulas.algebra import Formula
from fxcost.formulas.arrays.registers import Array, Instruction, Integers, Lowering, RowOutputs, Scaled
from fxcost.formulas.evaluation import check_point, compile_formula

GivenSizes = Mapping[str, Array | int]
"""Arrays of sizes, of shapes that are broadcast together."""

CHUNK = 8192
"""Points at a time: the registers in use stay in the cache."""
BEYOND_INT64 = 2**63


# Sizes


@dataclass(frozen=True)
class SizeArrays:
    """The sizes of each point: arrays of positive integers that are broadcast together, and then flat.

    Columns are int64, or Python's integers where one of the sizes needs them. Raises FxcostError for sizes that are
    not positive integers, or that do not go together.
    """

    shape: tuple[int, ...]
    columns: Mapping[str, Array]

    @staticmethod
    def of(sizes: GivenSizes) -> "SizeArrays":
        """The arrays as given, checked."""
        columns = {name: _size_column(name, np.asarray(given)) for name, given in sizes.items()}
        try:
            shape = np.broadcast_shapes(*(column.shape for column in columns.values()))
        except ValueError:
            shapes = ", ".join(f"{name} of {column.shape}" for name, column in columns.items())
            raise FxcostError(f"arrays of sizes do not go together: {shapes}") from None
        return SizeArrays(shape, {name: np.broadcast_to(each, shape).reshape(-1) for name, each in columns.items()})

    @property
    def count(self) -> int:
        """How many points there are."""
        return prod(self.shape)

    @property
    def chunks(self) -> Iterator[slice]:
        """Parts of the points, to be evaluated one after the other."""
        return (slice(start, min(start + CHUNK, self.count)) for start in range(0, self.count, CHUNK))

    @cached_property
    def largest(self) -> Mapping[str, int]:
        """The greatest size of each symbol; 1 where there is no point."""
        return {name: int(column.max(initial=1)) for name, column in self.columns.items()}

    def point(self, index: int) -> dict[str, int]:
        """The sizes at one point."""
        return {name: int(column[index]) for name, column in self.columns.items()}


def _size_column(name: str, given: Array) -> Array:
    if given.dtype == object:
        # What is here are Python's own objects, of any kind.
        faults = (each for each in given.flat if type(each) is not int or each < 1)
    elif np.issubdtype(given.dtype, np.integer):
        faults = (given.min().item() for _ in range(1) if given.size and given.min() < 1)
    else:
        faults = (each.item() for each in given.flat)
    for fault in faults:
        check_point((name,), {name: fault})
    return given.astype(np.int64 if given.max(initial=1) < BEYOND_INT64 else object)


# Values


@dataclass(frozen=True)
class ExactValues:
    """A formula at each point of a chunk: a number times whole numbers, over positive ones."""

    scaled: Scaled
    top: Integers
    bottom: Integers
    """1 where nothing is divided by but the coefficient's denominator."""
    bound: int
    """What the magnitude of ``top`` never exceeds."""

    @cached_property
    def exact(self) -> Integers:
        """The values: int64, or Python's integers; Fractions where one is not whole."""
        p, q = self.scaled.coefficient.numerator, self.scaled.coefficient.denominator
        top = as_python(self.top) if max(abs(p), abs(p) * self.bound) >= BEYOND_INT64 else self.top
        whole = top if p == 1 else top * p
        return whole if q == 1 and self._is_undivided else _quotients(whole, self.bottom, q)

    @property
    def floats(self) -> Array:
        """The values in float64, right to some units in the last place."""
        if self._is_undivided and self.bound < BEYOND_INT64:
            return np.asarray(self.top) * self.scaled.factor
        p, q = self.scaled.coefficient.numerator, self.scaled.coefficient.denominator
        # Python divides numbers that are themselves beyond a float.
        return np.asarray(np.true_divide(as_python(self.top) * p, as_python(self.bottom) * q)).astype(np.float64)

    @property
    def sign(self) -> Integers:
        """1, 0 or -1, as the values are."""
        return np.sign(self.top) * ((self.scaled.coefficient > 0) - (self.scaled.coefficient < 0))

    @property
    def _is_undivided(self) -> bool:
        return self.scaled.bottom is None


def as_python(values: Integers) -> Integers:
    """The same in Python's integers, which have no end."""
    return values.astype(object) if isinstance(values, np.ndarray) else values


def _lowest(numerator: int, denominator: int) -> int | Fraction:
    value = Fraction(numerator, denominator)
    return value.numerator if value.denominator == 1 else value


_lowest_terms: Any = np.frompyfunc(_lowest, 2, 1)


def _quotients(numerators: Integers, bottoms: Integers, q: int) -> Integers:
    return np.asarray(_lowest_terms(as_python(numerators), as_python(bottoms) * q), dtype=object)


# Tables


@dataclass(frozen=True)
class PlannedStep:
    """An item of a program, and what to run it on at the sizes of a call."""

    item: Instruction | RowOutputs
    spent: tuple[int, ...]
    """Registers that nothing reads afterwards."""
    in_python: bool = False
    """Whether a number in it may be beyond int64."""
    back: bool = False
    """Whether its result is within int64 again."""


Found = tuple[slice, int, tuple[ExactValues, ...]]
"""The points of a chunk, the place of a row, and its formulas there."""


@dataclass(frozen=True)
class Table:
    """Rows of formulas, compiled together.

    Every call raises FxcostError for a symbol without sizes, for sizes that are not positive integers, and where a
    formula divides by zero.
    """

    rows: tuple[tuple[Formula, ...], ...]

    @staticmethod
    def of(formulas: Iterable[Formula]) -> "Table":
        """Different formulas, a row each."""
        return Table(tuple((formula,) for formula in dict.fromkeys(formulas)))

    @cached_property
    def formulas(self) -> tuple[Formula, ...]:
        """All formulas, each once."""
        return tuple(dict.fromkeys(formula for row in self.rows for formula in row))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The symbols of all formulas, sorted."""
        return tuple(sorted(frozenset[str]().union(*(formula.names for formula in self.formulas))))

    @cached_property
    def program(self) -> tuple[tuple[Instruction | RowOutputs, tuple[int, ...]], ...]:
        """Instructions and answers in order, and the registers that nothing reads afterwards."""
        lowering = Lowering(self.names)
        for row in self.rows:
            lowering.program.append(RowOutputs(tuple([lowering(formula) for formula in row])))
        last = {r: place for place, item in enumerate(lowering.program) for r in item.inputs}
        spent: dict[int, list[int]] = {}
        for register, place in last.items():
            spent.setdefault(place, []).append(register)
        return tuple((item, tuple(spent.get(place, ()))) for place, item in enumerate(lowering.program))

    def exact(self, sizes: GivenSizes) -> Mapping[Formula, Array]:
        """The values of each formula, of the shape that the sizes have together, as `ExactValues.exact` gives them."""
        points = self.points(sizes)
        parts: list[list[tuple[Array, ...]]] = [[] for _ in self.rows]
        for part, row, values in self.run(points):
            parts[row].append(tuple(np.broadcast_to(each.exact, part.stop - part.start) for each in values))
        found: dict[Formula, Array] = {}
        for row, chunks in zip(self.rows, parts, strict=True):
            for formula, arrays in zip(row, zip(*chunks, strict=True), strict=bool(chunks)):
                found[formula] = np.concatenate(arrays).reshape(points.shape)
        return found or {formula: np.zeros(points.shape, np.int64) for formula in self.formulas}

    def points(self, sizes: GivenSizes) -> SizeArrays:
        """The points at which to run; sizes that no formula has are checked too, and have their part in the shape."""
        if any(name not in sizes for name in self.names):
            check_point(self.names, dict.fromkeys(sizes, 1))
        return SizeArrays.of(sizes)

    def greatest(self, points: SizeArrays) -> Fraction:
        """What no formula's magnitude exceeds at any of the points; 0 without formulas."""
        _, bounds = self._plan(points.largest)
        answers = (each for item, _ in self.program if isinstance(item, RowOutputs) for each in item.each)
        return max((abs(each.coefficient) * bounds[each.top] for each in answers), default=Fraction(0))

    def run(self, points: SizeArrays) -> Iterator[Found]:
        """The formulas of each row, chunk by chunk, as soon as they are there."""
        plan, bounds = self._plan(points.largest)
        for part in points.chunks:
            columns = [points.columns[name][part] for name in self.names]
            try:
                for row, answers, registers in _rows(plan, columns):
                    yield part, row, tuple([_values(each, registers, bounds) for each in answers.each])
            except ZeroDivisionError:
                self._tell_zero_divisor(points, part)
                raise

    def _plan(self, largest: Mapping[str, int]) -> tuple[list[PlannedStep], list[int]]:
        bounds = [largest[name] for name in self.names]
        plan: list[PlannedStep] = []
        for item, spent in self.program:
            if isinstance(item, RowOutputs):
                plan.append(PlannedStep(item, spent))
                continue
            inner = [bounds[register] for register in item.inputs]
            bounds.append(item.bound(*inner))
            in_python = max(*inner, bounds[-1], item.written) >= BEYOND_INT64
            plan.append(PlannedStep(item, spent, in_python, in_python and bounds[-1] < BEYOND_INT64))
        return plan, bounds

    def _tell_zero_divisor(self, points: SizeArrays, part: slice) -> None:
        for index in range(part.start, part.stop):
            point = points.point(index)
            for formula in self.formulas:
                compile_formula(formula)(point)


def _rows(plan: Iterable[PlannedStep], columns: list[Array]) -> Iterator[tuple[int, RowOutputs, list[Integers | None]]]:
    """Run the program on a chunk, and stop where a row is done; ZeroDivisionError where a divisor is zero."""
    registers: list[Any] = [*columns]
    row = 0
    for step in plan:
        if isinstance(step.item, RowOutputs):
            yield row, step.item, registers
            row += 1
        else:
            registers.append(_result(step, step.item, registers))
        for register in step.spent:
            registers[register] = None


def _result(step: PlannedStep, instruction: Instruction, registers: list[Any]) -> Integers:
    values = [registers[register] for register in instruction.inputs]
    if not step.in_python:
        return instruction.apply(*values)
    result = instruction.apply(*map(as_python, values))
    return result.astype(np.int64) if step.back and isinstance(result, np.ndarray) else result


def _values(scaled: Scaled, registers: list[Any], bounds: list[int]) -> ExactValues:
    bottom = 1 if scaled.bottom is None else registers[scaled.bottom]
    return ExactValues(scaled, registers[scaled.top], bottom, bounds[scaled.top])
