"""The time of a whole model on a machine at many sizes at once: floats, made from exact whole numbers.

Layers that ask for the same are one row with their number. A row asks for the longest of its resources; where that is
one and the same at all sizes, it is added to what all such rows ask of that resource, exactly.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, reduce
from typing import Any

import numpy as np

from fxcost.costs.model import CostModel, LayerCost
from fxcost.formulas.algebra import Formula, formula_of
from fxcost.formulas.arrays.tables import Array, ExactValues, GivenSizes, SizeArrays, Table
from fxcost.formulas.evaluation import total
from fxcost.formulas.quantities import LARGEST_AMOUNT, Widths
from fxcost.formulas.ranges.domain import Condition, SymbolRange
from fxcost.formulas.ranges.interval_arithmetic import Ends, is_never_negative
from fxcost.roofline.demand import Demand, demand
from fxcost.roofline.points import layer_points
from fxcost.roofline.rate import Machine, Resource

KnownDemand = tuple[tuple[Resource, Formula], ...]
"""What a layer asks of the resources whose rate is known."""
RESOURCES: tuple[Resource, ...] = ("matrix", "vector", "memory")


def seconds(model: CostModel, machine: Machine, sizes: GivenSizes) -> Array:
    """As `ModelTimes.seconds`, for one call alone."""
    return ModelTimes(model, machine).seconds(sizes)


@dataclass(frozen=True)
class ModelTimes:
    """The time of a model on a machine, prepared for calls with many sizes."""

    model: CostModel
    machine: Machine

    def seconds(self, sizes: GivenSizes) -> Array:
        """The sum of what `layer_points` gives each layer, in float64, of the shape that the arrays of sizes have together.

        Symbols without sizes have their usual one. Operators without a rule add what is known of them, so that the time
        is a lower bound. Raises `FxcostError` for the first point found at which `layer_points` does.
        """
        points = SizeArrays.of({**self.model.usual, **sizes})
        if not points.count:
            return np.zeros(points.shape)
        self._check(points)
        found = np.zeros(points.count)
        for part, _, values in self._table.run(points):
            found[part] += reduce(np.maximum, [each.floats for each in values])
        self._refuse(points, found == 0)
        return found.reshape(points.shape)

    @cached_property
    def rows(self) -> tuple[tuple[Formula, ...], ...]:
        """Seconds that add up to the whole, each row the longest of its formulas; what is decided comes last."""
        undecided: Counter[KnownDemand] = Counter()
        decided: dict[Resource, list[Formula]] = {}
        for asked, count in self._layers.items():
            longest = self._longest(asked)
            if len(longest) > 1:
                undecided[longest] += count
            for resource, amount in longest if len(longest) == 1 else ():
                decided.setdefault(resource, []).append(count * amount)
        # Each resource for itself: rates with no common factor would make large numbers of small ones.
        sums = ((self._seconds(resource, total(each)),) for resource, each in decided.items())
        return (*(tuple(count * self._seconds(*each) for each in row) for row, count in undecided.items()), *sums)

    def _seconds(self, resource: Resource, amount: Formula) -> Formula:
        return amount / self._rates[resource]

    @cached_property
    def _layers(self) -> Counter[KnownDemand]:
        """What layers ask for, and how many ask for just that."""
        model = self.machine.stored(self.model)
        bits = model.bits(self.machine.bits)
        asked = (self._asked(each, bits) for each in model.layers if each.coverage != "free")
        return Counter(tuple((r, formula_of(each[r])) for r in self._rates if each[r] != 0) for each in asked)

    def _asked(self, layer: LayerCost, bits: Widths) -> Demand:
        """What a layer asks, its contractions as what takes as long at the precision of the machine."""
        machine = self.machine.computing(layer)
        asked = demand(layer, bits, machine)
        return {**asked, "matrix": self.machine.as_long_as(machine.precision, asked["matrix"])}

    @cached_property
    def _rates(self) -> Mapping[Resource, Fraction]:
        rates: dict[Resource, Fraction | None] = {resource: self.machine.rate(resource) for resource in RESOURCES}
        return {resource: rate for resource, rate in rates.items() if rate is not None}

    @cached_property
    def _ends(self) -> Ends:
        return {name: each.ends for name, each in self.model.symbols.items()}

    def _longest(self, asked: KnownDemand) -> KnownDemand:
        """What is left without that which another resource always takes as long as."""
        left = list(asked)
        for each in asked:
            if any(self._is_never_shorter(other, each) for other in left if other is not each):
                left.remove(each)
        return tuple(left)

    def _is_never_shorter(self, one: tuple[Resource, Formula], other: tuple[Resource, Formula]) -> bool:
        return is_never_negative(self._seconds(*one) - self._seconds(*other), self._ends)

    @cached_property
    def _table(self) -> Table:
        return Table(self.rows)

    # Refusals, by what one point is refused for

    def _check(self, points: SizeArrays) -> None:
        """Raise where sizes are out of range or an amount is none."""
        self.model.point(points.point(0))
        for wrong in self._out_of_range(points):
            self._refuse(points, wrong)
        suspects = self._uncertain if self._amounts.greatest(points) < LARGEST_AMOUNT else self._whole
        for formula, values in Table.of(suspects).exact(points.columns).items():
            self._refuse(points, _is_no_amount(values, whole=self._whole[formula]))

    def _refuse(self, points: SizeArrays, wrong: Array) -> None:
        for index in np.flatnonzero(wrong) if wrong.any() else ():
            layer_points(self.model, self.machine, points.point(int(index)))

    def _out_of_range(self, points: SizeArrays) -> Iterator[Array]:
        for name, column in points.columns.items():
            pin = self.model.fixed.get(name)
            yield _is_outside(self.model.symbols[name], column) if pin is None else column != pin.value
        yield from self._broken(points)

    def _broken(self, points: SizeArrays) -> Iterator[Array]:
        """Where each condition does not hold."""
        wrong = np.zeros((len(self.model.conditions), points.count), bool)
        table = Table(tuple((each.left - each.right,) for each in self.model.conditions))
        for part, row, (difference,) in table.run(points):
            wrong[row, part] = _is_broken(self.model.conditions[row], difference)
        return iter(wrong)

    @cached_property
    def _whole(self) -> Mapping[Formula, bool]:
        """Every amount that is checked at a point, and whether it has to be whole."""
        found: dict[Formula, bool] = {}
        for layer in self.model.layers:
            for _, amount, whole in layer.cost.amounts():
                found[formula_of(amount)] = found.get(formula_of(amount), False) or whole
        return found

    @cached_property
    def _amounts(self) -> Table:
        return Table.of(self._whole)

    @cached_property
    def _uncertain(self) -> tuple[Formula, ...]:
        """KnownDemand that may be negative or not whole at some sizes, as far as their form tells."""
        return tuple(
            formula
            for formula, whole in self._whole.items()
            if (whole and not formula.is_whole) or not is_never_negative(formula, self._ends)
        )


def _is_outside(allowed: SymbolRange, sizes: Array) -> Array:
    outside = sizes < allowed.low
    if allowed.high is not None:
        outside |= sizes > allowed.high
    return outside if allowed.multiple_of == 1 else outside | (sizes % allowed.multiple_of != 0)


def _is_broken(condition: Condition, difference: ExactValues) -> Any:
    sign = difference.sign
    return {"==": sign != 0, "!=": sign == 0, ">=": sign < 0, ">": sign <= 0}[condition.relation]


def _is_no_amount(values: Array, *, whole: bool) -> Array:
    if values.dtype != object:
        return values < 0
    judged: Any = np.frompyfunc(lambda v: not 0 <= v <= LARGEST_AMOUNT or (whole and v.denominator != 1), 1, 1)
    return judged(values).astype(bool)
