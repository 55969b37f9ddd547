"""From an annotated graph to the storages and tensors of a cost graph, numbered as operations first use them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate

from torch.fx import Graph, Node

from fxcost.costs.graph.cost_graph import Access, CostGraph, Edges, Storage, StorageRole, StoredTensor
from fxcost.formulas.algebra import ZERO, Formula
from fxcost.formulas.with_sympy import from_sympy
from fxcost.graph import DIES, OUTPUTS, PARAMETER, STATE, TRANSIENT, WEIGHT, TensorSpec, operations, placeholders
from fxcost.passes.flops import FLOPS
from fxcost.passes.traffic import TRAFFIC
from fxcost.passes.verdict import VERDICT


def build_graph(graph: Graph) -> tuple[CostGraph, Mapping[Node, Edges]]:
    """The cost graph of a graph that passes have run over, and the tensors of each operation that is not free."""
    tables = _Tables(graph)
    edges = {node: found for node in operations(graph) if (found := tables.edges(node)) is not None}
    outputs = tuple(tables.tensor(each) for node in _returned(graph) for each in OUTPUTS[node])
    storages = _with_lifetimes(tables, graph, list(edges.values()), [node in edges for node in operations(graph)])
    return CostGraph(storages, tuple(tables.tensors), outputs), edges


def _with_lifetimes(
    tables: "_Tables", graph: Graph, rows: Sequence[Edges], is_row: Sequence[bool]
) -> tuple[Storage, ...]:
    """The storages with how long each was held in a run that was seen; a row that reads one later was not, and holds it too."""
    rows_until = list(accumulate(is_row))
    held: dict[int, int] = {}
    for node in operations(graph):
        if node in DIES:
            for spec, last in zip(OUTPUTS[node], DIES[node], strict=True):
                if spec.storage in tables.places and spec.storage not in tables.given:
                    place = tables.places[spec.storage]
                    held[place] = max(held.get(place, 0), rows_until[last] - 1)
    if not held:
        return tuple(tables.storages)
    first: dict[int, int] = {}
    last_use: dict[int, int] = {}
    for row, edges in enumerate(rows):
        for tensor in edges.tensors:
            storage = tables.storage_of[tensor]
            first.setdefault(storage, row)
            last_use[storage] = row
    return tuple(
        replace(storage, held_for=max(held.get(place, 0), last_use[place]) - first[place])
        if place in first and (place in held or place in tables.scores)
        else storage
        for place, storage in enumerate(tables.storages)
    )


def _returned(graph: Graph) -> list[Node]:
    """The nodes that the model returns, each once."""
    ends = (node for node in graph.nodes if node.op == "output")
    return list(dict.fromkeys(source for node in ends for source in node.all_input_nodes if source in OUTPUTS))


class _Tables:
    """Numbers storages and tensors as they come, and counts the writes in place of each storage."""

    def __init__(self, graph: Graph) -> None:
        self.given = dict(_given(graph))
        self.transient = {each.storage for node in placeholders(graph) if node in TRANSIENT for each in OUTPUTS[node]}
        self.whole = {each.storage: each for node in reversed([*placeholders(graph)]) for each in OUTPUTS[node]}
        self.returned = {each.storage for node in _returned(graph) for each in OUTPUTS[node]}
        self.writes: Counter[int] = Counter()
        self.storages: list[Storage] = []
        self.places: dict[object, int] = {}
        self.tensors: dict[StoredTensor, int] = {}
        self.storage_of: list[int] = []
        """The storage of each tensor."""
        self.scores: set[int] = set()
        """Storages that one operation alone sees."""

    def edges(self, node: Node) -> Edges | None:
        """The tensors of an operation; None of one that is free. To be asked in the order that they run."""
        if FLOPS[node].coverage == "free":
            return None
        call = VERDICT[node].call
        given = call.tensors if call else ()
        inputs = tuple((name, self.tensor(each)) for name, each in given)
        self.writes.update({each.storage for name, each in given if call and name in call.writes_to})
        outputs = tuple(self.tensor(each) for each in OUTPUTS[node])
        places = {"argument": [tensor for _, tensor in inputs], "output": outputs}
        accesses: dict[int, Access] = {}
        for moved in TRAFFIC[node].accesses:
            read, written = from_sympy(moved.read), from_sympy(moved.written)
            if moved.tensor is None:
                place = self._scores(node, moved.dtype, read)
            else:
                side, index = moved.tensor
                place = places[side][index]
            before = accesses.get(place, Access(place))
            accesses[place] = Access(place, before.read + read, before.written + written)
        return Edges(inputs, outputs, tuple(accesses.values()))

    def tensor(self, spec: TensorSpec) -> int:
        """The number of a tensor, as its storage now is."""
        whole = self.whole.get(spec.storage, spec)
        storage = self._storage(spec.storage, whole)
        shape, strides = (tuple(map(from_sympy, each)) for each in (spec.shape, spec.strides))
        version = self.writes[spec.storage]
        return self._numbered(StoredTensor(storage, version, spec.dtype, shape, strides, from_sympy(spec.offset)))

    def _scores(self, node: Node, dtype: str, elements: Formula) -> int:
        storage = self.places[node] = len(self.storages)
        self.storages.append(Storage("activation", dtype, elements))
        self.scores.add(storage)
        return self._numbered(StoredTensor(storage, 0, dtype, (elements,), (), ZERO))

    def _numbered(self, tensor: StoredTensor) -> int:
        if tensor not in self.tensors:
            self.storage_of.append(tensor.storage)
        return self.tensors.setdefault(tensor, len(self.tensors))

    def _storage(self, key: int, whole: TensorSpec) -> int:
        if key not in self.places:
            role, name = self.given.get(key, ("output" if key in self.returned else "activation", ""))
            is_held = role in ("weight", "buffer")
            shape = tuple(map(from_sympy, whole.shape)) if is_held else None
            self.places[key] = len(self.storages)
            elements = from_sympy(whole.stored)
            self.storages.append(Storage(role, whole.dtype, elements, name, shape, is_held and key in self.transient))
        return self.places[key]


def _given(graph: Graph) -> Iterator[tuple[int, tuple[StorageRole, str]]]:
    """What the storages hold that are there before any operation runs."""
    for node in placeholders(graph):
        for tensor in OUTPUTS[node]:
            if node in WEIGHT:
                yield tensor.storage, ("weight" if node in PARAMETER else "buffer", WEIGHT[node])
            else:
                yield tensor.storage, ("state" if node in STATE else "input", str(node.target))
