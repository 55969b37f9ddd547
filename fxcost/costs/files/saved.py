"""The saved file: a `CostModel` as JSON, each formula written once and as text that only the safe parser reads.

Operations, tensors and storages stand in tables of the kinds that differ. A row names tensors by how far they are from
the first that no operation before it used (0 is that one, -1 the one before), and modules by how far they are from that
of the row before, so that the rows of blocks that repeat are the same, and stand once with how often they come. What is
far away is named by its number, as text.
"""

import json
from collections.abc import Iterable, Sequence
from functools import cache
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
from fxcost.costs.graph.cost_graph import Access, CostGraph, Edges, Storage, StorageRole, StoredTensor
from fxcost.costs.model import UNUSED, Cost, CostModel, EvaluatedModel, LayerCost, names_of, unused_parameter
from fxcost.errors import FxcostError
from fxcost.files import read_file, write_file
from fxcost.formulas.algebra import Formula
from fxcost.formulas.quantities import DTYPE_BITS, Counts

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


class TensorKind(Record):
    storage: NearOrNumber
    version: int = Field(default=0, ge=0)
    dtype: Line
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int


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
    accesses: tuple[tuple[NearOrNumber, int, int], ...]
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

    def read(self, place: NearOrNumber) -> int:
        """The number that a row's place stands for."""
        return int(place) if isinstance(place, str) else self.known + place

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
    """The model as a file holds it: one without a cost graph as records, as in version 1.

    Raises `FxcostError` for numbers, which a file would take for the costs at all sizes.
    """
    if isinstance(model, EvaluatedModel):
        model.point()
    if model.graph is None:
        return to_record(model).model_dump(mode="json")
    return _Writer(model, model.graph).document()


class _Writer:
    def __init__(self, model: CostModel, graph: CostGraph) -> None:
        self.model, self.graph = model, graph
        self.layers = [layer for layer in model.layers if layer.op != UNUSED]
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
        unused = {layer.name: layer.inputs[0] for layer in self.model.layers if layer.op == UNUSED}
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
            rows.append(row.model_copy(update={"shape": shape, "transient": each.transient}))
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
            accesses=tuple(
                (near.write(each.tensor), self.formula(each.read), self.formula(each.written))
                for each in edges.accesses
            ),
            extra=tuple((name, self.formula(value)) for name, value in layer.extra.items()),
        )


# Reading


def _width(kind: Record) -> int:
    """How many values a row of a kind holds."""
    values: Iterable[Any] = vars(kind).values()
    return sum(len(value) for value in values if isinstance(value, tuple))  # pyright: ignore[reportUnknownArgumentType]


class _Reader(FrameReader):
    def __init__(self, saved: SavedGraph, place: str) -> None:
        super().__init__(place, saved)
        self.saved = saved
        self.costs: dict[object, Cost] = {}
        self.formulas = [self.parse(text, f"formulas.{index}") for index, text in enumerate(saved.formulas)]
        self.modules = paths_of(saved.modules, place)
        self.types = {path: kind for path, kind in self.modules if kind is not None}

    def _formula(self, index: int) -> Formula:
        return self._one(self.formulas, index, "formula")

    def _one(self, table: Sequence[Any], index: int, what: str) -> Any:
        if not 0 <= index < len(table):
            raise FxcostError(f"{self.place}: there is no {what} {index}; {len(table)} are written")
        return table[index]

    def model(self) -> CostModel:
        saved = self.saved
        storages = self._storages()
        graph = CostGraph(storages, self._tensors(storages), tuple(saved.outputs))
        for tensor in graph.outputs:
            self._one(graph.tensors, tensor, "tensor")
        layers = (
            *self._layers(graph),
            *(unused_parameter(name, self._shape(size, name), self.types) for name, size in saved.unused.items()),
        )
        return model_of(saved, layers, self.types, graph, self.place)

    def _shape(self, size: int | tuple[int, ...], name: str) -> tuple[int, ...]:
        shape = (size,) if isinstance(size, int) else size
        if prod(shape) >= MOST_PARAMETERS:
            raise FxcostError(f"{self.place}: unused.{name} has more elements than any parameter")
        return shape

    def _rows(self, table: Any, what: str) -> Iterable[Any]:
        for kind in table.kinds if what != "operations" else ():
            self.refuse_strange("dtype", [kind.dtype], DTYPE_BITS, what)
        widths = list(map(_width, table.kinds))
        order = unfolded(table.order, widths, f"{self.place}: {what}")
        return (table.kinds[index] for index in order)

    def _storages(self) -> tuple[Storage, ...]:
        found: list[Storage] = []
        module = 0
        for kind in self._rows(self.saved.storages, "storages"):
            name = kind.name
            if kind.module is not None:
                module += kind.module
                path, _ = self._one(self.modules, module, "module")
                name = f"{path}.{name}" if path else name
            shape = None if kind.shape is None else self._sizes(kind.shape)
            found.append(Storage(kind.role, kind.dtype, self._formula(kind.elements), name, shape, kind.transient))
        return tuple(found)

    def _tensors(self, storages: Sequence[Storage]) -> tuple[StoredTensor, ...]:
        near = _Near()
        found: list[StoredTensor] = []
        sizes = cache(self._sizes)
        for kind in self._rows(self.saved.tensors, "tensors"):
            storage = near.read(kind.storage)
            self._one(storages, storage, "storage")
            shape, strides = sizes(kind.shape), sizes(kind.strides)
            offset = self._formula(kind.offset)
            found.append(StoredTensor(storage, kind.version, kind.dtype, shape, strides, offset))
            near.after([storage])
        return tuple(found)

    def _sizes(self, places: tuple[int, ...]) -> tuple[Formula, ...]:
        return tuple(map(self._formula, places))

    def _layers(self, graph: CostGraph) -> list[LayerCost]:
        kinds = list(self._rows(self.saved.operations, "operations"))
        modules = self._modules_of(kinds)
        called = [
            (self.modules[module][0], self._one(self.saved.operators, kind.operator, "operator"))
            for kind, module in zip(kinds, modules, strict=True)
        ]
        names = names_of(called, self.types)
        near = _Near()
        found: list[LayerCost] = []
        for index, (kind, module) in enumerate(zip(kinds, modules, strict=True)):
            edges = self._edges(kind, near)
            for tensor in edges.tensors:
                self._one(graph.tensors, tensor, "tensor")
            near.after(edges.tensors)
            name = self.saved.names.get(index, names[index])
            found.append(self._layer(kind, module, name, called[index][1], graph, edges))
        return found

    def _modules_of(self, kinds: Sequence[OperationKind]) -> list[int]:
        found: list[int] = []
        module = 0
        for kind in kinds:
            module += kind.module
            self._one(self.modules, module, "module")
            found.append(module)
        return found

    def _edges(self, kind: OperationKind, near: _Near) -> Edges:
        return Edges(
            tuple(
                (self._one(self.saved.arguments, name, "argument"), near.read(tensor)) for name, tensor in kind.inputs
            ),
            tuple(map(near.read, kind.outputs)),
            tuple(Access(near.read(tensor), self._formula(r), self._formula(w)) for tensor, r, w in kind.accesses),
        )

    def _cost(self, kind: OperationKind, reads: Counts, writes: Counts) -> Cost:
        """One for all layers that cost the same."""
        key = (kind.matrix, kind.vector, kind.params, id(reads), id(writes))
        if key not in self.costs:
            self.costs[key] = Cost(self._formula(kind.matrix), self._formula(kind.vector), kind.params, reads, writes)
        return self.costs[key]

    def _layer(
        self, kind: OperationKind, module: int, name: str, operator: str, graph: CostGraph, edges: Edges
    ) -> LayerCost:
        path, type_ = self.modules[module]
        rule: SavedRule = self._one(self.saved.rules, kind.rule, "rule")
        return LayerCost(
            name=name,
            module=path,
            module_type=(type_ or "") if kind.type is None else kind.type,
            op=operator,
            coverage=kind.coverage,
            rule=rule.name,
            cost=self._cost(kind, *graph.counts(edges)),
            reason=rule.reason,
            shared=kind.shared,
            inputs=graph.shapes(tuple(tensor for _, tensor in edges.inputs)),
            outputs=graph.shapes(edges.outputs),
            extra={name: self._formula(value) for name, value in kind.extra},
            edges=edges,
            called_as="" if kind.called_as is None else self._one(self.modules, module + kind.called_as, "module")[0],
        )
