"""For which sizes of a symbol each layer of a model is compute-bound on a machine, in exact rationals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal, NamedTuple

from fxcost.costs.model import CostModel, LayerCost
from fxcost.errors import FxcostError
from fxcost.formulas.algebra import Formula, Rounding, Symbol, Touched, formula_of
from fxcost.formulas.evaluation import substitute, total
from fxcost.formulas.expressions import symbol
from fxcost.formulas.quantities import Quantity
from fxcost.formulas.ranges.domain import SymbolRange
from fxcost.formulas.ranges.extrema import stretches, where_nonnegative
from fxcost.formulas.ranges.piecewise import IntegerSet, Interval, coefficients, union
from fxcost.formulas.ranges.propagation import tighten
from fxcost.roofline.demand import Demand, demand, units_of
from fxcost.roofline.points import step
from fxcost.roofline.rate import Machine
from fxcost.work import Unit

Outcome = Literal["always", "at", "never", "within", "unknown"]


@dataclass(frozen=True)
class Crossover:
    """For which sizes of a symbol a layer is compute-bound."""

    layer: LayerCost[Any]
    outcome: Outcome
    where: IntegerSet
    """Every size at which the layer is compute-bound."""
    exact: Fraction | None
    """The rational size at which intensity equals the ridge, where cost is linear in the symbol."""
    limit: Fraction | None
    """The intensity in FLOP/byte that the layer approaches; None where it grows without end or was not found, and
    where the formulas end at some size."""
    ridge: Fraction | None
    unit: Unit
    """The unit whose work comes nearest to its ridge, or is furthest above it, as the symbol grows."""
    among: SymbolRange | None = None
    """The sizes that were asked about, which are those that the formulas hold at; None where single sizes were tried."""

    @property
    def threshold(self) -> int | None:
        """The first compute-bound size."""
        return self.where.intervals[0].low if self.where.intervals else None


def step_crossovers(
    model: CostModel, machine: Machine, over: str, at: Mapping[str, int] | None = None
) -> tuple[Crossover, Crossover]:
    """For which sizes of ``over`` a whole call is compute-bound, as if all its rows ran at once.

    Compared are the FLOPs of its matrix products with all bytes that its rows move, and with those of weights and
    cache alone, as if activations never left the chip.
    """
    model = machine.stored(model)
    first, second = map(_solver(model, machine, over, at).solve, step(model))
    return first, second


def crossovers(
    model: CostModel, machine: Machine, over: str = "B", at: Mapping[str, int] | None = None
) -> tuple[Crossover, ...]:
    """For each layer that runs, the sizes of ``over`` at which it is compute-bound; other symbols at ``at``.

    With F = f·n and Q = w + a·n bytes the crossover is n* = R·w/(f − R·a) for the ridge R; in general it is a set of
    intervals. Raises `FxcostError` for a symbol that the model does not have.
    """
    model = machine.stored(model)
    solver = _solver(model, machine, over, at)
    return tuple(solver.solve(layer) for layer in model.layers if layer.coverage != "free")


def containing(found: Sequence[Crossover], among: Sequence[Crossover]) -> tuple[Crossover, ...]:
    """For each kernel that which contains the operation that leads it, under a fusion that joins more."""
    holders = {member.name: each for each in among for member in each.layer.members}
    return tuple(holders[_leader(each.layer)] for each in found)


def _leader(layer: LayerCost) -> str:
    leads = (member for member in layer.members if member.op == layer.op and member.module == layer.module)
    return next(leads, layer).name


def _solver(model: CostModel, machine: Machine, over: str, at: Mapping[str, int] | None) -> "_Solver":
    model.check_symbol(over)
    if over in model.fixed:
        raise FxcostError(
            f"{over} is fixed at {model.fixed[over].value} in {model.ref} ({model.fixed[over].where}); "
            f"give its sizes, each of which is traced again: --over {over}={model.fixed[over].value},…"
        )
    if at and over in at:
        raise FxcostError(f"--at gives {over} a size, and --over asks for every {over}; leave one out")
    return _Solver(model, machine, over, model.point(at, but=over))


def narrowed_range(model: CostModel, over: str, others: Mapping[str, int]) -> SymbolRange:
    """The sizes of ``over`` at which the formulas hold with the other symbols at ``others``.

    Raises `FxcostError` when a condition cannot be told as a range of the one symbol, and when no size is left.
    """
    conditions = [
        replace(c, left=substitute(c.left, others), right=substitute(c.right, others)) for c in model.conditions
    ]
    ranges, left = tighten({over: model.symbols[over]}, conditions)
    if left:
        raise FxcostError(
            f"the formulas of {model.ref} hold only where {left[0]}, which is no range of {over}; give sizes of it: --over {over}=1:1024:*2"
        )
    if ranges[over].is_empty:
        at = ", ".join(f"{name}={size}" for name, size in others.items())
        raise FxcostError(
            f"the formulas of {model.ref} hold at no size of {over} at {at}: {_conditions_on(model, over)}"
        )
    return ranges[over]


def _conditions_on(model: CostModel, over: str) -> str:
    """The conditions that a symbol is part of, in words."""
    return "they hold only where " + " and ".join(str(c) for c in model.conditions if over in c.names)


def outcome_of(at_first: bool | None, *, stays: bool) -> Outcome:
    """In a word: whether the first size is compute-bound (None where none is), and whether all are from one on."""
    if at_first is None:
        return "never"
    if not stays:
        return "within"
    return "always" if at_first else "at"


class _OfUnit(NamedTuple):
    """Where the work of one unit takes longer than the traffic."""

    where: IntegerSet
    exact: Fraction | None
    limit: Fraction | None
    ridge: Fraction

    @property
    def first(self) -> float:
        """The first size; infinite where there is none."""
        return self.where.intervals[0].low if self.where.intervals else float("inf")

    @property
    def nearness(self) -> tuple[bool, Fraction]:
        """What the intensity grows to, in ridges: more for what grows without end."""
        return self.limit is None, (self.limit or Fraction(0)) / self.ridge


class _Solver:
    """Solves each distinct pair of formulas once: models repeat their layers."""

    def __init__(self, model: CostModel, machine: Machine, over: str, others: Mapping[str, int]) -> None:
        self.machine, self.others, self.over = machine, others, symbol(over)
        self.bits = model.bits(machine.bits)
        self.range = narrowed_range(model, over, others)
        self.found: dict[tuple[object, ...], Crossover] = {}
        self.known: dict[tuple[Formula, Formula, Fraction], _OfUnit] = {}

    def solve(self, layer: LayerCost) -> Crossover:
        """The crossover of a layer, found once for all that share what they cost."""
        key = (id(layer.cost), layer.coverage, layer.computes, layer.mixed)
        if key not in self.found:
            self.found[key] = self._solve(layer)
        return replace(self.found[key], layer=layer)

    def _solve(self, layer: LayerCost) -> Crossover:
        machine = self.machine.computing(layer)
        asked = demand(layer, self.bits, machine)
        units = units_of(asked)
        ridges: dict[Unit, Fraction | None] = {unit: machine.ridge(unit) for unit in units}
        solved: dict[Unit, _OfUnit] = {
            unit: self._of_unit(asked, unit, ridge) for unit, ridge in ridges.items() if ridge is not None
        }
        where = union([each.where for each in solved.values()], self.range.multiple_of)
        outcome = self._outcome(where)
        # A peak that is not known can only make more sizes compute-bound.
        if layer.coverage == "unknown" or (len(solved) < len(units) and outcome != "always"):
            return Crossover(layer, "unknown", IntegerSet((), None), None, None, ridges[units[0]], units[0], self.range)
        unit: Unit = max(solved, key=lambda each: solved[each].nearness)
        first = min(solved.values(), key=lambda each: each.first)
        limit = None if self.range.high is not None else solved[unit].limit
        exact = first.exact if outcome == "at" else None
        return Crossover(layer, outcome, where, exact, limit, ridges[unit], unit, self.range)

    def _of_unit(self, asked: Demand, unit: Unit, ridge: Fraction) -> "_OfUnit":
        flops, moved = self._at_others(asked[unit]), self._at_others(asked["memory"])
        key = (flops, moved, ridge)
        if key not in self.known:
            self.known[key] = self._solved(flops, moved, ridge)
        return self.known[key]

    def _at_others(self, quantity: Quantity) -> Formula:
        return substitute(formula_of(quantity), self.others)

    def _solved(self, flops: Formula, moved: Formula, ridge: Fraction) -> "_OfUnit":
        excess = total((flops, -ridge * moved))
        if flops == 0:
            return _OfUnit(IntegerSet((), None), None, Fraction(0), ridge)
        allowed = self.range
        where = where_nonnegative(excess, self.over, allowed.low, allowed.high, allowed.multiple_of)
        line = coefficients(excess, self.over)
        exact = -line[0] / line[1] if line is not None and len(line) == 2 else None
        return _OfUnit(where, exact, limit_ratio(flops, moved, self.over), ridge)

    def _outcome(self, where: IntegerSet) -> Outcome:
        first = where.intervals[0] if where.intervals else None
        stays = first is not None and len(where.intervals) == 1 and self._reaches_end(first, where.checked_up_to)
        return outcome_of(None if first is None else first.low == self.range.smallest, stays=stays)

    def _reaches_end(self, interval: Interval, checked_up_to: int | None) -> bool:
        if interval.high is None:
            return True
        ends = [end for end in (self.range.high, checked_up_to) if end is not None]
        return bool(ends) and interval.high + self.range.multiple_of > min(ends)


def limit_ratio(above: Formula, below: Formula, variable: Symbol) -> Fraction | None:
    """What ``above / below`` approaches as the symbol grows; None where it grows without end or is not told."""
    up, down = _leading(above, variable), _leading(below, variable)
    if up is None or down is None or up[0] > down[0]:
        return None
    return up[1] / down[1] if up[0] == down[0] else Fraction(0)


def _leading(formula: Formula, variable: Symbol) -> tuple[int, Fraction] | None:
    """Degree and coefficient that the formula grows with; floors grow as what they round, Min and Max as they end."""
    *_, (_, _, formula) = stretches(formula, variable)
    found = coefficients(_unrounded(formula), variable)
    if found is None:
        return None
    degree = max((d for d, c in enumerate(found) if c), default=0)
    return degree, found[degree]


def _unrounded(formula: Formula) -> Formula:
    if not formula.children:
        return formula
    if isinstance(formula, Touched):
        return formula.children[0]
    children = tuple(map(_unrounded, formula.children))
    return children[0] if isinstance(formula, Rounding) else formula.rebuilt(children)
