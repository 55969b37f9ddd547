"""Weights of which one stored element holds several numbers, read off the graph: by the shifts and masks that take them apart."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# sympy and torch are typed in part.

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from torch.fx import Graph, Node

from fxcost.costs.model import operator_name
from fxcost.dtypes import DTYPES
from fxcost.graph import OUTPUTS, WEIGHT, TensorSpec, operations, placeholders
from fxcost.passes.verdict import VERDICT

SHIFTS = frozenset({"__rshift__", "bitwise_right_shift"})
RAISES = frozenset({"__lshift__", "bitwise_left_shift"})
MASKS = frozenset({"__and__", "bitwise_and"})
CASTS = frozenset({"to", "_to_copy", "clone", "contiguous", "reshape"})
"""Those too that keep the dtype."""


class Bits(NamedTuple):
    """What is left of each element of a stored tensor: the bits from ``low`` to ``high``, above so many zeros."""

    storage: int
    low: int
    high: int
    zeros: int = 0

    def shifted(self, by: int) -> "Bits":
        """Without so many of the lowest places."""
        dropped = max(by - self.zeros, 0)
        return self._replace(low=self.low + dropped, zeros=max(self.zeros - by, 0))

    def raised(self, by: int, places: int) -> "Bits | None":
        """Moved up by so many of its places."""
        return self._replace(zeros=self.zeros + by).masked((1 << places) - 1)

    def masked(self, mask: int) -> "Bits | None":
        """What a mask of neighbouring places leaves; None for any other mask."""
        if mask <= 0:
            return None
        first = (mask & -mask).bit_length() - 1
        end = mask.bit_length()
        if mask != (1 << end) - (1 << first):
            return None
        low = self.low + max(first - self.zeros, 0)
        high = min(self.high, self.low + end - self.zeros)
        return self._replace(low=low, high=high, zeros=max(self.zeros, first)) if low < high else None


class Packed(NamedTuple):
    """A stored tensor, each element of which is cut into numbers of ``each`` bits."""

    name: str
    elements: int
    bits: int
    each: int


def packed_notes(graph: Graph) -> tuple[str, ...]:
    """What stored tensors hold whose elements are taken apart; nothing of those of which the graph does not prove it."""
    by_width: defaultdict[int, list[Packed]] = defaultdict(list)
    for found in _packed(graph):
        by_width[found.each].append(found)
    return tuple(_told(each, found) for each, found in sorted(by_width.items()))


def _told(each: int, found: list[Packed]) -> str:
    hold = f"and {len(found) - 1} more hold" if len(found) > 1 else "holds"
    bits = sum(packed.elements * packed.bits for packed in found)
    return (
        f"packed: {found[0].name} {hold} {bits // each:,} numbers of {each} bits in {bits // 8:,} bytes; "
        "params counts the elements of parameters as they are stored, and no buffers"
    )


def _packed(graph: Graph) -> Iterator[Packed]:
    """The stored tensors whose elements are cut into numbers of one width, each bit in one of them."""
    held = {
        OUTPUTS[node][0].storage: node
        for node in placeholders(graph)
        if node in WEIGHT and _is_whole(OUTPUTS[node][0].dtype) and OUTPUTS[node][0].elements.is_Integer
    }
    for storage, numbers in _numbers(graph, held).items():
        (spec,) = OUTPUTS[held[storage]]
        bits, widths = DTYPES[spec.dtype].bits, {high - low for low, high in numbers}
        width = min(widths)
        if width < bits and sorted(numbers) == [(low, low + width) for low in range(0, bits - width + 1, width)]:
            yield Packed(WEIGHT[held[storage]], int(spec.elements), bits, width)


def _numbers(graph: Graph, held: Mapping[int, Node]) -> Mapping[int, set[tuple[int, int]]]:
    """The bits of each stored tensor that the model goes on with as one number."""
    wholes = {storage: OUTPUTS[node][0] for storage, node in held.items()}
    known = {node: Bits(storage, 0, DTYPES[wholes[storage].dtype].bits) for storage, node in held.items()}
    for node in operations(graph):
        given = [each for each in node.all_input_nodes if each in known]
        if len(given) == len(node.all_input_nodes) == 1:
            left = _left(node, known[given[0]], wholes[known[given[0]].storage])
            known |= {} if left is None else {node: left}
    found: defaultdict[int, set[tuple[int, int]]] = defaultdict(set)
    for node, bits in known.items():
        if any(user not in known for user in node.users):
            # Above zeros it is no number of its own yet, whatever is done with it.
            found[bits.storage].add((bits.low - bits.zeros, bits.high))
    return found


def _left(node: Node, bits: Bits, whole: TensorSpec) -> Bits | None:
    """What an operation leaves of each element of a stored tensor; None where it does anything else, or not with all."""
    call = VERDICT[node].call
    if call is None or len(call.outputs) != 1 or call.output.stored != whole.elements:
        return None
    name, other = operator_name(call.operator), call.arguments.get("other")
    if call.is_view:
        return bits if call.output.dtype == call.tensors[0][1].dtype else None
    if name in SHIFTS and type(other) is int and 0 <= other < bits.high - bits.low + bits.zeros:
        return bits.shifted(other)
    if name in MASKS and type(other) is int:
        return bits.masked(other)
    if not _is_whole(call.output.dtype):
        return None
    places = DTYPES[call.output.dtype].bits
    if name in RAISES and type(other) is int and 0 <= other < places:
        return bits.raised(other, places)
    return bits.raised(0, places) if name in CASTS else None


def _is_whole(dtype: str) -> bool:
    return "int" in dtype and dtype in DTYPES
