"""What passes read and write on the nodes of a traced graph."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

import sympy
from torch.fx import Graph, Node

T = TypeVar("T")


class UndeclaredKeyError(Exception):
    """A pass reads what it does not declare; the pipeline tells it as an error of the pass."""


_declared: ContextVar[frozenset[str] | None] = ContextVar("declared", default=None)


@contextmanager
def reading_only(keys: Iterable["Key[Any]"]) -> Generator[None]:
    """Raise `UndeclaredKeyError` for any other key that is read while this lasts."""
    before = _declared.set(frozenset(key.name for key in keys))
    try:
        yield
    finally:
        _declared.reset(before)


@dataclass(frozen=True)
class Key(Generic[T]):
    """A typed slot on a node's metadata, ``KEY[node]``; the pipeline alone writes it."""

    name: str

    def __getitem__(self, node: Node) -> T:
        self._check()
        return node.meta[self.name]

    def __contains__(self, node: Node) -> bool:
        self._check()
        return self.name in node.meta

    def _check(self) -> None:
        declared = _declared.get()
        if declared is not None and self.name not in declared:
            raise UndeclaredKeyError(f"it reads {self.name}, which is not among the keys that it requires")


@dataclass(frozen=True)
class TensorSpec:
    """A tensor as traced: sizes and strides in elements, symbolic, and the storage it lives in."""

    shape: tuple[sympy.Expr, ...]
    strides: tuple[sympy.Expr, ...]
    dtype: str
    storage: int
    """Equal for tensors that alias each other; meaningful within one graph."""
    offset: sympy.Expr
    overlapping: bool = False
    """Strides reach one stored element through several indices, as ``unfold`` makes them."""

    @property
    def is_complex(self) -> bool:
        """Whether its elements are complex numbers."""
        return "complex" in self.dtype

    @cached_property
    def elements(self) -> sympy.Expr:
        """Number of logical elements, broadcast ones repeated."""
        return sympy.Mul(*self.shape)

    @cached_property
    def stored(self) -> sympy.Expr:
        """Number of distinct stored elements that the tensor reaches: a broadcast dimension counts once."""
        if self.overlapping:
            reach = (stride * (size - 1) for size, stride in zip(self.shape, self.strides, strict=True))
            return sympy.Add(1, *reach)
        kept = (size for size, stride in zip(self.shape, self.strides, strict=True) if stride != 0)
        return sympy.Mul(*kept)


@dataclass(frozen=True)
class Layer:
    """Where an operation stands in the model: ``layer1.0.conv1`` and the class that stands there."""

    module: str
    module_type: str
    called_as: str = ""
    """The path that it was called by, of a module that stands at several; else empty."""


OUTPUTS: Key[tuple[TensorSpec, ...]] = Key("fxcost.outputs")
"""The tensors a node yields; empty for sizes and other plain values. Written by tracing."""

SIZE: Key[sympy.Expr] = Key("fxcost.size")
"""The value of a node that yields a size. Written by tracing."""

LAYER: Key[Layer] = Key("fxcost.layer")
"""The module that calls an operation. Written by tracing."""

WEIGHT: Key[str] = Key("fxcost.weight")
"""The qualified name of the parameter or buffer that a placeholder stands for. Written by tracing."""

PARAMETER: Key[int] = Key("fxcost.parameter")
"""Number of elements of the parameter that a placeholder stands for; absent on buffers. Written by tracing."""

TRANSIENT: Key[bool] = Key("fxcost.transient")
"""Set on a placeholder that stands for a buffer or constant that no checkpoint holds; absent on others. Written by tracing."""

REACH: Key[tuple[int, int]] = Key("fxcost.reach")
"""The least and the greatest of the whole numbers that a placeholder holds, where that is known. Written by tracing."""

KIND: Key[int] = Key("fxcost.kind")
"""A number for what an operation is called with, which all have that are called with the like. Written by tracing."""

DIES: Key[tuple[int, ...]] = Key("fxcost.dies")
"""For each tensor that an operation yields, the place among the operations of the last during which its storage is held;
absent where no run was seen. Written by tracing."""

STATE: Key[bool] = Key("fxcost.state")
"""Set on a placeholder that stands for a part of the cache; absent on others. Written by tracing."""


def operations(graph: Graph) -> Iterator[Node]:
    """The nodes that call an operator, in the order they run."""
    return (node for node in graph.nodes if node.op == "call_function")


def placeholders(graph: Graph) -> Iterator[Node]:
    """The nodes that stand for inputs, parameters and buffers."""
    return (node for node in graph.nodes if node.op == "placeholder")
