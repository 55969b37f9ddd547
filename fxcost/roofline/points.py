"""The roofline of a model on a machine at given sizes: bound and time of each layer, in exact rationals.

An operation takes as long as the resource that it keeps longest: max(F/π, Q/β) for F FLOPs on a unit of peak π FLOP/s
and Q bytes beside a memory of β byte/s; it is compute-bound where its intensity F/Q reaches the ridge π/β (Williams,
Waterman and Patterson, CACM 52(4), 2009).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from fxcost.costs.model import CostModel, Costs, LayerCost, mixed_products
from fxcost.errors import FxcostError
from fxcost.formulas.algebra import Exact
from fxcost.formulas.quantities import Q, Widths, number
from fxcost.request import Cache
from fxcost.roofline.caches import with_cache
from fxcost.roofline.demand import demand, units_of
from fxcost.roofline.rate import Machine
from fxcost.work import Unit

Bound = Literal["compute", "memory", "unknown"]


@dataclass(frozen=True)
class LayerPoint:
    """One layer on a machine at given sizes."""

    layer: LayerCost[Exact]
    flops: Fraction
    bytes_moved: Fraction
    computing_seconds: Fraction
    """What its work takes at the peaks that are known, the units at once."""
    seconds: Fraction
    """As roofs have it: peaks are never exceeded."""
    bound: Bound
    unit: Unit
    """The unit that its work keeps longest."""

    @property
    def intensity(self) -> Fraction | None:
        """FLOP/byte; None for a layer that moves nothing."""
        return self.flops / self.bytes_moved if self.bytes_moved else None


def layer_points(
    model: CostModel, machine: Machine, at: Mapping[str, int] | None = None, cache: Cache = "ignore"
) -> tuple[LayerPoint, ...]:
    """Bound, intensity and time of each layer that runs, at sizes ``at``; raises `FxcostError` where none takes time.

    With ``cache="ideal"`` only what `with_cache` leaves is moved.
    """
    evaluated = with_cache(model, machine, at) if cache == "ideal" else machine.stored(model).at(at)
    bits = evaluated.bits(machine.bits)
    points = tuple(_point(layer, bits, machine) for layer in evaluated.layers if layer.coverage != "free")
    if not any(point.seconds for point in points):
        raise FxcostError(
            f"{model.ref} computes nothing and moves nothing: it takes no time on {machine.platform.name}"
        )
    return points


def _point(layer: LayerCost[Exact], bits: Widths, machine: Machine) -> LayerPoint:
    machine = machine.computing(layer)
    asked = demand(layer, bits, machine)
    units = units_of(asked)
    rates: dict[Unit, Fraction | None] = {unit: machine.rate(unit) for unit in units}
    times: dict[Unit, Fraction] = {unit: number(asked[unit]) / rate for unit, rate in rates.items() if rate is not None}
    moved = number(asked["memory"])
    computing, moving = max(times.values(), default=Fraction(0)), moved / machine.bandwidth
    # A peak that is not known can only add to the time of computing.
    short = any(rates[unit] is None and asked[unit] != 0 for unit in units)
    bound: Bound = "compute" if 0 < computing >= moving else "unknown" if short else "memory"
    if layer.coverage == "unknown":
        bound = "unknown"
    slowest: Unit = units[0] if times.get(units[0], 0) == computing else units[-1]
    return LayerPoint(layer, number(layer.flops), moved, computing, max(computing, moving), bound, slowest)


WHOLE_CALL, KEPT_ON_CHIP = "(whole call)", "(weights and cache)"


def step_points(
    model: CostModel, machine: Machine, at: Mapping[str, int] | None = None
) -> tuple[LayerPoint, LayerPoint]:
    """Bound, intensity and time of a whole call at sizes ``at``, as `step` takes it."""
    evaluated = machine.stored(model).at(at)
    bits = evaluated.bits(machine.bits)
    first, second = (_point(layer, bits, machine) for layer in step(evaluated))
    return first, second


def step(model: Costs[Q]) -> tuple[LayerCost[Q], LayerCost[Q]]:
    """All rows as if they ran at once: with every byte that they move, and with weights and cache alone.

    Of their work contractions alone count, and in the second activations never leave the chip.
    """
    whole = replace(model.total, vector=0 * model.total.vector)
    sides = ({r: n for r, n in side.items() if r != "activation"} for side in (whole.reads, whole.writes))
    kept = replace(whole, **dict(zip(("reads", "writes"), sides, strict=True)))
    coverage = "unknown" if model.unknown else "counted"
    first, second = (
        LayerCost(name, "", "", "sum", coverage, "", cost, mixed=mixed_products(model.layers))
        for name, cost in ((WHOLE_CALL, whole), (KEPT_ON_CHIP, kept))
    )
    return first, second
