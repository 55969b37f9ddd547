"""Which tensors a model's operations are given, give and move, and the storages that these live in."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, NamedTuple

from fxcost.errors import FxcostError
from fxcost.formulas.algebra import ZERO, Formula, add
from fxcost.formulas.quantities import Counts
from fxcost.request import Fusion

StorageRole = Literal["weight", "buffer", "state", "input", "activation", "output"]
HELD: tuple[StorageRole, ...] = ("weight", "buffer")
"""Roles of what a model holds, whichever inputs it is given."""
COUNTED_AS: Mapping[StorageRole, str] = {"weight": "weight", "buffer": "weight", "state": "state"}
"""What is not counted as an activation."""
GIVEN: tuple[StorageRole, ...] = ("weight", "buffer", "state", "input")
"""Roles of what is there before anything runs."""
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
    held_for: int | None = None
    """How many operations after the first that has it it was still held in a run; None where no run was seen."""


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

    def map(self, change: Change) -> "Access":
        """The same with ``change`` applied to both."""
        return self._replace(read=change(self.read), written=change(self.written))


FUSED: tuple[Fusion, ...] = ("pointwise", "epilogue")
"""Those that have groups of their own."""
Joined = Literal["leads", "inlined", "merged", "follows"]
"""Why an operation is in its group: it is its contraction, or the first; it is worked out where it is read; it runs over the same elements
as another and moves some of the same; it follows a contraction whose result nothing else reads."""


class Part(NamedTuple):
    """An operation's part in a fused kernel."""

    back: int = 0
    """How many operations before it the one stands that leads its group, which tells what the group moves."""
    joined: Joined = "leads"
    launches: int = 0
    accesses: tuple[Access, ...] = ()

    def map(self, change: Change) -> "Part":
        """The same with ``change`` applied to each formula."""
        return self._replace(accesses=tuple(each.map(change) for each in self.accesses))


class Edges(NamedTuple):
    """The tensors of one operation, by their places in the cost graph."""

    inputs: tuple[tuple[str, int], ...] = ()
    """With the name of the argument that each is."""
    outputs: tuple[int, ...] = ()
    accesses: tuple[Access, ...] = ()
    parts: tuple[Part, ...] = ()
    """Its parts in the kernels of each of `FUSED`, where they were found."""

    @property
    def tensors(self) -> tuple[int, ...]:
        """All of its tensors, those that have several parts once for each."""
        return (*(tensor for _, tensor in self.inputs), *self.outputs, *(each.tensor for each in self.accesses))

    def map(self, change: Change) -> "Edges":
        """The same with ``change`` applied to each formula."""
        parts = tuple(each.map(change) for each in self.parts)
        return self._replace(accesses=tuple(each.map(change) for each in self.accesses), parts=parts)


NO_EDGES = Edges()


@dataclass(frozen=True)
class CostGraph:
    """Storages and the tensors on them, in the order in which operations first use them."""

    storages: Sequence[Storage] = ()
    tensors: Sequence[StoredTensor] = ()
    outputs: tuple[int, ...] = ()
    """The tensors that the model returns."""

    def shapes(self, tensors: tuple[int, ...]) -> tuple[tuple[Formula, ...], ...]:
        """The shape of each."""
        return tuple(self.tensors[each].shape for each in tensors)

    def counts(self, edges: Edges) -> tuple[Counts, Counts]:
        """Elements that an operation reads, and writes, by role and dtype."""
        moved = tuple((*self._counted_as(each.tensor), each.read, each.written) for each in edges.accesses)
        return counts_of(moved)

    def _counted_as(self, tensor: int) -> tuple[str, str]:
        found = self.tensors[tensor]
        return counted_as(self.storages[found.storage].role), found.dtype

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


def counted_as(role: StorageRole) -> str:
    """Under which role the elements of a storage are counted."""
    return COUNTED_AS.get(role, "activation")


def edges_known(graph: CostGraph | None, place: str) -> CostGraph:
    """The cost graph of a model. Raises `FxcostError` naming the place of one that has none."""
    if graph is None:
        raise FxcostError(
            f"{place} was saved before files held who feeds whom; trace the model again, and save it with -o FILE.json"
        )
    return graph


@lru_cache(maxsize=4096)
def counts_of(moved: tuple[tuple[str, str, Formula, Formula], ...]) -> tuple[Counts, Counts]:
    """Elements read, and written, by role and dtype: of accesses with a role, a dtype, and how much of each."""
    reads = _summed((role, dtype, read) for role, dtype, read, _ in moved)
    return reads, _summed((role, dtype, written) for role, dtype, _, written in moved)


def _summed(moved: Iterable[tuple[str, str, Formula]]) -> Counts:
    summed: dict[str, dict[str, Formula]] = {}
    for role, dtype, elements in moved:
        if elements != 0:
            by_dtype = summed.setdefault(role, {})
            by_dtype[dtype] = add(by_dtype.get(dtype, ZERO), elements)
    return summed
