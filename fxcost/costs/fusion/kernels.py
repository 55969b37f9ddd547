"""From operations to the kernels that a compiler makes of them before it merges any.

A value is worked out wherever it is read, unless it is kept in memory: then it is a kernel. The rules follow what
torch.compile does, which asks how often, by whom and with how many reads a value is used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from fxcost.costs.fusion.kinds import BATCH_NORMS, HEAVY, TWICE_READ, FusionKind, base_name, kind_of
from fxcost.costs.fusion.rules import FusionRules
from fxcost.costs.graph.cost_graph import GIVEN, HELD, CostGraph, Storage
from fxcost.costs.model import LayerCost
from fxcost.dtypes import may_hold_codes
from fxcost.formulas.algebra import ONE, ZERO, Formula, add, least_of, multiply

StorageVersion = tuple[int, int]
"""A storage and the number of writes in place that went before."""
Moves = dict[int, Formula]
"""Elements by tensor. Tensors below zero are those of the kernels alone: statistics, and copies of operands."""
Loops = Literal["flat", "by channel", "windows", "slice"]
"""How a kernel has to go through its elements: one by one as they lie, by axes because of what has an element for each
channel, by windows, or into a part of something larger."""


@dataclass(frozen=True)
class Value:
    """What an operation gives, worked out wherever it is read."""

    operations: tuple[int, ...]
    """Those that work it out, the one that gives it last."""
    elements: Formula
    reads: Moves
    plain: frozenset[int]
    """Of these tensors each element is read where the element of the value with the same place is made."""
    heavy: bool = False
    large: bool = False
    """Whether each element takes many others to make, as a maximum over a window does."""
    loops: Loops = "flat"
    whole: bool = True
    """Whether all that it reads has as many elements, in one order."""
    ordered: bool = True
    """Whether it has the order of what it reads."""
    codes: bool = False
    """Whether it is worked out of elements that may stand for weights; those that only say which are read do not count."""


@dataclass
class Kernel:
    """What runs in one launch, until merged."""

    operations: tuple[int, ...]
    outer: Formula
    reads: Moves
    writes: Moves
    inner: Formula = ONE
    """It runs over ``outer · inner`` elements, of which it sums or compares ``inner`` at a time."""
    plain: frozenset[int] = frozenset()
    loops: Loops = "flat"
    apart: bool = False
    """Whether nothing is merged with it."""
    contraction: bool = False
    after: frozenset[StorageVersion] = frozenset()
    """What has to be there before it runs, though it does not read it."""


class Inlining:
    """Walks through operations in the order that they run; ``kernels`` is what they become."""

    def __init__(
        self,
        layers: Sequence[LayerCost],
        graph: CostGraph,
        rules: FusionRules,
        axes: Mapping[int, int] | None = None,
    ) -> None:
        self.layers, self.graph, self.rules = layers, graph, rules
        self.axes = axes or {}
        """The axis that each softmax runs over; the last where none is told."""
        self.gathered: dict[tuple[int, int], int] = {}
        """Of each gather and the tensor that it picks from, the tensor that stands for what it picks."""
        self.picks: set[int] = set()
        self.statistics: set[int] = set()
        self.kinds: list[FusionKind] = [kind_of(layer, graph) for layer in layers]
        self.kernels: list[Kernel] = []
        self.home: dict[int, int] = {}
        """The kernel that each operation runs in, the first where there are several."""
        self.stands_for: dict[int, int] = {}
        """The tensor of the graph that is told in place of one that the graph has not."""
        self.within: set[StorageVersion] = set()
        """What lies in a concatenation, where it was made."""
        self.values: dict[StorageVersion, Value] = {}
        self.made_by: dict[StorageVersion, int] = {}
        self._parts: dict[int, int] = {}
        self._same: dict[StorageVersion, StorageVersion] = {}
        self._find_free_copies()
        self.readers = self._readers()
        self.kept = {self.buffer(tensor) for tensor in graph.outputs}
        for index in range(len(layers)):
            self._lower(index)
        for buffer, value in list(self.values.items()):
            if value.operations[-1] not in self.home:
                self._keep(buffer)

    def buffer(self, tensor: int) -> StorageVersion:
        """Where the elements of a tensor lie."""
        if tensor < 0:
            tensor = self._picked_from(tensor)
        if tensor < 0:
            return (tensor, 0)
        found = self.graph.tensors[tensor]
        buffer = (found.storage, found.version)
        return self._same.get(buffer, buffer)

    def is_given(self, buffer: StorageVersion) -> bool:
        """Whether a storage is there before anything runs, and stays."""
        return buffer[0] >= 0 and self.graph.storages[buffer[0]].role in GIVEN

    def capped(self, reads: Moves) -> Moves:
        """What is read of one buffer through several tensors: at most all of it."""
        if len(reads) == 1:
            return reads
        first = self._picked_from(next(iter(reads)))
        if first < 0:
            return reads
        whole = self.graph.storages[self.graph.tensors[first].storage].elements
        together = whole if whole in reads.values() else add(*reads.values())
        return {first: together if together == whole else least_of(together, whole)}

    def _find_free_copies(self) -> None:
        """Attention leaves its result in whatever order it is copied to."""
        made_by_attention: set[StorageVersion] = set()
        for kind, layer in zip(self.kinds, self.layers, strict=True):
            if "attention" in base_name(layer):
                made_by_attention |= {self.buffer(tensor) for tensor in layer.edges.outputs}
            elif kind == "copy" and layer.edges.accesses:
                source, made = self.buffer(layer.edges.accesses[0].tensor), self.buffer(layer.edges.outputs[0])
                if source in made_by_attention:
                    self._same[made] = source

    def _readers(self) -> Mapping[StorageVersion, Sequence[int]]:
        """The operations that read each buffer."""
        found: dict[StorageVersion, list[int]] = {}
        for index in range(len(self.layers)):
            for buffer in dict.fromkeys(map(self.buffer, self._reads(index))):
                found.setdefault(buffer, []).append(index)
        return found

    def _lower(self, index: int) -> None:
        kind = self.kinds[index]
        if kind == "copy" and self._output(index) in self._same.values():
            self.home[index] = self.made_by[self._output(index)]
        elif kind in ("contraction", "kernel") or self._changes_a_part(index):
            self._alone(index)
        elif kind == "reduction":
            self._reduction(index)
        elif kind == "normalization":
            self._normalization(index)
        elif kind == "concatenation" and not self._is_joined(index):
            self._concatenation(index)
        elif (product := self._product_before(index)) is not None:
            self._add_to_product(index, product)
        else:
            self._say(index, self._value(index))

    # Kernels

    def _alone(self, index: int) -> None:
        """A kernel that nothing is merged with: all that it reads is kept, but for weights that it unpacks itself."""
        reads: Moves = {}
        operations: list[int] = []
        for tensor, read in self._reads(index).items():
            value = self.values.get(self.buffer(tensor))
            if value is not None and self._unpacks(value) and self.kinds[index] == "contraction":
                reads |= value.reads
                operations += value.operations
            elif value is not None and read != value.elements:
                reads[self._keep_part(tensor, read, value)] = read
            else:
                self._keep(self.buffer(tensor))
                copied = self._is_copied_by(index, tensor)
                reads[self._copy_operand(index, tensor, read) if copied else tensor] = read
        after = {(storage, version - 1) for storage, version in self._changed_parts(index)}
        for buffer in after:
            self._keep(buffer)
        contraction = self.kinds[index] == "contraction"
        place = self._add(
            Kernel(
                (*dict.fromkeys(operations), index),
                ZERO,
                reads,
                self._writes(index),
                apart=True,
                contraction=contraction,
                after=frozenset(after),
            )
        )
        self.home[index] = place

    def _is_copied_by(self, index: int, tensor: int) -> bool:
        """Whether the matrices of a batch of several axes do not lie at one distance from each other."""
        if base_name(self.layers[index]) != "matmul":
            return False
        made = self.made_by.get(self.buffer(tensor))
        found = self.graph.tensors[tensor]
        return (made is None or self.kernels[made].apart) and not lie_evenly(found.shape[:-2], found.strides[:-2])

    def _copy_operand(self, index: int, tensor: int, read: Formula) -> int:
        copied = self._own_tensor(tensor)
        self._add(Kernel((index,), read, {tensor: read}, {copied: read}, plain=frozenset((tensor,))))
        return copied

    def _keep_part(self, tensor: int, read: Formula, value: Value) -> int:
        """Keep a part of a value, as a tensor of its own."""
        if tensor not in self._parts:
            self._parts[tensor] = self._own_tensor(tensor)
            self._add(_part_of(value, read, {self._parts[tensor]: read}))
        return self._parts[tensor]

    def _own_tensor(self, like: int) -> int:
        """A tensor that the graph has not."""
        tensor = -len(self.stands_for) - 1
        self.stands_for[tensor] = like
        return tensor

    def _reduction(self, index: int) -> None:
        value = self._value(index)
        made = self._elements(self.layers[index].edges.outputs[0])
        inner = self._elements(self.layers[index].edges.inputs[0][1]) / made
        self._add(
            Kernel(value.operations, made, dict(value.reads), self._writes(index), inner, value.plain, value.loops)
        )

    def _normalization(self, index: int) -> None:
        """Statistics, which are kept, and a value that reads what they are of once more."""
        edges = self.layers[index].edges
        given, value = self._value(index, of=edges.inputs[0][1]), self._value(index)
        output, rows = edges.outputs[0], self._rows(index)
        # A CPU works out exponentials once, for their sum and for the quotient.
        keeps_all = self.rules.keeps_heavy and "softmax" in base_name(self.layers[index])
        kept = value.elements if keeps_all else 2 * rows
        statistics = self._own_tensor(output)
        self.statistics.add(statistics)
        others = {tensor: n for tensor, n in self._writes(index).items() if tensor != output}
        self._add(
            Kernel(
                given.operations,
                rows,
                dict(given.reads),
                {statistics: kept, **others},
                value.elements / rows,
                given.plain,
                given.loops,
                apart=self.rules.alike_loops and not given.whole,
            )
        )
        reads = {statistics: kept} if keeps_all else {**value.reads, statistics: kept}
        plain = (frozenset[int]() if keeps_all else value.plain) | {statistics}
        self._say(index, Value((index,), value.elements, reads, plain, value.heavy, loops=value.loops))

    def _concatenation(self, index: int) -> None:
        """Each part copied into its place, but for what can be made there."""
        output = self.layers[index].edges.outputs[0]
        parts = [tensor for _, tensor in self.layers[index].edges.inputs]
        for tensor in parts:
            buffer, read = self.buffer(tensor), self._elements(tensor)
            value = self.values.get(buffer)
            if value is not None and read != value.elements:
                self._add(_part_of(value, read, {output: read}))
                continue
            self._keep(buffer)
            once = parts.count(tensor) == 1
            if once and self._is_movable(buffer) and read in self.kernels[self.made_by[buffer]].writes.values():
                self.kernels[self.made_by[buffer]].writes[output] = read
                self.made_by[self.buffer(output)] = self.made_by[buffer]
                self.within.add(buffer)
            else:
                plain = frozenset((tensor,))
                self._add(Kernel((index,), read, {tensor: read}, {output: read}, plain=plain, loops="slice"))
        self.home.setdefault(index, self.made_by[self.buffer(output)])

    def _is_movable(self, buffer: StorageVersion) -> bool:
        """Whether what is kept may lie within a concatenation: no contraction made it, and nothing else reads it."""
        made = self.made_by.get(buffer)
        alone = len(self.readers.get(buffer, ())) == 1 and buffer not in self.within | self.kept
        return made is not None and alone and not self.kernels[made].apart

    def _product_before(self, index: int) -> int | None:
        """The kernel of a product of two matrices that an addition alone reads, and so is its addend's."""
        if base_name(self.layers[index]) != "add":
            return None
        made = self._elements(self.layers[index].edges.outputs[0])
        for tensor, read in self._reads(index).items():
            kernel = self.made_by.get(self.buffer(tensor))
            alone = self.readers[self.buffer(tensor)] == [index] and self.buffer(tensor) not in self.kept
            if kernel is not None and alone and read == made and self._is_bare_product(kernel, tensor):
                return kernel
        return None

    def _is_bare_product(self, kernel: int, tensor: int) -> bool:
        layer = self.layers[self.kernels[kernel].operations[-1]]
        name, given = base_name(layer), [argument for argument, _ in layer.edges.inputs]
        is_product = name in ("mm", "matmul") or (name == "linear" and "bias" not in given)
        shapes = [self.graph.tensors[each].shape for each in (tensor, *layer.edges.outputs)]
        return self.kernels[kernel].contraction and is_product and all(len(shape) == 2 for shape in shapes)

    def _add_to_product(self, index: int, product: int) -> None:
        kernel = self.kernels[product]
        reads = dict(kernel.reads)
        for tensor, read in self._reads(index).items():
            if self.made_by.get(self.buffer(tensor)) != product:
                self._keep(self.buffer(tensor))
                reads[tensor] = read
        operations = (*kernel.operations, index)
        self.kernels[product] = Kernel((), ZERO, {}, {}, apart=True)
        place = self._add(Kernel(operations, ZERO, reads, self._writes(index), apart=True, contraction=True))
        self.home |= dict.fromkeys((each for each in operations if self.home.get(each) in (None, product)), place)

    def _add(self, kernel: Kernel) -> int:
        place = len(self.kernels)
        self.kernels.append(kernel)
        for operation in kernel.operations:
            self.home.setdefault(operation, place)
        for tensor in kernel.writes:
            self.made_by[self.buffer(tensor)] = place
        return place

    def _keep(self, buffer: StorageVersion) -> None:
        """Keep a value in memory, where it is not kept yet."""
        value = self.values.pop(buffer, None)
        if value is not None:
            made = self._writes(value.operations[-1]).items()
            writes = {tensor: n for tensor, n in made if self.buffer(tensor) == buffer}
            self._add(
                Kernel(
                    value.operations, value.elements, dict(value.reads), writes, plain=value.plain, loops=value.loops
                )
            )

    # Values

    def _value(self, index: int, of: int | None = None) -> Value:
        """What an operation gives; with ``of``, what it makes of that tensor alone."""
        layer, kind = self.layers[index], self.kinds[index]
        elements = self._elements(layer.edges.outputs[0])
        reads = self._reads(index).items()
        told = {tensor: self._part(tensor, read, elements) for tensor, read in reads if of in (None, tensor)}
        if kind == "gather":
            told = {tensor: self._picked(index, tensor, part) for tensor, part in told.items()}
        parts = list(told.values())
        orders = {
            part.ordered for part in parts if part.elements == elements
        }  # of what has as many elements as the result
        loops: Loops = "windows" if kind == "pooling" else "by channel" if self._is_by_channel(index) else "flat"
        in_place = kind not in ("pooling", "gather", "concatenation")
        return Value(
            (*dict.fromkeys(each for part in parts for each in part.operations), index),
            elements,
            {tensor: read for part in parts for tensor, read in part.reads.items()},
            frozenset(tensor for part in parts for tensor in part.plain) if in_place else frozenset(),
            heavy=base_name(layer) in HEAVY or any(part.heavy for part in parts),
            large=kind == "pooling" or any(part.large for part in parts),
            loops=_first_uneven([loops, *(part.loops for part in parts)]),
            whole=in_place and len(orders) < 2 and all(part.whole for part in parts),
            ordered=orders != {False},
            codes=any(part.codes for tensor, part in told.items() if not self._is_index(index, tensor)),
        )

    def _part(self, tensor: int, read: Formula, elements: Formula) -> Value:
        """What a value of so many elements reads of a tensor, as a value: of what is kept, of the tensor itself."""
        ordered = self._lies_in_order(tensor)
        value = self.values.get(self.buffer(tensor))
        if value is None:
            whole, codes = read == elements, tensor >= 0 and may_hold_codes(self._storage(tensor).dtype)
            return Value((), read, {tensor: read}, frozenset((tensor,)), whole=whole, ordered=ordered, codes=codes)
        part = value if read == value.elements else _cut(value, read)
        return replace(part, ordered=ordered and value.ordered)

    def _picked(self, index: int, tensor: int, part: Value) -> Value:
        """What a gather reads: of what it picks from, elements that are not those which another picks."""
        if self._is_index(index, tensor):
            return part
        reads: Moves = {}
        for read, amount in part.reads.items():
            if read < 0 and read not in self.picks:  # statistics, which are one for all
                reads[read] = amount
                continue
            own = self.gathered.get((index, read))
            if own is None:
                own = self.gathered[index, read] = self._own_tensor(self._picked_from(read))
                self.picks.add(own)
            reads[own] = amount
        return replace(part, reads=reads, plain=frozenset())

    def _picked_from(self, tensor: int) -> int:
        """The tensor that a gather picks from, of one that stands for what it picks; of all others, the same."""
        return self.stands_for[tensor] if tensor in self.picks else tensor

    def _is_index(self, index: int, tensor: int) -> bool:
        """Whether a gather picks by a tensor, rather than from it."""
        return self.kinds[index] == "gather" and tensor != self.layers[index].edges.inputs[0][1]

    def _say(self, index: int, value: Value) -> None:
        buffer = self._output(index)
        self.values[buffer] = value
        if self._is_kept(buffer, value):
            self._keep(buffer)

    def _is_kept(self, buffer: StorageVersion, value: Value) -> bool:
        if buffer in self.kept or self.is_given(buffer):
            return True
        readers = self.readers.get(buffer, ())
        if any(self._needs_kept(each, buffer, value) for each in readers):
            return True
        many = len(value.reads) + len(self.statistics & value.reads.keys())  # a mean and a deviation
        again = many > self.rules.most_reads_again or value.large or (self.rules.keeps_heavy and value.heavy)
        if again and sum(self._uses(each, buffer) for each in readers) > 1:
            return True
        if len(readers) > 1 and self.rules.keeps_for_contractions and self._follows_contraction(value):
            return True
        return many > self.rules.most_reads or (many > 1 and any(self.kinds[each] == "pooling" for each in readers))

    def _needs_kept(self, reader: int, buffer: StorageVersion, value: Value) -> bool:
        """Whether an operation reads values from memory alone, and all of this one."""
        kind = self.kinds[reader]
        stands_alone = kind in ("contraction", "kernel") or self._changes_a_part(reader)
        if not (stands_alone or (kind == "concatenation" and not self._is_joined(reader))):
            return False
        if kind == "contraction" and self._unpacks(value):
            return False
        return any(self.buffer(tensor) == buffer and n == value.elements for tensor, n in self._reads(reader).items())

    def _unpacks(self, value: Value) -> bool:
        """Whether a value is made of weights alone, some of them numbers that stand for others."""
        held = (tensor >= 0 and self._storage(tensor).role in HELD for tensor in map(self._picked_from, value.reads))
        return value.codes and all(held)

    def _storage(self, tensor: int) -> Storage:
        return self.graph.storages[self.graph.tensors[tensor].storage]

    def _uses(self, reader: int, buffer: StorageVersion) -> int:
        """In how many places an operation reads a value."""
        given = sum(self.buffer(tensor) == buffer for tensor in self._reads(reader))
        twice = self.kinds[reader] == "normalization" or base_name(self.layers[reader]) in TWICE_READ
        return 2 * given if twice else given

    def _follows_contraction(self, value: Value) -> bool:
        """Whether it alone reads the result of a contraction."""
        for tensor in value.plain:
            made = self.made_by.get(self.buffer(tensor))
            readers = self.readers.get(self.buffer(tensor), ())
            if made is not None and self.kernels[made].contraction and set(readers) <= set(value.operations):
                return True
        return False

    def _is_joined(self, index: int) -> bool:
        """Whether a concatenation is worked out where it is read: few parts, of which some would else be copied."""
        buffers = list(map(self.buffer, self._reads(index)))
        if not 1 < len(buffers) <= self.rules.joined_parts:
            return False
        copied = [each in self.values or not self._is_movable(each) for each in buffers]
        readers = self.readers.get(self._output(index), ())
        in_values = bool(readers) and all(
            self.kinds[each] in ("pointwise", "copy", "concatenation") for each in readers
        )
        return all(copied) or (any(copied) and in_values)

    # What the graph says of operations

    def _reads(self, index: int) -> Moves:
        return {each.tensor: each.read for each in self.layers[index].edges.accesses if each.read != 0}

    def _writes(self, index: int) -> Moves:
        return {each.tensor: each.written for each in self.layers[index].edges.accesses if each.written != 0}

    def _output(self, index: int) -> StorageVersion:
        return self.buffer(self.layers[index].edges.outputs[0])

    def _elements(self, tensor: int) -> Formula:
        return multiply(*self.graph.tensors[tensor].shape)

    def _lies_in_order(self, tensor: int) -> bool:
        found = self.graph.tensors[tensor]
        return lie_evenly(found.shape, found.strides)

    def _is_by_channel(self, index: int) -> bool:
        """Whether it reads what has an element for each place of an axis between the first and the last."""
        edges = self.layers[index].edges
        if base_name(self.layers[index]) in BATCH_NORMS:
            return True
        rank = len(self.graph.tensors[edges.outputs[0]].shape)
        kept = (tensor for tensor in self._reads(index) if self.buffer(tensor) not in self.values)
        return any(self._is_between(tensor, rank) for tensor in kept)

    def _is_between(self, tensor: int, rank: int) -> bool:
        found = self.graph.tensors[tensor]
        spread = [size != 1 and stride != 0 for size, stride in zip(found.shape, found.strides, strict=True)]
        spread = [False] * (rank - len(spread)) + spread
        return len(spread) > 2 and any(spread) and not spread[0] and not spread[-1]

    def _rows(self, index: int) -> Formula:
        """How many rows a normalization has statistics of."""
        layer, name = self.layers[index], base_name(self.layers[index])
        output = layer.edges.outputs[0]
        shape = self.graph.tensors[output].shape
        weight = next((tensor for argument, tensor in layer.edges.inputs if argument == "weight"), None)
        if "layer_norm" in name and weight is not None:
            return self._elements(output) / self._elements(weight)
        if "softmax" in name:
            return self._elements(output) / shape[self.axes.get(index, -1)] if shape else ONE
        return multiply(*(shape[:-1] if "layer" in name or "rms" in name else shape[:1]))

    def _changes_a_part(self, index: int) -> bool:
        return bool(self._changed_parts(index))

    def _changed_parts(self, index: int) -> set[StorageVersion]:
        """What an operation in place changes a part of only."""
        changed = {(self.buffer(tensor), n) for tensor, n in self._writes(index).items()}
        return {each for each, n in changed if each[1] and n != self.graph.storages[each[0]].elements}


def _first_uneven(loops: Sequence[Loops]) -> Loops:
    uneven: list[Loops] = [each for each in loops if each != "flat"]
    return uneven[0] if uneven else "flat"


def lie_evenly(sizes: Sequence[Formula], strides: Sequence[Formula]) -> bool:
    """Whether these axes are one axis that is cut."""
    axes = [(size, stride) for size, stride in zip(sizes, strides, strict=True) if size != 1]
    return all(one[1] == other[1] * other[0] for one, other in pairwise(axes))


def _cut(value: Value, elements: Formula) -> Value:
    """So many elements of a value."""
    reads = {tensor: elements if read == value.elements else read for tensor, read in value.reads.items()}
    return replace(value, reads=reads, elements=elements)


def _part_of(value: Value, elements: Formula, writes: Moves) -> Kernel:
    """The kernel that keeps so many elements of a value, which are not those of another part."""
    part = _cut(value, elements)
    return Kernel(
        value.operations, elements, dict(part.reads), writes, loops="slice" if value.loops == "flat" else value.loops
    )
