"""The saved file: a `CostModel` as JSON, each formula written once and as text that only the safe parser reads.

Operations, tensors and storages stand in tables of the kinds that differ. A row names tensors by how far they are from
the first that no operation before it used (0 is that one, -1 the one before), and modules by how far they are from that
of the row before, so that the rows of blocks that repeat are the same, and stand once with how often they come. What is
far away is named by its number, as text.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import accumulate
from math import prod
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, TypeAdapter

from fxcost.costs.files.frame import (
    MOST_PARAMETERS,
    VERSION_FIELD,
    Frame,
    FrameReader,
    SavedAmount,
    checked,
    frame_of,
    model_of,
    quantity_text,
)
from fxcost.costs.files.module_tree import Line, SavedModule, as_tree, paths_of
from fxcost.costs.files.records import SavedModel, to_model, to_record
from fxcost.costs.files.repeats import Order, folded, kinds_of, unfolded
from fxcost.costs.files.versioned_json import Record, as_json, parsed, validated
from fxcost.costs.graph.cost_graph import (
    FUSED,
    HELD,
    Access,
    CostGraph,
    Edges,
    Joined,
    Part,
    Storage,
    StorageRole,
    StoredTensor,
    counted_as,
    counts_of,
)
from fxcost.costs.lazy import LazySequence
from fxcost.costs.model import (
    Cost,
    CostModel,
    LayerCost,
    LazyLayers,
    names_of,
    unused_parameter,
)
from fxcost.errors import FxcostError
from fxcost.files import read_file, write_file
from fxcost.formulas.algebra import Formula, multiply
from fxcost.formulas.evaluation import evaluate
from fxcost.formulas.quantities import DTYPE_BITS

SCHEMA_VERSION = 2
NEAR = 256
"""Tensors and storages that are named by how far they are, and not by their number."""

NearOrNumber = int | Annotated[str, Field(pattern="^[0-9]{1,7}$")]
"""Of a tensor or storage: how far it is from the first that was not used before, or its number as text."""


SavedShape = Annotated[tuple[SavedAmount, ...], Field(max_length=64)]


class StorageKind(Record):
    role: StorageRole
    dtype: Line
    elements: int
    module: int | None = None
    """Of a named one: how far its module is from that of the named one before."""
    name: Line = ""
    shape: tuple[int, ...] | None = None
    transient: bool = False
    held_for: int | None = Field(default=None, ge=0, lt=2**31)


class TensorKind(Record):
    storage: NearOrNumber
    version: int = Field(default=0, ge=0)
    dtype: Line
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int


SavedAccesses = tuple[tuple[NearOrNumber, int, int], ...]


class PartKind(Record):
    """The part of an operation in a fused kernel."""

    back: int = 0
    joined: Joined = "leads"
    launches: int = Field(default=0, ge=0, lt=2**31)
    accesses: SavedAccesses = ()


class OperationKind(Record):
    module: int
    called_as: int | None = None
    type: Line | None = None
    """The class of its module, where the tree of modules has another."""
    operator: int
    rule: int
    coverage: Literal["counted", "free", "unknown"]
    params: SavedAmount = 0
    shared: bool = False
    matrix: int
    vector: int
    inputs: tuple[tuple[int, NearOrNumber], ...]
    outputs: tuple[NearOrNumber, ...]
    accesses: SavedAccesses
    parts: tuple[PartKind, ...] = ()
    extra: tuple[tuple[Line, int], ...] = ()


class StorageTable(Record):
    kinds: list[StorageKind]
    order: Order


class TensorTable(Record):
    kinds: list[TensorKind]
    order: Order


class OperationTable(Record):
    kinds: list[OperationKind]
    order: Order


class SavedRule(Record):
    name: Line
    reason: Line = ""


class SavedGraph(Frame):
    """The file's form."""

    VERSION: ClassVar[tuple[str, int]] = (VERSION_FIELD, SCHEMA_VERSION)

    schema_version: Literal[2]
    modules: SavedModule
    rules: list[SavedRule]
    operators: list[Line]
    arguments: list[Line]
    formulas: list[str]
    storages: StorageTable
    tensors: TensorTable
    operations: OperationTable
    names: dict[int, Line] = Field(default={})
    """Of the operations whose names do not follow from their modules and operators."""
    outputs: list[int]
    unused: dict[Line, SavedAmount | SavedShape] = Field(default={})
    """The shapes of the parameters that no operation uses; in files of before, their elements."""


def save(model: CostModel, path: str | Path) -> None:
    """Write the model; the file is complete or, when interrupted, as it was before."""
    write_file(Path(path), as_json(to_document(model)))


def as_text(model: CostModel) -> bytes:
    """The model as a file holds it, for `from_text` alone."""
    return json.dumps(to_document(model)).encode()


def from_text(text: bytes, place: str) -> CostModel:
    """The model of a text that `as_text` made of a trace, whose amounts are checked already."""
    return _Reader(validated(parsed(text, SavedGraph.KIND, place), SavedGraph, place), place).model()


def load(path: str | Path) -> CostModel:
    """Read a saved model. Raises `FxcostError` naming the file and the place when it is broken, newer, or hostile."""
    return from_values(parsed(read_file(Path(path), SavedGraph.KIND), SavedGraph.KIND, str(path)), str(path))


def from_values(values: dict[str, Any], place: str) -> CostModel:
    """The model that the JSON values of a file of any version stand for; errors as `load`."""
    if values.get(VERSION_FIELD) == 1:
        return to_model(validated(values, SavedModel, place), place)
    saved = validated(values, SavedGraph, place)
    return checked(_Reader(saved, place).model(), saved, place)


# Writing


class _Table:
    """Texts or records, each once, by their numbers."""

    def __init__(self) -> None:
        self.places: dict[Any, int] = {}

    def __call__(self, value: Any) -> int:
        return self.places.setdefault(value, len(self.places))


class _Near:
    """Places of what is numbered in the order of first use."""

    def __init__(self) -> None:
        self.known = 0

    def write(self, number: int) -> NearOrNumber:
        """The place as a row has it."""
        far = number - self.known
        return far if far >= -NEAR else str(number)

    def after(self, numbers: Iterable[int]) -> None:
        """Go on to the next row."""
        self.known = max((self.known, *(number + 1 for number in numbers)))


def _table(rows: Iterable[Any]) -> dict[str, Any]:
    kinds, order = kinds_of(rows)
    return {
        "kinds": [kind.model_dump(mode="json", exclude_defaults=True) for kind in kinds],
        "order": [each if isinstance(each, int) else each.model_dump() for each in folded(order)],
    }


def to_document(model: CostModel) -> dict[str, Any]:
    """The model as a file holds it: one without a cost graph as records, as in version 1."""
    if model.graph is None:
        return to_record(model).model_dump(mode="json")
    return _Writer(model, model.graph).document()


class _Writer:
    def __init__(self, model: CostModel, graph: CostGraph) -> None:
        self.model, self.graph = model, graph
        self.layers = model.used_layers
        self.formula, self.rule, self.operator, self.argument = _Table(), _Table(), _Table(), _Table()
        used = (path for layer in self.layers for path in (layer.module, layer.called_as))
        self.tree = as_tree({**dict.fromkeys(used), **dict.fromkeys(self._holders()), **model.modules})
        self.modules = {path: index for index, (path, _) in enumerate(paths_of(self.tree, model.ref))}

    def _holders(self) -> Iterable[str]:
        return (each.name.rpartition(".")[0] for each in self.graph.storages if each.name)

    def document(self) -> dict[str, Any]:
        written = {"storages": _table(self._storages()), "tensors": _table(self._tensors())}
        written["operations"] = _table(self._operations())
        names_told = names_of([(layer.module, layer.op) for layer in self.layers], self.model.modules)
        unused = {
            layer.name: [int(evaluate(size, {})) for size in layer.inputs[0]] for layer in self.model.unused_layers
        }
        names = {
            index: layer.name
            for index, (layer, name) in enumerate(zip(self.layers, names_told, strict=True))
            if layer.name != name
        }
        told = {name: TypeAdapter(Any).dump_python(value, mode="json") for name, value in frame_of(self.model).items()}
        return {
            VERSION_FIELD: SCHEMA_VERSION,
            **told,
            "modules": self.tree.model_dump(mode="json", exclude_defaults=True),
            "rules": [{"name": name, "reason": reason} for name, reason in self.rule.places],
            "operators": list(self.operator.places),
            "arguments": list(self.argument.places),
            "formulas": [quantity_text(each) for each in self.formula.places],
            **written,
            "names": names,
            "outputs": list(self.graph.outputs),
            "unused": unused,
        }

    def _storages(self) -> list[StorageKind]:
        rows: list[StorageKind] = []
        before = 0
        for each in self.graph.storages:
            path, _, name = each.name.rpartition(".")
            module = self.modules[path] if each.name else before
            shift, before = (module - before if each.name else None), module
            elements = self.formula(each.elements)
            shape = None if each.shape is None else tuple(map(self.formula, each.shape))
            row = StorageKind(role=each.role, dtype=each.dtype, elements=elements, module=shift, name=name)
            told = {"shape": shape, "transient": each.transient, "held_for": each.held_for}
            rows.append(row.model_copy(update=told))
        return rows

    def _tensors(self) -> list[TensorKind]:
        near = _Near()
        rows: list[TensorKind] = []
        for each in self.graph.tensors:
            shape, strides = (tuple(map(self.formula, sizes)) for sizes in (each.shape, each.strides))
            storage, offset = near.write(each.storage), self.formula(each.offset)
            rows.append(
                TensorKind(
                    storage=storage, version=each.version, dtype=each.dtype, shape=shape, strides=strides, offset=offset
                )
            )
            near.after([each.storage])
        return rows

    def _operations(self) -> list[OperationKind]:
        near = _Near()
        rows: list[OperationKind] = []
        before = 0
        for layer in self.layers:
            module = self.modules[layer.module]
            rows.append(self._operation(layer, module, module - before, near))
            before = module
            near.after(layer.edges.tensors)
        return rows

    def _operation(self, layer: LayerCost, module: int, shift: int, near: _Near) -> OperationKind:
        edges = layer.edges
        return OperationKind(
            module=shift,
            called_as=self.modules[layer.called_as] - module if layer.called_as else None,
            type=layer.module_type if layer.module_type != self.model.modules.get(layer.module, "") else None,
            operator=self.operator(layer.op),
            rule=self.rule((layer.rule, layer.reason)),
            coverage=layer.coverage,
            params=layer.params,
            shared=layer.shared,
            matrix=self.formula(layer.cost.matrix),
            vector=self.formula(layer.cost.vector),
            inputs=tuple((self.argument(name), near.write(tensor)) for name, tensor in edges.inputs),
            outputs=tuple(map(near.write, edges.outputs)),
            accesses=self._accesses(edges.accesses, near),
            parts=tuple(self._part(part, near) for part in edges.parts),
            extra=tuple((name, self.formula(value)) for name, value in layer.extra.items()),
        )

    def _part(self, part: Part, near: _Near) -> PartKind:
        accesses = self._accesses(part.accesses, near)
        return PartKind(back=part.back, joined=part.joined, launches=part.launches, accesses=accesses)

    def _accesses(self, accesses: Iterable[Access], near: _Near) -> SavedAccesses:
        return tuple(
            (near.write(each.tensor), self.formula(each.read), self.formula(each.written)) for each in accesses
        )


# Reading


def _width(kind: Record) -> int:
    """How many values a row of a kind holds."""
    values: Iterable[Any] = vars(kind).values()
    held = sum(len(value) for value in values if isinstance(value, tuple))  # pyright: ignore[reportUnknownArgumentType]
    return held + sum(len(part.accesses) for part in kind.parts) if isinstance(kind, OperationKind) else held


def _number_at(place: NearOrNumber, known: int) -> int:
    """The number of what a row names, where so many were used before it."""
    return int(place) if isinstance(place, str) else known + place


def _reach(places: Iterable[NearOrNumber]) -> tuple[int, int, int]:
    """The nearest to the start and the furthest that are told by how far they are, and the greatest number."""
    places = list(places)
    near = [place for place in places if isinstance(place, int)]
    return min(near, default=0), max(near, default=-1), max((int(p) for p in places if isinstance(p, str)), default=-1)


def _tensors_of(kind: OperationKind) -> list[NearOrNumber]:
    return [*(place for _, place in kind.inputs), *kind.outputs, *(place for place, _, _ in kind.accesses)]


class _Reader(FrameReader):
    """Checks every row that a file stands for, and makes rows when they are first asked for.

    What rows name by how far it is depends on those before; all else is checked once for each kind.
    """

    def __init__(self, saved: SavedGraph, place: str) -> None:
        super().__init__(place, saved)
        self.saved = saved
        self.costs: dict[object, Cost] = {}
        self.formulas = [self.parse(text, f"formulas.{index}") for index, text in enumerate(saved.formulas)]
        self.modules = paths_of(saved.modules, place)
        self.types = {path: kind for path, kind in self.modules if kind is not None}
        self.sizes = cache(self._sizes)
        self.storages: list[StorageKind] = self._rows(saved.storages, "storages")
        self.tensors: list[TensorKind] = self._rows(saved.tensors, "tensors")
        self.operations: list[OperationKind] = self._rows(saved.operations, "operations")

    def _rows(self, table: Any, what: str) -> list[Any]:
        for kind in table.kinds if what != "operations" else ():
            self.refuse_strange("dtype", [kind.dtype], DTYPE_BITS, what)
        widths = list(map(_width, table.kinds))
        order = unfolded(table.order, widths, f"{self.place}: {what}")
        return [table.kinds[index] for index in order]

    def _formula(self, index: int) -> Formula:
        return self._one(self.formulas, index, "formula")

    def _sizes(self, places: tuple[int, ...]) -> tuple[Formula, ...]:
        return tuple(map(self._formula, places))

    def _one(self, table: Sequence[Any], index: int, what: str) -> Any:
        if not 0 <= index < len(table):
            raise FxcostError(f"{self.place}: there is no {what} {index}; {len(table)} are written")
        return table[index]

    def model(self) -> CostModel:
        saved = self.saved
        storages = self._storages()
        graph = CostGraph(storages, self._tensors(), tuple(saved.outputs))
        for tensor in graph.outputs:
            self._one(self.tensors, tensor, "tensor")
        layers = self._layers()
        free = sum(kind.coverage == "free" for kind in self.operations)
        return model_of(saved, layers, free, self.types, graph, self.place)

    def _shape(self, size: int | tuple[int, ...], name: str) -> tuple[int, ...]:
        shape = (size,) if isinstance(size, int) else size
        if prod(shape) >= MOST_PARAMETERS:
            raise FxcostError(f"{self.place}: unused.{name} has more elements than any parameter")
        return shape

    def _modules_at(self, shifts: Iterable[int]) -> list[int]:
        """The numbers of modules that are told by how far each is from the one before."""
        found = list(accumulate(shifts))
        self._modules_are_there(found)
        return found

    def _modules_are_there(self, numbers: Sequence[int]) -> None:
        for module in (min(numbers, default=0), max(numbers, default=0)):
            self._one(self.modules, module, "module")

    def _known_before(
        self, rows: Sequence[Record], places: Callable[[Any], Sequence[NearOrNumber]], count: int, what: str
    ) -> list[int]:
        """The first tensor or storage that no row before each had used; every one that a row names is there."""
        reaches: dict[int, tuple[int, int, int]] = {}
        found: list[int] = []
        known = 0
        for row in rows:
            found.append(known)
            if id(row) not in reaches:
                reaches[id(row)] = _reach(places(row))
            first, last, numbered = reaches[id(row)]
            last = max(known + last, numbered)
            if known + first < 0 or last >= count:
                for number in (last, known + first):
                    self._one(range(count), number, what)
            known = max(known, last + 1)
        return found

    def _storages(self) -> LazySequence[Storage]:
        for kind in self.saved.storages.kinds:
            elements, *shape = self._sizes((kind.elements, *(kind.shape or ())))
            if kind.role in HELD and (elements.names or (kind.shape is not None and multiply(*shape) != elements)):
                raise FxcostError(
                    f"{self.place}: storages: a {kind.role} of {elements} elements: its size is to be a number, and that of its shape"
                )
        modules = self._modules_at(kind.module or 0 for kind in self.storages)
        return LazySequence(lambda: tuple(map(self._storage, self.storages, modules)))

    def _storage(self, kind: StorageKind, module: int) -> Storage:
        path = "" if kind.module is None else self.modules[module][0]
        shape = None if kind.shape is None else self.sizes(kind.shape)
        name = f"{path}.{kind.name}" if path else kind.name
        elements = self._formula(kind.elements)
        return Storage(kind.role, kind.dtype, elements, name, shape, kind.transient, kind.held_for)

    def _tensors(self) -> LazySequence[StoredTensor]:
        for kind in self.saved.tensors.kinds:
            self._sizes((*kind.shape, *kind.strides, kind.offset))
        known = self._known_before(self.tensors, lambda kind: (kind.storage,), len(self.storages), "storage")
        self.held_by = [_number_at(kind.storage, before) for kind, before in zip(self.tensors, known, strict=True)]
        return LazySequence(lambda: tuple(map(self._tensor, self.tensors, self.held_by)))

    def _tensor(self, kind: TensorKind, storage: int) -> StoredTensor:
        shape, strides = self.sizes(kind.shape), self.sizes(kind.strides)
        return StoredTensor(storage, kind.version, kind.dtype, shape, strides, self._formula(kind.offset))

    def _layers(self) -> LazyLayers:
        unused = [
            unused_parameter(name, self._shape(size, name), self.types) for name, size in self.saved.unused.items()
        ]
        modules = self._modules_at(kind.module for kind in self.operations)
        known = self._known_before(self.operations, _tensors_of, len(self.tensors), "tensor")
        rows = list(zip(self.operations, modules, known, strict=True))
        self._check_parts(known)
        self._modules_are_there([at + kind.called_as for kind, at, _ in rows if kind.called_as is not None])
        costs = self._costs(rows)

        def layers() -> tuple[LayerCost, ...]:
            calls = [(self.modules[module][0], self.saved.operators[kind.operator]) for kind, module, _ in rows]
            told = self.saved.names
            names = (told.get(index, name) for index, name in enumerate(names_of(calls, self.types)))
            made = (self._layer(*row, name, cost) for row, name, cost in zip(rows, names, costs, strict=True))
            return (*made, *unused)

        return LazyLayers([*costs, *(each.cost for each in unused)], layers)

    def _check_parts(self, known: Sequence[int]) -> None:
        """Raise `FxcostError` where an operation's part in a kernel names a tensor, or a leader, that there is not."""
        told = {len(kind.parts) for kind in self.saved.operations.kinds}
        if told - {0, len(FUSED)} or len(told) > 1:
            raise FxcostError(f"{self.place}: operations: parts of {FUSED} are told of all operations, or of none")
        for index, (kind, before) in enumerate(zip(self.operations, known, strict=True)):
            for place, _, _ in (access for part in kind.parts for access in part.accesses):
                self._one(self.tensors, _number_at(place, before), "tensor")
            for which, part in enumerate(kind.parts):
                leader = self._one(self.operations, index - part.back, "operation")
                leads, tells = not part.back, bool(part.accesses) or part.launches > 0
                if leader.parts[which].back or (part.joined == "leads") != leads or tells != leads:
                    raise FxcostError(
                        f"{self.place}: operation {index} is part of a kernel that operation {index - part.back} does not lead"
                    )

    def _costs(self, rows: Sequence[tuple[OperationKind, int, int]]) -> list[Cost]:
        """The cost of each row: one of a kind costs the same as another where the tensors are counted as the same."""
        roles = [counted_as(kind.role) for kind in self.storages]
        counted = [(roles[storage], kind.dtype) for kind, storage in zip(self.tensors, self.held_by, strict=True)]
        by_kind: dict[object, Cost] = {}
        found: list[Cost] = []
        for kind, module, known in rows:
            moved = tuple([counted[_number_at(place, known)] for place, _, _ in kind.accesses])
            cost = by_kind.get((id(kind), moved))
            if cost is None:
                cost = by_kind[id(kind), moved] = self._cost(kind, moved)
                self._layer(kind, module, known, "", cost)  # refuses what no table has
            found.append(cost)
        return found

    def _cost(self, kind: OperationKind, moved: Iterable[tuple[str, str]]) -> Cost:
        """One for all layers that cost the same."""
        told = ((self._formula(read), self._formula(written)) for _, read, written in kind.accesses)
        reads, writes = counts_of(tuple((*each, *amounts) for each, amounts in zip(moved, told, strict=True)))
        key = (kind.matrix, kind.vector, kind.params, id(reads), id(writes))
        if key not in self.costs:
            self.costs[key] = Cost(self._formula(kind.matrix), self._formula(kind.vector), kind.params, reads, writes)
        return self.costs[key]

    def _edges(self, kind: OperationKind, known: int) -> Edges:
        arguments = self.saved.arguments
        return Edges(
            tuple([(self._one(arguments, name, "argument"), _number_at(place, known)) for name, place in kind.inputs]),
            tuple([_number_at(place, known) for place in kind.outputs]),
            self._accesses(kind.accesses, known),
            tuple([self._part(part, known) for part in kind.parts]),
        )

    def _part(self, kind: PartKind, known: int) -> Part:
        return Part(kind.back, kind.joined, kind.launches, self._accesses(kind.accesses, known))

    def _accesses(self, accesses: SavedAccesses, known: int) -> tuple[Access, ...]:
        return tuple([Access(_number_at(at, known), self._formula(r), self._formula(w)) for at, r, w in accesses])

    def _layer(self, kind: OperationKind, module: int, known: int, name: str, cost: Cost) -> LayerCost:
        path, type_ = self.modules[module]
        rule: SavedRule = self._one(self.saved.rules, kind.rule, "rule")
        edges = self._edges(kind, known)
        return LayerCost(
            name=name,
            module=path,
            module_type=(type_ or "") if kind.type is None else kind.type,
            op=self._one(self.saved.operators, kind.operator, "operator"),
            coverage=kind.coverage,
            rule=rule.name,
            cost=cost,
            reason=rule.reason,
            shared=kind.shared,
            inputs=tuple([self.sizes(self.tensors[tensor].shape) for _, tensor in edges.inputs]),
            outputs=tuple([self.sizes(self.tensors[tensor].shape) for tensor in edges.outputs]),
            extra={name: self._formula(value) for name, value in kind.extra},
            edges=edges,
            called_as="" if kind.called_as is None else self.modules[module + kind.called_as][0],
        )
