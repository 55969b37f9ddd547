"""What a model costs, layer by layer: frozen, symbolic or evaluated, with no torch inside."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from functools import cached_property
from math import prod
from typing import Any, Generic, Literal

from fxcost.costs.graph.cost_graph import NO_EDGES, CostGraph, Edges
from fxcost.costs.lazy import LazySequence
from fxcost.errors import FxcostError, UnknownOperatorsError, near_matches
from fxcost.formulas.algebra import ZERO, Exact, Formula, formula_of
from fxcost.formulas.evaluation import evaluate, symbol_names
from fxcost.formulas.quantities import (
    DTYPE_BITS,
    LARGEST_AMOUNT,
    Counts,
    Mapper,
    Q,
    Quantity,
    R,
    Widths,
    bytes_of,
    fault_of,
    multiply_adds,
    sum_counts,
    sum_of,
)
from fxcost.formulas.ranges.domain import Condition, Pinned, SymbolRange, check_sizes
from fxcost.inputs import BATCH_SIZE
from fxcost.work import Coverage, Unit

Rung = Literal["exact", "replayed", "fixed"]
"""How formulas were found: exported, recorded and run again, or for one size of some symbol alone."""


@dataclass(frozen=True)
class Cost(Generic[Q]):
    """Arithmetic, parameters and traffic of one operation or of several together; ``+`` adds them."""

    matrix: Q
    """FLOPs of contractions."""
    vector: Q
    """FLOPs of all else."""
    params: int = 0
    reads: Counts[Q] = field(default_factory=dict[str, Mapping[str, Q]])
    writes: Counts[Q] = field(default_factory=dict[str, Mapping[str, Q]])

    @cached_property
    def flops(self) -> Q:
        """All arithmetic."""
        if self.matrix == 0 or self.vector == 0:
            return self.vector if self.matrix == 0 else self.matrix
        return sum_of((self.matrix, self.vector))

    @cached_property
    def macs(self) -> Q:
        """Multiply-adds of contractions."""
        return multiply_adds(self.matrix)

    def __add__(self, other: "Cost[Q]") -> "Cost[Q]":
        return Cost.sum((self, other))

    @staticmethod
    def sum(costs: Iterable["Cost[R]"]) -> "Cost[R]":
        """All costs together; formulas are summed as monomials, never expanded."""
        costs = list(costs)
        return Cost(
            matrix=sum_of(c.matrix for c in costs),
            vector=sum_of(c.vector for c in costs),
            params=sum(c.params for c in costs),
            reads=sum_counts(c.reads for c in costs),
            writes=sum_counts(c.writes for c in costs),
        )

    def bytes_moved(self, bits: Widths) -> Quantity:
        """Bytes read and written when an element of each dtype takes so many bits."""
        return self.bytes_read(bits) + self.bytes_written(bits)

    def bytes_read(self, bits: Widths) -> Quantity:
        """Bytes read when an element of each dtype takes so many bits."""
        return bytes_of(self.reads, bits)

    def bytes_written(self, bits: Widths) -> Quantity:
        """Bytes written when an element of each dtype takes so many bits."""
        return bytes_of(self.writes, bits)

    def amounts(self) -> Iterator[tuple[str, Q, bool]]:
        """What it computes and moves: where each stands in the saved file, how much, and whether it has to be whole."""
        yield "flops", self.flops, True
        yield "macs", self.macs, True
        yield "vector", self.vector, True
        for side, counts in (("reads", self.reads), ("writes", self.writes)):
            for role, by_dtype in counts.items():
                for dtype, elements in by_dtype.items():
                    yield f"{side}.{role}.{dtype}", elements, False

    def map(self, function: "Callable[[Q], R]") -> "Cost[R]":
        """The same cost with ``function`` applied to each quantity."""
        return Cost(
            function(self.matrix),
            function(self.vector),
            self.params,
            {role: {d: function(n) for d, n in by.items()} for role, by in self.reads.items()},
            {role: {d: function(n) for d, n in by.items()} for role, by in self.writes.items()},
        )


def operator_name(op: str) -> str:
    """``conv2d`` for ``aten.conv2d.default``; an operator without a namespace keeps its name."""
    return op.split(".")[1] if "." in op else op


def names_of(calls: Sequence[tuple[str, str]], modules: Iterable[str]) -> list[str]:
    """The names of calls, each told by the path of its module and its operator.

    ``layer1.0.conv1`` where a module without children calls one operator; else its path and the operator's name.
    """
    parents = {path.rpartition(".")[0] for path in modules if path}
    operators: dict[str, set[str]] = {}
    for path, operator in calls:
        operators.setdefault(path, set()).add(operator)
    names: list[str] = []
    for path, operator in calls:
        alone = path and path not in parents and len(operators[path]) == 1
        names.append(path if alone else f"{path}.{operator_name(operator).strip('_')}".lstrip("."))
    seen: Counter[str] = Counter()
    repeated = Counter(names)
    for index, name in enumerate(names):
        seen[name] += 1
        if repeated[name] > 1:
            names[index] = f"{name}#{seen[name]}"
    return names


@dataclass(frozen=True)
class LayerCost(Generic[Q]):
    """One operation of the model: where it stands, what it is, what it costs."""

    name: str
    module: str
    module_type: str
    op: str
    coverage: Coverage
    rule: str
    cost: Cost[Q]
    reason: str = ""
    shared: bool = False
    """Whether it uses a parameter that an earlier operation used."""
    inputs: tuple[tuple[Q, ...], ...] = ()
    outputs: tuple[tuple[Q, ...], ...] = ()
    extra: Mapping[str, Q] = field(default_factory=dict[str, Q])
    """What passes of third parties found, by the name of the annotation."""
    edges: Edges = NO_EDGES
    """Its tensors in the cost graph of a model that has one."""
    called_as: str = ""
    """The path that its module was called by, where that is another than ``module``, the first of a shared one."""
    computes: tuple[str, str] = ("", "")
    """The precisions of its contractions and of its other work, where a scheme says; else empty."""
    mixed: tuple[tuple[str, Q], ...] = ()
    """FLOPs of its contractions by their precision, of a row whose contractions differ in it."""
    members: "tuple[LayerCost, ...]" = ()
    """The operations that run as one kernel, of a row that is one."""
    launches: int = 1
    """How many kernels are started for it."""

    @property
    def place(self) -> str:
        """The path of its module in this call: within its caller, also where several share the module."""
        return self.called_as or self.module

    def map(self, function: "Callable[[Q], R]", cost: "Cost[R] | None" = None) -> "LayerCost[R]":
        """The same layer with ``function`` applied to each quantity; ``cost`` where what it gives of the cost is known."""
        changed: Any = replace(
            self,
            cost=self.cost.map(function) if cost is None else cost,
            inputs=tuple(tuple(map(function, shape)) for shape in self.inputs),
            outputs=tuple(tuple(map(function, shape)) for shape in self.outputs),
            extra={name: function(value) for name, value in self.extra.items()} if self.extra else self.extra,
            mixed=tuple((precision, function(flops)) for precision, flops in self.mixed),
        )
        return changed

    @property
    def matrix_by_precision(self) -> tuple[tuple[str, Q], ...]:
        """FLOPs of its contractions by what they compute in."""
        return self.mixed or ((self.computes[0], self.cost.matrix),)

    @property
    def kind(self) -> str:
        """The class of its module, or its operator where no module stands."""
        return self.module_type or operator_name(self.op)

    @property
    def unit(self) -> Unit:
        """The unit that runs its contractions, or the vector unit where it has none."""
        return "vector" if self.cost.matrix == 0 else "matrix"

    @property
    def flops(self) -> Q:
        return self.cost.flops

    @property
    def macs(self) -> Q:
        return self.cost.macs

    @property
    def params(self) -> int:
        return self.cost.params


class LazyLayers(LazySequence[LayerCost[Q]]):
    """Layers that are made when first asked for; the cost of each is known, and the same object where it is the same."""

    def __init__(self, costs: Sequence[Cost[Q]], make: Callable[[], tuple[LayerCost[Q], ...]]) -> None:
        super().__init__(make)
        self.costs = costs


def _rule_and_layer(layer: LayerCost[Any]) -> str:
    return f"the rule {layer.rule!r} of {layer.op}, in layer {layer.name}"


@dataclass(frozen=True)
class State(Generic[Q]):
    """The cache of a model, all layers together: elements by dtype."""

    per_token: Mapping[str, int]
    """What is kept of one position of one sequence."""
    whole: Mapping[str, Q]
    """All that is held, the new token included."""

    def bytes_per_token(self, bits: Widths) -> Quantity:
        """Bytes that one more position of one sequence takes, until windows are full."""
        return bytes_of({"state": self.per_token}, bits)

    def bytes_held(self, bits: Widths) -> Quantity:
        """Bytes of the whole cache."""
        return bytes_of({"state": self.whole}, bits)

    def map(self, function: Callable[[Q], R]) -> "State[R]":
        """The same cache with ``function`` applied to what is held."""
        return State(self.per_token, {dtype: function(n) for dtype, n in self.whole.items()})


@dataclass(frozen=True)
class Costs(Generic[Q]):
    """The costs of a model's layers, as formulas or as numbers, and where the formulas hold."""

    ref: str
    layers: Sequence[LayerCost[Q]]
    symbols: Mapping[str, SymbolRange] = field(default_factory=dict[str, SymbolRange])
    defaults: Mapping[str, int] = field(default_factory=dict[str, int])
    """A usual size of each symbol, used where the user gives none: of the user's own as given, even outside its range."""
    fixed: Mapping[str, Pinned] = field(default_factory=dict[str, Pinned])
    conditions: tuple[Condition, ...] = ()
    assumptions: tuple[str, ...] = ()
    modules: Mapping[str, str] = field(default_factory=dict[str, str])
    """The class at each module path."""
    mode: str = "eval"
    rung: Rung = "exact"
    dtype: str = "float32"
    """The floating-point dtype of the model's weights, which ``precision`` stands in for."""
    free: int = 0
    """Number of operations that neither compute nor move anything."""
    tool: Mapping[str, str] = field(default_factory=dict[str, str])
    state: State[Q] | None = None
    """The cache, of a model that decodes."""
    graph: CostGraph | None = None
    """Who feeds whom; None in a model that was saved before files held it."""
    widths: Mapping[str, Fraction] = field(default_factory=dict[str, Fraction])
    """Bits of an element of each format that a scheme stores elements in; files hold none."""

    @cached_property
    def known_kernels(self) -> dict[str, Any]:
        """The same model with a row for each kernel, by fusion, as far as it was asked for."""
        return {}

    @property
    def _costs(self) -> Sequence[Cost[Q]]:
        """The cost of each layer."""
        layers: Any = self.layers
        return layers.costs if isinstance(self.layers, LazyLayers) else [layer.cost for layer in layers]

    def _distinct_costs(self) -> Iterable[tuple[int, Cost[Q]]]:
        """Each cost once, after the index of the first layer that has it."""
        first: dict[int, tuple[int, Cost[Q]]] = {}
        for index, cost in enumerate(self._costs):
            first.setdefault(id(cost), (index, cost))
        return first.values()

    @cached_property
    def total(self) -> Cost[Q]:
        """All layers together."""
        return Cost.sum(self._costs)

    @property
    def used_layers(self) -> "list[LayerCost[Q]]":
        """The layers that run: all but those of parameters that no operation uses."""
        return [layer for layer in self.layers if layer.op != UNUSED]

    @property
    def unused_layers(self) -> "list[LayerCost[Q]]":
        """The parameters that no operation uses, a layer for each."""
        return [layer for layer in self.layers if layer.op == UNUSED]

    @cached_property
    def unknown(self) -> Mapping[str, tuple[str, ...]]:
        """Operators without a rule, and the layers that call them: their arithmetic is missing from the total."""
        found: dict[str, list[str]] = {}
        for layer in self.layers:
            if layer.coverage == "unknown":
                found.setdefault(layer.op, []).append(layer.name)
        return {op: tuple(names) for op, names in found.items()}

    @property
    def coverage(self) -> Counter[str]:
        """Number of operations counted, free and unknown."""
        return Counter(layer.coverage for layer in self.used_layers) + Counter(free=self.free)

    def by_module(self, depth: int | None = None) -> Mapping[str, Cost[Q]]:
        """The cost of all that runs inside each module, by its path down to ``depth``; ``""`` is the whole model."""
        inside: dict[str, list[Cost[Q]]] = {}
        for layer in self.layers:
            parts = layer.place.split(".") if layer.place else []
            for length in range(len(parts[:depth]) + 1):
                inside.setdefault(".".join(parts[:length]), []).append(layer.cost)
        return {path: Cost.sum(costs) for path, costs in inside.items()}

    def by_op(self) -> Mapping[str, Cost[Q]]:
        """The cost of all calls of each operator."""
        calls: dict[str, list[Cost[Q]]] = {}
        for layer in self.layers:
            calls.setdefault(layer.op, []).append(layer.cost)
        return {op: Cost.sum(costs) for op, costs in calls.items()}

    def check_symbol(self, name: str) -> None:
        """Raise `FxcostError` unless the inputs have a symbol of that name, free or fixed."""
        known = (*self.symbols, *self.fixed)
        if name not in known:
            only = f"; ask with --over {known[0]}" if len(known) == 1 else ""
            raise FxcostError(
                f"{self.ref} has no symbol {name}{near_matches(name, known)}; it has {', '.join(known) or 'none'}{only}"
            )

    @property
    def usual(self) -> dict[str, int]:
        """The usual size of each symbol that has one."""
        return {name: self.defaults[name] for name in self.symbols if name in self.defaults}

    def with_fixed(self, point: Mapping[str, int]) -> dict[str, int]:
        """The point together with the sizes that are fixed: all that a call is made with."""
        return {**point, **{name: pin.value for name, pin in self.fixed.items()}}

    @property
    def has_batch(self) -> bool:
        """Whether the inputs have a batch size, free or fixed."""
        return BATCH_SIZE in self.symbols or BATCH_SIZE in self.fixed

    def batch(self, point: Mapping[str, int]) -> int:
        """How many samples one call takes at a point; 1, the call itself, where the inputs have no batch size."""
        return self.with_fixed(point).get(BATCH_SIZE, 1)

    def bits(self, own: int | None = None) -> Widths:
        """Bits of an element of each dtype and format; the model's own dtype takes ``own`` bits when given."""
        if own is None and not self.widths:
            return DTYPE_BITS
        return {**DTYPE_BITS, **({} if own is None else {self.dtype: own}), **self.widths}


@dataclass(frozen=True)
class CostModel(Costs[Formula]):
    """The costs of a model's layers as formulas of its symbols, and where the formulas hold."""

    def point(self, sizes: Mapping[str, int] | None = None, *, but: str = "") -> dict[str, int]:
        """A size for each symbol: those given, then the usual ones. Raises `FxcostError` outside the formulas' range.

        The symbol ``but`` is left open, with the conditions that it is part of.
        """
        symbols = {name: each for name, each in self.symbols.items() if name != but}
        conditions = tuple(c for c in self.conditions if but not in c.names)
        chosen = {**{name: size for name, size in self.usual.items() if name != but}, **(sizes or {})}
        check_sizes(chosen, symbols, conditions, {name: pin.value for name, pin in self.fixed.items()})
        return {name: chosen[name] for name in symbols}

    def at(self, sizes: Mapping[str, int] | None = None, **more: int) -> "EvaluatedModel":
        """The same model evaluated, every formula an exact number; symbols not given take their usual size."""
        point = self.point({**(sizes or {}), **more})
        mapper = Mapper(point)
        evaluated: dict[int, Cost[Exact]] = {}
        for index, each in self._distinct_costs():
            cost = evaluated[id(each)] = each.map(mapper)
            for name, value, whole in cost.amounts():
                fault = (
                    "" if type(value) is int and 0 <= value < LARGEST_AMOUNT else fault_of(value, point, whole=whole)
                )
                if fault:
                    raise FxcostError(f"{_rule_and_layer(self.layers[index])}.{name} {fault}")
        costs = [evaluated[id(each)] for each in self._costs]

        def layers() -> tuple[LayerCost[Exact], ...]:
            return tuple(layer.map(mapper, cost) for layer, cost in zip(self.layers, costs, strict=True))

        state = None if self.state is None else self.state.map(mapper)
        known: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(CostModel)}
        known.update(layers=LazyLayers(costs, layers), state=state, sizes=point)
        return EvaluatedModel(**known)

    def check(self, place: Callable[[LayerCost], str] = _rule_and_layer) -> None:
        """Raise `FxcostError`, naming the place, where a formula gives no amount at the usual sizes, or at the lowest.

        Work is whole and not negative; what is moved may be an expectation, and is not negative.
        """
        first: dict[tuple[Formula, bool], tuple[int, str]] = {}
        for index, cost in self._distinct_costs():
            for name, amount, whole in cost.amounts():
                first.setdefault((amount, whole), (index, name))
        for point in self.points_to_check():
            for (amount, whole), (index, name) in first.items():
                fault = self._fault(amount, whole, point)
                if fault:
                    raise FxcostError(f"{place(self.layers[index])}.{name} {fault}")

    def _fault(self, amount: Formula, whole: bool, point: Mapping[str, int]) -> str:
        """Why a formula is no amount at a point; empty where it is one."""
        try:
            return fault_of(evaluate(amount, point), point, whole=whole)
        except FxcostError as error:
            strange = ", ".join(name for name in symbol_names(amount) if name not in point)
            return f"is no amount: {self.ref} has no symbol {strange}" if strange else f"is no amount: {error}"

    def points_to_check(self) -> Iterator[dict[str, int]]:
        """The usual sizes and the lowest, as far as formulas hold there."""
        usual = {name: fit(self.defaults.get(name, 1), each) for name, each in self.symbols.items()}
        lowest = {name: each.smallest for name, each in self.symbols.items()}
        for point in (usual, lowest) if lowest != usual else (usual,):
            with suppress(FxcostError):
                check_sizes(point, self.symbols, self.conditions, {})
                yield point


@dataclass(frozen=True)
class EvaluatedModel(Costs[Exact]):
    """The costs of a model's layers as numbers, which no other sizes can be asked of."""

    sizes: Mapping[str, int] = field(default_factory=dict[str, int])


def refuse_unknown(model: Costs[Any]) -> None:
    """Raise `UnknownOperatorsError` when the model calls operators without a rule."""
    if model.unknown:
        listed = "; ".join(f"{op} in {', '.join(names[:3])}" for op, names in model.unknown.items())
        raise UnknownOperatorsError(
            f"{model.ref} calls operators without a rule: {listed}\nAdd rules with --plugin, or leave --strict out for lower bounds"
        )


SKIPPED_IN, NOT_RUN = "masked pairs are skipped in ", "not run: "
"""How assumptions begin that a user has to be told of whatever is asked of a model."""


def cautions(model: Costs[Any]) -> tuple[str, ...]:
    """The assumptions that say of a result that it is not all of what its user asked for."""
    return tuple(note for note in model.assumptions if note.startswith((SKIPPED_IN, NOT_RUN)))


def mixed_products(layers: Iterable[LayerCost[Q]]) -> tuple[tuple[str, Q], ...]:
    """FLOPs of the contractions of several rows by precision; empty where all compute in one."""
    parts: dict[str, list[Q]] = {}
    for layer in layers:
        for precision, flops in layer.matrix_by_precision:
            if flops != 0:
                parts.setdefault(precision, []).append(flops)
    return tuple((precision, sum_of(each)) for precision, each in parts.items()) if len(parts) > 1 else ()


UNUSED = "(unused)"
"""Stands for the operator in the row of a parameter that no operation uses."""


def unused_parameter(name: str, shape: tuple[int, ...], modules: Mapping[str, str]) -> LayerCost:
    """The row of a parameter that no operation uses."""
    module = name.rpartition(".")[0]
    reason = "no operation uses this parameter"
    cost = Cost(ZERO, ZERO, prod(shape))
    sizes = tuple(map(formula_of, shape))
    return LayerCost(name, module, modules.get(module, ""), UNUSED, "free", "", cost, reason, inputs=(sizes,))


def fit(size: int, allowed: SymbolRange) -> int:
    """The size within the range that is nearest to ``size``."""
    size = max(size, allowed.low)
    if allowed.high is not None:
        size = min(size, allowed.high)
    step = allowed.multiple_of
    up = -(-size // step) * step
    return up if allowed.high is None or up <= allowed.high else size // step * step
