"""When storages are made and let go of, as operations run one after the other: seen in a run, else by rule.

The rule: a storage is made where it is first given, and let go of after its last reader, or with the outputs; views share
one, and what is written in place makes none. What is passed to a module is held by its caller until that module returns.
What a forward's own variables hold besides, such as the list of DenseNet's results, no graph shows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from fxcost.costs.graph.cost_graph import GIVEN, CostGraph
from fxcost.costs.model import LayerCost

LifetimeSource = Literal["observed", "by rule"]


@dataclass(frozen=True)
class Lifetime:
    """The operations during which a storage is held, both included."""

    storage: int
    first: int
    last: int


def lifetimes(layers: Sequence[LayerCost], graph: CostGraph) -> tuple[LifetimeSource, tuple[Lifetime, ...]]:
    """How long each storage is held that operations make, and how that is known.

    ``layers`` are the operations in their order, those of unused parameters left out.
    """
    found = tuple(by_rule(layers, graph))
    held = [graph.storages[each.storage].held_for for each in found]
    if not found or None in held:
        return "by rule", found
    last = len(layers) - 1
    return "observed", tuple(
        Lifetime(each.storage, each.first, min(each.first + (beyond or 0), last))
        for each, beyond in zip(found, held, strict=True)
    )


def by_rule(layers: Sequence[LayerCost], graph: CostGraph) -> Iterator[Lifetime]:
    """How long each storage is held that operations make, as the graph alone tells it."""
    first: dict[int, int] = {}
    uses: dict[int, list[int]] = {}
    for place, layer in enumerate(layers):
        for storage in dict.fromkeys(graph.tensors[tensor].storage for tensor in layer.edges.tensors):
            if graph.storages[storage].role not in GIVEN:
                first.setdefault(storage, place)
                uses.setdefault(storage, []).append(place)
    stays = {graph.tensors[tensor].storage for tensor in graph.outputs}
    returns = _returns(layers)
    for storage, made in first.items():
        held = (max(end, _last_return(returns[end], made)) for end in uses[storage])
        yield Lifetime(storage, made, len(layers) - 1 if storage in stays else max(held))


def _last_return(around: Sequence[tuple[int, int]], made: int) -> int:
    """The end of the outermost module that began after a storage was made."""
    return max((last for first, last in around if first > made), default=-1)


def _returns(layers: Sequence[LayerCost]) -> list[list[tuple[int, int]]]:
    """For each operation the modules that it runs in, but for the whole: where each began, and where it returns."""
    found: list[list[tuple[int, int]]] = [[] for _ in layers]
    open_: dict[str, int] = {}

    def close(path: str, end: int) -> None:
        for place in range(open_[path], end):
            found[place].append((open_[path], end - 1))
        del open_[path]

    for place, layer in enumerate(layers):
        around = _paths(layer.place)
        for path in [path for path in open_ if path not in around]:
            close(path, place)
        for path in around:
            open_.setdefault(path, place)
    for path in list(open_):
        close(path, len(layers))
    return found


def _paths(place: str) -> list[str]:
    """``layer1``, ``layer1.0`` and ``layer1.0.conv1`` for the last of them."""
    parts = place.split(".") if place else []
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
