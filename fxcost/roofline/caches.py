"""What of a model's traffic stays in the last-level cache, one call following the other at once.

An access whose reuse distance, the bytes touched since its storage was last touched, fits the cache does not reach
memory: so does a cache that gives up what was used the longest ago (Mattson, Gecsei, Slutz and Traiger, IBM Systems
Journal 9(2), 1970). Each storage is taken to lie in one place from call to call.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from fxcost.costs.graph.cost_graph import Access, CostGraph, counted_as, edges_known
from fxcost.costs.model import CostModel, Costs, EvaluatedModel, LayerCost
from fxcost.errors import FxcostError
from fxcost.formulas.algebra import Exact
from fxcost.formulas.evaluation import evaluate
from fxcost.formulas.quantities import Widths
from fxcost.formulas.ranges.bisection import first_where
from fxcost.formulas.ranges.interval_arithmetic import direction
from fxcost.roofline.rate import Machine

FURTHEST = 1 << 30
"""The greatest size that is looked at."""


@dataclass(frozen=True)
class _Touch:
    """An access of a row, at some sizes."""

    row: int
    access: Access
    storage: int
    read: Exact
    written: Exact
    bytes_touched: Fraction
    given: bool
    """Whether it is one of weights or buffers."""


def with_cache(model: CostModel, machine: Machine, at: Mapping[str, int] | None = None) -> EvaluatedModel:
    """The model at sizes ``at`` with what reaches the memory of a machine alone.

    Raises `FxcostError` for a machine that publishes no cache, and for a model that was saved without edges.
    """
    capacity, model = _capacity(machine), machine.stored(model)
    evaluated, graph = model.at(at), edges_known(model.graph, model.ref)
    touches = list(_touches(model, graph, model.point(at), model.bits(machine.bits)))
    missed: dict[int, list[_Touch]] = {}
    for touch, distance in zip(touches, _distances(touches), strict=True):
        if distance > capacity:
            missed.setdefault(touch.row, []).append(touch)
    layers = tuple(_reaching(layer, missed.get(row, ()), graph) for row, layer in enumerate(evaluated.layers))
    return replace(evaluated, layers=layers)


def weights_stay_up_to(model: CostModel, machine: Machine, over: str, at: Mapping[str, int]) -> int | None:
    """The greatest size of a symbol up to which no weight is read from memory again; None where that is at no size.

    Exact where everything that is touched grows with the symbol, so that distances do; errors as `with_cache`, and where
    something shrinks.
    """
    capacity, model = _capacity(machine), machine.stored(model)
    graph = edges_known(model.graph, model.ref)
    bits = model.bits(machine.bits)
    shrinks = [
        amount
        for layer in model.layers
        for access in layer.edges.accesses
        for amount in (access.read, access.written)
        if over in amount.names and direction(amount) != 1
    ]
    if shrinks:
        raise FxcostError(f"what {model.ref} touches does not grow with every size: {shrinks[0]}")

    def stay(size: int) -> bool:
        touches = list(_touches(model, graph, model.point({**at, over: size}), bits))
        return all(d <= capacity for t, d in zip(touches, _distances(touches), strict=True) if t.given)

    allowed = model.symbols[over]
    step, count = allowed.multiple_of, allowed.smallest // allowed.multiple_of
    last = (FURTHEST if allowed.high is None else allowed.high) // step
    beyond = first_where(lambda place: not stay(place * step), count, last)
    if beyond is None:
        return last * step
    return None if beyond == count else (beyond - 1) * step


def _capacity(machine: Machine) -> int:
    capacity = machine.platform.on_chip
    if not capacity:
        raise FxcostError(f"{machine.platform.name} publishes no cache; ask with --cache ignore")
    return capacity


def _touches(model: Costs, graph: CostGraph, point: Mapping[str, int], bits: Widths) -> Iterator[_Touch]:
    for row, layer in enumerate(model.layers):
        for access in layer.edges.accesses:
            tensor = graph.tensors[access.tensor]
            read, written = evaluate(access.read, point), evaluate(access.written, point)
            touched = Fraction(max(read, written)) * bits[tensor.dtype] / 8
            given = counted_as(graph.storages[tensor.storage].role) == "weight"
            yield _Touch(row, access, tensor.storage, read, written, touched, given)


def _distances(touches: Sequence[_Touch]) -> Iterator[Fraction]:
    """Bytes touched since the storage of each was, itself included, with the same touches before them."""
    last: dict[int, int] = {}
    sums = _Sums(2 * len(touches))
    for time, touch in enumerate((*touches, *touches)):
        before = last.get(touch.storage)
        if time >= len(touches) and before is not None:
            yield sums.after(before) + touch.bytes_touched
        if before is not None:
            sums.add(before, -touches[before % len(touches)].bytes_touched)
        sums.add(time, touch.bytes_touched)
        last[touch.storage] = time


class _Sums:
    """Sums over what comes after a place, by a tree of partial sums."""

    def __init__(self, count: int) -> None:
        self.parts = [Fraction(0)] * (count + 1)
        self.whole = Fraction(0)

    def add(self, place: int, amount: Fraction) -> None:
        """Add to a place."""
        self.whole += amount
        place += 1
        while place < len(self.parts):
            self.parts[place] += amount
            place += place & -place

    def after(self, place: int) -> Fraction:
        """The sum of all that comes later."""
        found, place = self.whole, place + 1
        while place:
            found -= self.parts[place]
            place -= place & -place
        return found


def _reaching(layer: LayerCost[Exact], missed: Sequence[_Touch], graph: CostGraph) -> LayerCost[Exact]:
    reads: dict[str, dict[str, Exact]] = {}
    writes: dict[str, dict[str, Exact]] = {}
    for touch in missed:
        tensor = graph.tensors[touch.access.tensor]
        role = counted_as(graph.storages[tensor.storage].role)
        for counts, amount in ((reads, touch.read), (writes, touch.written)):
            if amount:
                by_dtype = counts.setdefault(role, {})
                by_dtype[tensor.dtype] = by_dtype.get(tensor.dtype, 0) + amount
    return replace(layer, cost=replace(layer.cost, reads=reads, writes=writes))
