"""A model on a machine along the sizes of one symbol, traced again where its formulas do not hold."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from fxcost.costs.fusion.models import fused_along
from fxcost.costs.model import CostModel
from fxcost.formulas.ranges.piecewise import IntegerSet, Interval
from fxcost.request import Cache, Fusion
from fxcost.roofline.bound import bound_seconds
from fxcost.roofline.crossover import Crossover, Outcome, outcome_of
from fxcost.roofline.points import Bound, LayerPoint, layer_points
from fxcost.roofline.rate import Machine

if TYPE_CHECKING:
    from fxcost.roofline.held import HeldBytes

Along = Mapping[int, CostModel]
"""The costs that hold at each size, in the order to go through: `Traces.along`."""


@dataclass(frozen=True)
class SweepPoint:
    """A whole model on a machine at one size of the swept symbol."""

    size: int
    beside: Mapping[str, int]
    """The sizes of the other symbols that are swept over."""
    seconds: Fraction
    samples: int
    """Inputs in one call: the batch size, or 1 where the inputs have none."""
    compute_seconds: Fraction
    """Time spent in compute-bound layers."""
    known_seconds: Fraction
    """Time spent in layers whose bound is known."""
    unknown: int
    """Constant of layers whose bound is not, of which ``seconds`` holds what is known."""
    to_compute: tuple[str, ...]
    """Layers that were memory-bound at the size before and are compute-bound here."""
    to_memory: tuple[str, ...]
    bound_seconds: Fraction | None = None
    """What no call takes less than; None of a model without edges."""
    compute_share_of_other: Fraction | None = None
    """The share of the time that is compute-bound where contractions take in what follows them, or where they do not."""
    held: "HeldBytes | None" = None
    """What a call holds in memory; None of a model without edges."""

    @property
    def throughput(self) -> Fraction:
        """Samples per second, or calls where the inputs have no batch size."""
        return self.samples / self.seconds

    @property
    def compute_share(self) -> Fraction:
        """The share of the time whose bound is known that is compute-bound."""
        return self.compute_seconds / self.known_seconds if self.known_seconds else Fraction(0)


def sweep(
    along: Along,
    machine: Machine,
    over: str,
    at: Mapping[str, int] | None = None,
    beside: Mapping[str, int] | None = None,
    fusion: Fusion = "none",
    cache: Cache = "ignore",
) -> tuple[SweepPoint, ...]:
    """Time, throughput and bounds of the model at each size of ``over``, kernels run one after the other.

    The other symbols have the sizes ``at``, and those ``beside``, which are swept over too.
    """
    beside = beside or {}
    at = {**(at or {}), **beside}
    points: list[SweepPoint] = []
    before: Mapping[str, Bound] = {}
    other: Fusion | None = OTHER.get(fusion)
    others = fused_along(along, other) if other else {}
    from fxcost.roofline.held import Holder  # crossovers ask for nothing of it

    held = Holder(machine, fusion)

    def points_of(costs: CostModel, machine: Machine, sized: Mapping[str, int]) -> Sequence[LayerPoint]:
        return layer_points(costs, machine, sized, cache)

    for size, sized, found in _measured(fused_along(along, fusion), machine, over, at, points_of):
        bounds: dict[str, Bound] = {point.layer.name: point.bound for point in found}
        changed = {name: bound for name, bound in bounds.items() if before.get(name, bound) != bound}
        points.append(
            SweepPoint(
                size,
                beside,
                sum((p.seconds for p in found), Fraction(0)),
                along[size].batch(along[size].point(sized)),
                sum((p.seconds for p in found if p.bound == "compute"), Fraction(0)),
                sum((p.seconds for p in found if p.bound != "unknown"), Fraction(0)),
                sum(p.bound == "unknown" for p in found),
                tuple(name for name, bound in changed.items() if bound == "compute"),
                tuple(name for name, bound in changed.items() if bound == "memory"),
                None if along[size].graph is None else bound_seconds(along[size], machine, sized),
                compute_share(points_of(others[size], machine, sized)) if others else None,
                held(along[size], sized),
            )
        )
        before = bounds
    return tuple(points)


OTHER: Mapping[Fusion, Fusion] = {"pointwise": "epilogue", "epilogue": "pointwise"}
"""Beside which fusion the share of time that is compute-bound is told as a range."""


def compute_share(points: Sequence[LayerPoint]) -> Fraction:
    """The share of the time whose bound is known that is compute-bound."""
    known = sum((p.seconds for p in points if p.bound != "unknown"), Fraction(0))
    computing = sum((p.seconds for p in points if p.bound == "compute"), Fraction(0))
    return computing / known if known else Fraction(0)


Points = Callable[[CostModel, Machine, Mapping[str, int]], Sequence[LayerPoint]]
"""What stands on a machine at some sizes: `layer_points`, or the whole by `step_points`."""


def _measured(
    along: Along, machine: Machine, over: str, at: Mapping[str, int] | None, points: Points = layer_points
) -> Iterator[tuple[int, dict[str, int], Sequence[LayerPoint]]]:
    for size, costs in along.items():
        sized = {**(at or {}), over: size}
        yield size, sized, points(costs, machine, sized)


def crossovers_tried(
    along: Along, machine: Machine, over: str, at: Mapping[str, int] | None = None, points: Points = layer_points
) -> tuple[Crossover, ...]:
    """For each layer, or for what else ``points`` gives, at which of the sizes it is compute-bound: nothing is said of sizes between or beyond.

    A layer that only some of the sizes have is judged by those.
    """
    found: dict[str, list[tuple[int, LayerPoint]]] = {}
    for size, _, there in _measured(along, machine, over, at, points):
        for point in there:
            found.setdefault(point.layer.name, []).append((size, point))
    return tuple(_tried(each, machine) for each in found.values())


def _tried(points: list[tuple[int, LayerPoint]], machine: Machine) -> Crossover:
    bounds: list[Bound] = [point.bound for _, point in points]
    layer, unit = points[0][1].layer, points[-1][1].unit
    where = IntegerSet(tuple(Interval(size, size) for size, point in points if point.bound == "compute"), None)
    return Crossover(layer, _outcome(bounds), where, None, None, machine.computing(layer).ridge(unit), unit)


def _outcome(bounds: list[Bound]) -> Outcome:
    if "unknown" in bounds:
        return "unknown"
    if "compute" not in bounds:
        return outcome_of(None, stays=False)
    first = bounds.index("compute")
    return outcome_of(first == 0, stays="memory" not in bounds[first:])
