"""What a call holds in memory while it runs: bytes of each kind as formulas, and where the most are held at once.

Weights and buffers, cache and inputs are there throughout. What operations make is there from where it is made to where
it is let go of (`fxcost.costs.lifetimes`), and beside it what an operator holds while it runs (`fxcost.memory.temporaries`).
Of a fused kernel, what it keeps inside never exists, and all else is let go of after the last kernel that reads it.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from math import ceil

from fxcost.costs.fusion.models import fused
from fxcost.costs.graph.cost_graph import GIVEN, CostGraph, StorageRole, edges_known
from fxcost.costs.lifetimes import Lifetime, LifetimeSource, lifetimes
from fxcost.costs.model import CostModel, LayerCost, fit
from fxcost.errors import FxcostError
from fxcost.formats.schemes import UNCHANGED, Scheme
from fxcost.formats.storing import Placement, placed
from fxcost.formulas.algebra import ZERO, Constant, Formula, Symbol, add, greatest_of, replaced
from fxcost.formulas.evaluation import evaluate, total
from fxcost.formulas.quantities import Mapper, number
from fxcost.formulas.ranges.domain import SymbolRange
from fxcost.formulas.ranges.extrema import where_nonnegative
from fxcost.formulas.ranges.interval_arithmetic import is_never_negative
from fxcost.memory.kernel_order import in_order
from fxcost.memory.temporaries import TemporaryKind, temporaries, with_channels_last
from fxcost.request import Fusion


@dataclass(frozen=True)
class Moment:
    """Bytes held while one operation or kernel runs, beside what is held throughout."""

    name: str
    activations: Formula
    scratch: Formula = ZERO
    """What a CPU's convolution copies."""

    @cached_property
    def bytes(self) -> Formula:
        """Both."""
        return add(self.activations, self.scratch)


@dataclass(frozen=True)
class MemoryUse:
    """Bytes that a call holds, whole ones, at the moment at which it holds the most."""

    weights: int
    """Parameters, those too that no operation uses, scales included."""
    buffers: int
    """Those that operations use, and constants of the model's code."""
    state: int
    """The cache."""
    inputs: int
    activations: int
    """What operations made and hold, outputs among them, with what the operator at the peak holds while it runs."""
    scratch: int
    """Copies of a convolution at the peak, on a CPU alone."""
    peak: int
    """All of it; of formats that share bytes no more than the parts, each of which is rounded up."""
    where: str
    """The operation, or kernel, at which the most is held; empty for a model that runs none."""


@dataclass(frozen=True)
class Footprint:
    """Bytes of each kind as formulas of a model's symbols, under one scheme and one fusion."""

    model: CostModel
    fusion: Fusion
    weights: int
    buffers: int
    state: Formula
    inputs: Formula
    moments: tuple[Moment, ...]
    """Each sum of bytes once, at the first operation that holds it."""
    source: LifetimeSource | None
    """How it is known when storages are let go of; None of kernels, where the last reader tells it."""

    def at(self, sizes: Mapping[str, int] | None = None) -> MemoryUse:
        """Bytes at these sizes; others take their usual ones. Raises `FxcostError` where formulas do not hold."""
        mapper = Mapper(self.model.point(sizes))
        most = max(self.moments, key=lambda each: mapper(each.bytes), default=_NOTHING)
        parts = (self.state, self.inputs, most.activations, most.scratch)
        values = [number(mapper(each)) for each in parts]
        peak = self.weights + self.buffers + ceil(sum(values))
        return MemoryUse(self.weights, self.buffers, *map(ceil, values), peak=peak, where=most.name)

    @property
    def throughout(self) -> Formula:
        """Bytes that are held from the first operation to the last."""
        return add(Constant(self.weights + self.buffers), self.state, self.inputs)

    def along(self, symbol: str, sizes: Mapping[str, int] | None = None) -> "Footprint":
        """The same in one symbol, the others at these sizes, or at their usual ones; moments that never count are dropped."""
        point = self.model.point(sizes, but=symbol)
        known: dict[Formula, Formula] = {Symbol(name): Constant(size) for name, size in point.items()}

        def put(formula: Formula) -> Formula:
            return replaced(formula, known)

        moments = [Moment(each.name, put(each.activations), put(each.scratch)) for each in self.moments]
        kept = _undominated(list({each.bytes: each for each in reversed(moments)}.values())[::-1], self.model)
        kept = _undominated_along(kept, symbol, self.model.symbols[symbol])
        return replace(self, state=put(self.state), inputs=put(self.inputs), moments=kept)

    @cached_property
    def forms(self) -> tuple[Moment, ...]:
        """The moments that hold the most at some sizes; one or two for most models, where one symbol is left."""
        return _undominated(self.moments, self.model)

    @cached_property
    def peak(self) -> Formula:
        """Bytes held at most: all that is held throughout, and the greatest of `forms`."""
        most = greatest_of(*(each.bytes for each in self.forms)) if self.forms else ZERO
        return add(self.throughout, most)


_NOTHING = Moment("", ZERO)


def footprint(
    model: CostModel, scheme: Scheme | None = None, fusion: Fusion = "pointwise", *, on_cpu: bool = False
) -> Footprint:
    """What a call of a model holds, stored under a scheme, its operations run as the kernels of a fusion.

    With ``on_cpu`` convolutions make the copies that they make on a CPU, where each operation runs alone. Raises
    `FxcostError` for a model that was saved before files held who feeds whom.
    """
    here = placed(model, scheme or UNCHANGED)
    graph = edges_known(model.graph, model.ref)
    operations = model.used_layers
    source: LifetimeSource | None = None
    kinds: tuple[TemporaryKind, ...]
    if fusion == "none":
        units = operations
        source, held = lifetimes(operations, graph)
        kinds = ("library", "eager", "cpu") if on_cpu else ("library", "eager")
    else:
        units = in_order(fused(model, fusion).used_layers, graph)
        held = tuple(_held_by_kernels(units, graph))
        kinds = () if fusion == "ideal" else ("library",)
    weights = {each.role: 0 for each in here.weights}
    for each in here.weights:
        weights[each.role] += each.bytes
    return Footprint(
        model,
        fusion,
        weights.get("weight", 0),
        weights.get("buffer", 0) + ceil(_constants(here)),
        _bytes_of_role("state", here),
        _bytes_of_role("input", here),
        tuple(_moments(units, held, here, kinds)),
        source,
    )


def _constants(here: Placement) -> Fraction:
    """Bytes of buffers that no checkpoint holds."""
    pairs = zip(here.graph.storages, here.bits, strict=True)
    return sum((bits * int(each.elements) / 8 for each, bits in pairs if each.transient), Fraction(0))


def _bytes_of_role(role: StorageRole, here: Placement) -> Formula:
    pairs = zip(here.graph.storages, here.bits, strict=True)
    return total(each.elements * (bits / 8) for each, bits in pairs if each.role == role)


def _held_by_kernels(kernels: Sequence[LayerCost], graph: CostGraph) -> Iterable[Lifetime]:
    """Storages that kernels write to memory, each until the last that touches it, or to the end where it is given back."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    touched_by: dict[int, set[int]] = {}
    for place, kernel in enumerate(kernels):
        for access in kernel.edges.accesses:
            storage = graph.tensors[access.tensor].storage
            if graph.storages[storage].role not in GIVEN:
                first.setdefault(storage, place)
                last[storage] = place
                touched_by.setdefault(storage, set()).add(place)
    stays = {graph.tensors[tensor].storage for tensor in graph.outputs}
    for storage, made in first.items():
        if storage in stays:
            yield Lifetime(storage, made, len(kernels) - 1)
        elif len(touched_by[storage]) > 1:
            yield Lifetime(storage, made, last[storage])


def _moments(
    units: Sequence[LayerCost], held: Iterable[Lifetime], here: Placement, kinds: Sequence[TemporaryKind]
) -> Iterable[Moment]:
    """What is held while each unit runs, each sum once."""
    channels_last = with_channels_last(units, here.graph) if "cpu" in kinds else set[int]()
    bytes_of = [each.elements * (bits / 8) for each, bits in zip(here.graph.storages, here.bits, strict=True)]
    born: dict[int, list[Formula]] = {}
    gone: dict[int, list[Formula]] = {}
    for each in held:
        born.setdefault(each.first, []).append(bytes_of[each.storage])
        gone.setdefault(each.last, []).append(bytes_of[each.storage])
    alive: Counter[Formula] = Counter()
    seen: set[tuple[frozenset[tuple[Formula, int]], _Beside]] = set()
    for place, unit in enumerate(units):
        alive.update(born.get(place, ()))
        together: Formula | None = None
        for beside in dict.fromkeys(_beside(unit, here, kinds, channels_last)):
            key = frozenset(item for item in alive.items() if item[1]), beside
            if key in seen:
                continue
            seen.add(key)
            if together is None:
                together = add(*(count * formula for formula, count in alive.items() if count))
            yield Moment(unit.name, add(together, beside[0]), beside[1])
        alive.subtract(gone.get(place, ()))


_Beside = tuple[Formula, Formula]
"""Bytes that an operation holds while it runs, and those that a CPU's convolution copies."""


def _beside(
    unit: LayerCost, here: Placement, kinds: Sequence[TemporaryKind], channels_last: Collection[int]
) -> Iterable[_Beside]:
    """What is held beside the rest while each operation of a unit runs: one of them is the most."""
    for operation in unit.members or (unit,):
        held: list[Formula] = []
        scratch: list[Formula] = []
        for each in temporaries(operation, here.graph, channels_last) if kinds else ():
            if each.kind in kinds:
                bits = here.bits[here.graph.tensors[each.like].storage] if each.bits == "like" else each.bits
                known = scratch if each.kind == "cpu" else held
                known.append(each.elements * (Fraction(bits) / 8))
        # Of one convolution's copies in turn the most counts, and which that is depends on sizes.
        for copies in scratch or (ZERO,):
            yield total(held), copies


def _undominated(moments: Sequence[Moment], model: CostModel) -> tuple[Moment, ...]:
    """The moments but those than which another provably never holds less, in their order."""
    ends = {name: each.ends for name, each in model.symbols.items()}
    mapper = Mapper({name: fit(TRIED_AT, each) for name, each in model.symbols.items()})
    kept: list[Moment] = []
    for each in sorted(moments, key=lambda moment: mapper(moment.bytes), reverse=True):
        if any(is_never_negative(other.bytes - each.bytes, ends) for other in kept):
            continue
        kept = [other for other in kept if not is_never_negative(each.bytes - other.bytes, ends)]
        kept.append(each)
    order = {id(each): place for place, each in enumerate(moments)}
    return tuple(sorted(kept, key=lambda each: order[id(each)]))


TRIED_AT = 64
"""A size at which moments are compared first: what is most there is likely more than others everywhere."""


def _undominated_along(moments: Sequence[Moment], symbol: str, allowed: SymbolRange) -> tuple[Moment, ...]:
    """The same of formulas in one symbol, whose floors are solved class by class."""
    kept = list(moments)
    for each in moments:
        others = [other for other in kept if other is not each]
        if any(_is_never_less_along(other.bytes - each.bytes, symbol, allowed) for other in others):
            kept = others
    return tuple(kept)


def _is_never_less_along(difference: Formula, symbol: str, allowed: SymbolRange) -> bool:
    low, high, step = allowed.smallest, allowed.high, allowed.multiple_of
    try:
        if any(
            evaluate(difference, {symbol: low * times}) < 0
            for times in (1, TRIED_AT)
            if not high or low * times <= high
        ):
            return False
        found = where_nonnegative(difference, Symbol(symbol), low, high, step)
    except FxcostError:
        return False
    whole = [(each.low, each.high) for each in found.intervals] == [(low, high and high // step * step)]
    return whole and found.checked_up_to is None
