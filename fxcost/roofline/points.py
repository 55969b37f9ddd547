"""The roofline of a model on a machine: bound, time and crossover of each layer, in exact rationals.

A layer with F FLOPs and Q bytes takes max(F/π, Q/β) on a unit of peak π FLOP/s beside a memory of β byte/s; it is
compute-bound where its intensity F/Q reaches the ridge π/β (Williams, Waterman and Patterson, CACM 52(4), 2009).
"""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# sympy and torch are typed in part.

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Literal

import sympy

from fxcost.costs.model import Cost, CostModel, LayerCost, Unit
from fxcost.errors import FxcostError
from fxcost.formulas.domain import SymbolRange
from fxcost.formulas.evaluation import substitute, total
from fxcost.formulas.expressions import symbol
from fxcost.formulas.extrema import stretches, where_nonnegative
from fxcost.formulas.piecewise import IntegerSet, Interval, coefficients
from fxcost.formulas.propagation import tighten
from fxcost.formulas.quantities import Quantity, as_expr, number
from fxcost.machines.sheets import NO_CROSSOVER, PRECISION_BITS, PRECISION_OF_DTYPE, Platform, precision_named

Bound = Literal["compute", "memory", "unknown"]
Outcome = Literal["always", "at", "never", "within", "unknown"]


@dataclass(frozen=True)
class Machine:
    """A platform at one precision: the numbers a roofline needs, exact.

    Raises `FxcostError` when built for a precision that the platform lacks.
    """

    platform: Platform
    precision: str

    def __post_init__(self) -> None:
        _ = self.bandwidth
        self.peak("matrix")

    @cached_property
    def bandwidth(self) -> Fraction:
        """Byte/s of main memory."""
        return Fraction(self.platform.bandwidth.value)

    def peak(self, unit: Unit) -> Fraction | None:
        """Dense FLOP/s of a unit; None where the maker publishes none."""
        figure = self.platform.peak(unit, self.precision)
        return None if figure is None else Fraction(figure.value)

    def ridge(self, unit: Unit) -> Fraction | None:
        """The intensity in FLOP/byte from which a layer on the unit is compute-bound."""
        return self.platform.ridge(unit, self.precision)

    @property
    def bits(self) -> int:
        """Bits of one stored element at this precision."""
        return PRECISION_BITS[self.precision]


def machine_for(model: CostModel, platform: Platform, precision: str | None) -> Machine:
    """The platform at ``precision``, or at the model's own dtype when none is named."""
    if not platform.precisions:
        raise FxcostError(f"{platform.name} publishes no peak of its matrix unit, so it has no roofline{NO_CROSSOVER}")
    own = PRECISION_OF_DTYPE.get(model.dtype)
    if precision is None and own is None:
        raise FxcostError(
            f"{model.ref} computes in {model.dtype}; name a precision of {platform.name} with --precision"
        )
    if precision is None and own not in platform.precisions:
        _ = platform.bandwidth  # a machine without one answers at no precision
        listed = ", ".join(platform.precisions)
        nearest = min(platform.precisions, key=PREFERRED.index)
        raise FxcostError(
            f"{platform.name} has no {own} peak; it has: {listed}\n"
            f"{model.ref} computes in {model.dtype}; ask for another precision with --precision {nearest}"
        )
    return Machine(platform, precision_named(precision) if precision else str(own))


PREFERRED = ("bf16", "fp16", "tf32", "fp32", "fp8", "int8", "fp64", "fp4", "int4")
"""What to run a model in that a machine does not take as it is, the likeliest first."""


@dataclass(frozen=True)
class LayerPoint:
    """One layer on a machine at given sizes."""

    layer: LayerCost
    flops: Fraction
    bytes_moved: Fraction
    seconds: Fraction
    """A lower bound: peaks are never exceeded."""
    bound: Bound

    @property
    def intensity(self) -> Fraction | None:
        """FLOP/byte; None for a layer that moves nothing."""
        return self.flops / self.bytes_moved if self.bytes_moved else None


def layer_points(model: CostModel, machine: Machine, at: Mapping[str, int] | None = None) -> tuple[LayerPoint, ...]:
    """Bound, intensity and time of each layer that runs, at sizes ``at``; raises `FxcostError` where none takes time."""
    evaluated = model.at(at)
    bits = evaluated.bits(machine.bits)
    points = tuple(_point(layer, bits, machine) for layer in evaluated.layers if layer.coverage != "free")
    if not any(point.seconds for point in points):
        raise FxcostError(
            f"{model.ref} computes nothing and moves nothing: it takes no time on {machine.platform.name}"
        )
    return points


def _point(layer: LayerCost, bits: Mapping[str, int], machine: Machine) -> LayerPoint:
    flops, moved = number(layer.flops), number(layer.cost.bytes_moved(bits))
    peak = machine.peak(layer.unit)
    computing = flops / peak if peak else Fraction(0)
    moving = moved / machine.bandwidth
    unknown = layer.coverage == "unknown" or (peak is None and flops)
    bound: Bound = "unknown" if unknown else "compute" if computing >= moving and flops else "memory"
    return LayerPoint(layer, flops, moved, max(computing, moving), bound)


# Crossover


@dataclass(frozen=True)
class Crossover:
    """For which sizes of a symbol a layer is compute-bound."""

    layer: LayerCost
    outcome: Outcome
    where: IntegerSet
    """Every size at which the layer is compute-bound."""
    exact: Fraction | None
    """The rational size at which intensity equals the ridge, where cost is linear in the symbol."""
    limit: Fraction | None
    """The intensity in FLOP/byte that the layer approaches; None where it grows without end or was not found, and
    where the formulas end at some size."""
    ridge: Fraction | None
    among: SymbolRange | None = None
    """The sizes that were asked about, which are those that the formulas hold at; None where single sizes were tried."""

    @property
    def threshold(self) -> int | None:
        """The first compute-bound size."""
        return self.where.intervals[0].low if self.where.intervals else None


WHOLE_STEP, KEPT_ON_CHIP = "(whole step)", "(weights and cache)"


def step_crossovers(
    model: CostModel, machine: Machine, over: str, at: Mapping[str, int] | None = None
) -> tuple[Crossover, Crossover]:
    """For which sizes of ``over`` a whole step is compute-bound, as if all its operations ran at once.

    Compared are the FLOPs of its matrix products with all bytes that its operations move, and with those of weights and
    cache alone, as if activations never left the chip.
    """
    first, second = map(_solver(model, machine, over, at).solve, _step(model))
    return first, second


def step_points(
    model: CostModel, machine: Machine, at: Mapping[str, int] | None = None
) -> tuple[LayerPoint, LayerPoint]:
    """Bound, intensity and time of a whole step at sizes ``at``, as `step_crossovers` takes it."""
    evaluated = model.at(at)
    bits = evaluated.bits(machine.bits)
    first, second = (_point(layer, bits, machine) for layer in _step(evaluated))
    return first, second


def _step(model: CostModel) -> tuple[LayerCost, ...]:
    """All operations as if they were one: with every byte, and with those that a chip cannot keep."""
    products = [layer for layer in model.layers if layer.unit == "matrix"]
    whole = replace(model.total, flops=Cost.sum(layer.cost for layer in products).flops)
    sides = ({r: n for r, n in side.items() if r != "activation"} for side in (whole.reads, whole.writes))
    kept = replace(whole, **dict(zip(("reads", "writes"), sides, strict=True)))
    coverage = "unknown" if model.unknown else "counted"
    named = ((WHOLE_STEP, whole), (KEPT_ON_CHIP, kept))
    return tuple(LayerCost(name, "", "", "sum", "matrix", coverage, "", cost) for name, cost in named)


def crossovers(
    model: CostModel, machine: Machine, over: str = "B", at: Mapping[str, int] | None = None
) -> tuple[Crossover, ...]:
    """For each layer that runs, the sizes of ``over`` at which it is compute-bound; other symbols at ``at``.

    With F = f·n and Q = w + a·n bytes the crossover is n* = R·w/(f − R·a) for the ridge R; in general it is a set of
    intervals. Raises `FxcostError` for a symbol that the model does not have.
    """
    solver = _solver(model, machine, over, at)
    return tuple(solver.solve(layer) for layer in model.layers if layer.coverage != "free")


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


class _Solver:
    """Solves each distinct pair of formulas once: models repeat their layers."""

    def __init__(self, model: CostModel, machine: Machine, over: str, others: Mapping[str, int]) -> None:
        self.machine, self.others, self.over = machine, others, symbol(over)
        self.bits = model.bits(machine.bits)
        self.range = narrowed_range(model, over, others)
        self.known: dict[tuple[sympy.Expr, sympy.Expr, Unit], tuple[IntegerSet, Fraction | None, Fraction | None]] = {}

    def solve(self, layer: LayerCost) -> Crossover:
        ridge = self.machine.ridge(layer.unit)
        if layer.coverage == "unknown" or ridge is None:
            return Crossover(layer, "unknown", IntegerSet((), None), None, None, ridge, self.range)
        flops = self._at_others(layer.flops)
        moved = self._at_others(layer.cost.bytes_moved(self.bits))
        key = (flops, moved, layer.unit)
        if key not in self.known:
            self.known[key] = self._solved(flops, moved, ridge)
        where, exact, limit = self.known[key]
        outcome = self._outcome(where)
        limit = None if self.range.high is not None else limit
        return Crossover(layer, outcome, where, exact if outcome == "at" else None, limit, ridge, self.range)

    def _at_others(self, quantity: Quantity) -> sympy.Expr:
        return substitute(as_expr(quantity), self.others)

    def _solved(
        self, flops: sympy.Expr, moved: sympy.Expr, ridge: Fraction
    ) -> tuple[IntegerSet, Fraction | None, Fraction | None]:
        excess = total((flops, -sympy.Rational(ridge.numerator, ridge.denominator) * moved))
        if flops == 0:
            return IntegerSet((), None), None, Fraction(0)
        allowed = self.range
        where = where_nonnegative(excess, self.over, allowed.low, allowed.high, allowed.multiple_of)
        line = coefficients(excess, self.over)
        exact = -line[0] / line[1] if line is not None and len(line) == 2 else None
        return where, exact, limit_ratio(flops, moved, self.over)

    def _outcome(self, where: IntegerSet) -> Outcome:
        if not where.intervals:
            return "never"
        first = where.intervals[0]
        to_the_end = len(where.intervals) == 1 and self._reaches_end(first, where.checked_up_to)
        if not to_the_end:
            return "within"
        return "always" if first.low == self.range.smallest else "at"

    def _reaches_end(self, interval: Interval, checked_up_to: int | None) -> bool:
        if interval.high is None:
            return True
        ends = [end for end in (self.range.high, checked_up_to) if end is not None]
        return bool(ends) and interval.high + self.range.multiple_of > min(ends)


def limit_ratio(above: sympy.Expr, below: sympy.Expr, variable: sympy.Symbol) -> Fraction | None:
    """What ``above / below`` approaches as the symbol grows; None where it grows without end or is not told."""
    up, down = _leading(above, variable), _leading(below, variable)
    if up is None or down is None or up[0] > down[0]:
        return None
    return up[1] / down[1] if up[0] == down[0] else Fraction(0)


def _leading(expr: sympy.Expr, variable: sympy.Symbol) -> tuple[int, Fraction] | None:
    """Degree and coefficient that the expression grows with; floors grow as what they round, Min and Max as they end."""
    *_, (_, _, expr) = stretches(expr, variable)
    smooth = expr.replace(lambda e: isinstance(e, (sympy.floor, sympy.ceiling)), lambda e: e.args[0])  # pyright: ignore[reportArgumentType]
    found = coefficients(sympy.expand(smooth) if smooth is not expr else expr, variable)
    if found is None:
        return None
    degree = max((d for d, c in enumerate(found) if c), default=0)
    return degree, Fraction(found[degree])
