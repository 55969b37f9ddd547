"""When what a run makes is let go of, seen by a run that keeps none of it: a forward's own variables hold tensors too.

What a graph shows is who reads a tensor; that DenseNet keeps the results of all its layers in a list it does not. So the
model runs once more, and each new storage is held by a weak reference alone.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportPrivateUsage=false
# Torch's storages are private and typed in part; this folder is the border that keeps them from the rest.

import operator
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch.fx import Graph, Node
from torch.multiprocessing.reductions import StorageWeakRef

from fxcost.graph import DIES, OUTPUTS, operations
from fxcost.tracing.export.writing import write
from fxcost.tracing.recording.steps import UNSEEN, Step
from fxcost.tracing.recording.validation import LEFT_OUT
from fxcost.tracing.sizes.tensors import storage_of


class _Seen(NamedTuple):
    """One call of an operator: for each of its results the number of the storage that it lies in, None of one that was given."""

    operator: Any
    results: tuple[int | None, ...]


class Watch:
    """Notes in which call each storage was made, and in which it was held last."""

    def __init__(self) -> None:
        self.calls: list[_Seen] = []
        self.died: list[int | None] = []
        self._held: dict[int, tuple[StorageWeakRef, int]] = {}

    def before_call(self) -> None:
        """Look which storages are gone since the call before."""
        for place in [place for place, (held, _) in self._held.items() if held.expired()]:
            _, number = self._held.pop(place)
            self.died[number] = len(self.calls) - 1

    def note(self, step: Step) -> None:
        """Note a call, and keep nothing of it."""
        given = {storage_of(tensor) for tensor in step.taken}
        self.calls.append(_Seen(step.operator, tuple(self._number(tensor, given) for tensor in step.made)))

    def _number(self, tensor: Any, given: set[int]) -> int | None:
        place = storage_of(tensor)
        if place not in self._held and place not in given:
            self._held[place] = StorageWeakRef(tensor.untyped_storage()), len(self.died)
            self.died.append(None)
        return self._held[place][1] if place in self._held else None


def write_lifetimes(graph: Graph, watch: Watch) -> bool:
    """Write on each operation when what it gives is let go of; False, and nothing written, where the run was not the same."""
    nodes = list(enumerate(operations(graph)))
    ran = [(place, node) for place, node in nodes if node.target not in (operator.getitem, UNSEEN)]
    calls = list(enumerate(watch.calls))
    if not _are_alike(ran, calls):
        ran = [(place, node) for place, node in ran if node.target not in LEFT_OUT]
        calls = [(place, seen) for place, seen in calls if seen.operator not in LEFT_OUT]
        if not _are_alike(ran, calls):
            return False
    at_call, at_node = [place for place, _ in calls], [place for place, _ in ran]
    for (_, node), (_, seen) in zip(ran, calls, strict=True):
        last = [len(watch.calls) - 1 if number is None else watch.died[number] for number in seen.results]
        ends = (len(watch.calls) - 1 if call is None else call for call in last)
        write(node, DIES, tuple(at_node[max(bisect_right(at_call, call) - 1, 0)] for call in ends))
    return True


def _are_alike(ran: Sequence[tuple[int, Node]], calls: Sequence[tuple[int, _Seen]]) -> bool:
    return len(ran) == len(calls) and all(
        node.target == seen.operator and len(OUTPUTS[node]) == len(seen.results)
        for (_, node), (_, seen) in zip(ran, calls, strict=True)
    )
