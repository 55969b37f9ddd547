"""The kernels of a model in an order in which each runs after what it reads is there."""

from collections.abc import Sequence
from heapq import heapify, heappop, heappush

from fxcost.costs.graph.cost_graph import CostGraph
from fxcost.costs.model import LayerCost


def in_order(kernels: Sequence[LayerCost], graph: CostGraph) -> list[LayerCost]:
    """The kernels, each after those that write what it reads, else in the order given.

    A kernel that takes in a later operation, as one that sums up what another gives, waits for it.
    """
    writers: dict[tuple[int, int], list[int]] = {}
    for place, kernel in enumerate(kernels):
        for access in kernel.edges.accesses:
            if access.written != 0:
                writers.setdefault(_version(access.tensor, graph), []).append(place)
    waits: list[set[int]] = [
        {
            writer
            for access in kernel.edges.accesses
            if access.read != 0
            for writer in writers.get(_version(access.tensor, graph), ())
        }
        - {place}
        for place, kernel in enumerate(kernels)
    ]
    followers: list[list[int]] = [[] for _ in kernels]
    for place, before in enumerate(waits):
        for writer in before:
            followers[writer].append(place)
    ready = [place for place, before in enumerate(waits) if not before]
    heapify(ready)
    found: list[int] = []
    while ready:
        place = heappop(ready)
        found.append(place)
        for follower in followers[place]:
            waits[follower].discard(place)
            if not waits[follower]:
                heappush(ready, follower)
    # What kernels read and write at once, such as a cache, may seem to wait for itself.
    left = [place for place in range(len(kernels)) if place not in set(found)]
    return [kernels[place] for place in (*found, *left)]


def _version(tensor: int, graph: CostGraph) -> tuple[int, int]:
    found = graph.tensors[tensor]
    return found.storage, found.version
