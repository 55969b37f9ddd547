"""A chain of passes over a traced graph, checked when it is built and after each pass."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

from torch.fx import Graph, Node

from fxcost.errors import FxcostError
from fxcost.graph.annotations import (
    KIND,
    LAYER,
    OUTPUTS,
    PARAMETER,
    REACH,
    SIZE,
    STATE,
    TRANSIENT,
    WEIGHT,
    Key,
    UndeclaredKeyError,
    operations,
    reading_only,
)
from fxcost.user_code import users_code

T = TypeVar("T")

TRACED: tuple[Key[Any], ...] = (OUTPUTS, SIZE, LAYER, WEIGHT, PARAMETER, TRANSIENT, REACH, STATE)
"""What tracing has written before the first pass runs."""


class PipelineError(FxcostError):
    """A chain of passes that cannot run, or a pass that broke its promise."""


@dataclass(frozen=True)
class Pass(Generic[T]):
    """A pure function from a graph to one annotation for each operation."""

    name: str
    provides: Key[T]
    requires: tuple[Key[Any], ...]
    annotate: Callable[[Graph], Mapping[Node, T]]


def graph_pass(
    *, provides: Key[T], requires: tuple[Key[Any], ...] = ()
) -> Callable[[Callable[[Graph], Mapping[Node, T]]], Pass[T]]:
    """Make a pass of a function that returns a table with an entry for each operation."""

    def wrap(annotate: Callable[[Graph], Mapping[Node, T]]) -> Pass[T]:
        return Pass(annotate.__name__, provides, requires, annotate)

    return wrap


def per_kind(
    graph: Graph, annotation: Callable[[Node], T], apart: Callable[[Node], object] = lambda _: None
) -> Mapping[Node, T]:
    """An annotation that follows from what an operation is called with, and ``apart``, found once for all that are alike."""
    table: dict[Node, T] = {}
    known: dict[object, T] = {}
    for node in operations(graph):
        kind = (KIND[node], apart(node)) if node in KIND else node
        if kind not in known:
            known[kind] = annotation(node)
        table[node] = known[kind]
    return table


@dataclass(frozen=True)
class Pipeline:
    """Passes run in order; each reads what earlier ones provided.

    Raises `PipelineError` when built with a pass whose requirements nothing provides, or with two
    that provide the same key, naming every offender.
    """

    passes: tuple[Pass[Any], ...]
    given: tuple[Key[Any], ...] = field(default=TRACED)

    def __post_init__(self) -> None:
        provided = {key.name: "tracing" for key in self.given}
        faults: list[str] = []
        for each in self.passes:
            missing = [key.name for key in each.requires if key.name not in provided]
            faults += [f"pass {each.name} requires {name}, which no earlier pass provides" for name in missing]
            if each.provides.name in provided:
                faults.append(f"{each.provides.name} is provided by {provided[each.provides.name]} and by {each.name}")
            provided[each.provides.name] = f"pass {each.name}"
        if faults:
            raise PipelineError("; ".join(faults))

    def run(self, graph: Graph) -> None:
        """Write each pass's annotation on the graph's operations.

        Raises `PipelineError` when a table misses an operation.
        """
        for each in self.passes:
            with users_code(f"pass {each.name}"):
                table = _annotated(each, graph)
            if not isinstance(cast("object", table), Mapping):
                raise PipelineError(f"pass {each.name} returns a {type(table).__name__}, not a table of operations")
            missed = [node.name for node in operations(graph) if node not in table]
            if missed:
                raise PipelineError(f"pass {each.name} gives no {each.provides.name} for {_some(missed)}")
            for node, value in table.items():
                node.meta[each.provides.name] = value


def _annotated(each: Pass[T], graph: Graph) -> Mapping[Node, T]:
    try:
        with reading_only((*each.requires, KIND)):  # what operations are alike by is for `per_kind`, and no annotation
            return each.annotate(graph)
    except UndeclaredKeyError as error:
        raise PipelineError(f"pass {each.name}: {error}") from error


def _some(names: Iterable[str], most: int = 5) -> str:
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
