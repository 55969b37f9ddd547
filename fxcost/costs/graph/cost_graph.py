"""Which tensors a model's operations are given, give and move, and the storages that these live in."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, NamedTuple

from fxcost.errors import FxcostError
from fxcost.formulas.algebra import ZERO, Formula, add
from fxcost.formulas.quantities import Counts

StorageRole = Literal["weight", "buffer", "state", "input", "activation", "output"]
COUNTED_AS: Mapping[StorageRole, str] = {"weight": "weight", "buffer": "weight", "state": "state"}
"""Under which role the elements of a storage are counted, which for all others is that of activations."""
Change = Callable[[Formula], Formula]


@dataclass(frozen=True)
class Storage:
    """A stretch of memory that tensors view."""

    role: StorageRole
    dtype: str
    elements: Formula
    name: str = ""
    """The parameter, buffer or input that it holds; empty for what an operation makes."""
    shape: tuple[Formula, ...] | None = None
    """Of a weight or buffer, as it lies in memory; None of others, and of files that were saved without."""
    transient: bool = False
    """Whether it is a buffer, or a constant of the model's code, that no checkpoint holds."""


class StoredTensor(NamedTuple):
    """A view of a storage, in elements; the version counts the writes in place that went before."""

    storage: int
    version: int
    dtype: str
    shape: tuple[Formula, ...]
    strides: tuple[Formula, ...]
    offset: Formula = ZERO


class Access(NamedTuple):
    """Elements that an operation reads and writes of a tensor; an expectation where what it picks follows from data."""

    tensor: int
    read: Formula = ZERO
    written: Formula = ZERO


class Edges(NamedTuple):
    """The tensors of one operation, by their places in the cost graph."""

    inputs: tuple[tuple[str, int], ...] = ()
    """With the name of the argument that each is."""
    outputs: tuple[int, ...] = ()
    accesses: tuple[Access, ...] = ()

    @property
    def tensors(self) -> tuple[int, ...]:
        """All of its tensors, those that have several parts once for each."""
        return (*(tensor for _, tensor in self.inputs), *self.outputs, *(each.tensor for each in self.accesses))

    def map(self, change: Change) -> "Edges":
        """The same with ``change`` applied to each formula."""
        moved = (each._replace(read=change(each.read), written=change(each.written)) for each in self.accesses)
        return self._replace(accesses=tuple(moved))


NO_EDGES = Edges()


@dataclass(frozen=True)
class CostGraph:
    """Storages and the tensors on them, in the order in which operations first use them."""

    storages: tuple[Storage, ...] = ()
    tensors: tuple[StoredTensor, ...] = ()
    outputs: tuple[int, ...] = ()
    """The tensors that the model returns."""

    def shapes(self, tensors: tuple[int, ...]) -> tuple[tuple[Formula, ...], ...]:
        """The shape of each."""
        return tuple(self.tensors[each].shape for each in tensors)

    def counts(self, edges: Edges) -> tuple[Counts, Counts]:
        """Elements that an operation reads, and writes, by role and dtype."""
        moved = tuple((*self._counted_as(each.tensor), each.read, each.written) for each in edges.accesses)
        return _counts(moved)

    def _counted_as(self, tensor: int) -> tuple[str, str]:
        found = self.tensors[tensor]
        return COUNTED_AS.get(self.storages[found.storage].role, "activation"), found.dtype

    def map(self, change: Change) -> "CostGraph":
        """The same with ``change`` applied to each formula."""
        storages = (
            replace(
                each,
                elements=change(each.elements),
                shape=None if each.shape is None else tuple(map(change, each.shape)),
            )
            for each in self.storages
        )
        tensors = (
            each._replace(
                shape=tuple(map(change, each.shape)),
                strides=tuple(map(change, each.strides)),
                offset=change(each.offset),
            )
            for each in self.tensors
        )
        return replace(self, storages=tuple(storages), tensors=tuple(tensors))


def edges_known(graph: CostGraph | None, place: str) -> CostGraph:
    """The cost graph of a model. Raises `FxcostError` naming the place of one that has none."""
    if graph is None:
        raise FxcostError(
            f"{place} was saved before files held who feeds whom; trace the model again, and save it with -o FILE.json"
        )
    return graph


@lru_cache(maxsize=4096)
def _counts(moved: tuple[tuple[str, str, Formula, Formula], ...]) -> tuple[Counts, Counts]:
    reads = _summed((role, dtype, read) for role, dtype, read, _ in moved)
    return reads, _summed((role, dtype, written) for role, dtype, _, written in moved)


def _summed(moved: Iterable[tuple[str, str, Formula]]) -> Counts:
    summed: dict[str, dict[str, Formula]] = {}
    for role, dtype, elements in moved:
        if elements != 0:
            by_dtype = summed.setdefault(role, {})
            by_dtype[dtype] = add(by_dtype.get(dtype, ZERO), elements)
    return summed
