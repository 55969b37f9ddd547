"""Kernels that become one: those that run over the same elements and have what they move in common."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from fxcost.costs.fusion.kernels import Inlining, Kernel, Moves, StorageVersion
from fxcost.formulas.algebra import ONE, ZERO, Formula


@dataclass
class Merged:
    """Kernels that run as one."""

    members: list[int]
    outer: Formula
    inner: Formula


class Merging:
    """``groups`` are the kernels that are left, each as those that it is made of; ``of`` is the group of each kernel."""

    def __init__(self, inlining: Inlining) -> None:
        self.inlining, self.kernels = inlining, inlining.kernels
        self.writers = self._by_buffer(lambda kernel: kernel.writes)
        self.readers = self._by_buffer(lambda kernel: kernel.reads)
        for place, kernel in enumerate(self.kernels):
            for buffer in kernel.after:  # what is left of it is there to be read later
                self.readers.setdefault(buffer, []).append(place)
        self.needs = [self._needed(place) for place in range(len(self.kernels))]
        self.levels = self._levels()
        self.groups = [Merged([place], each.outer, each.inner) for place, each in enumerate(self.kernels)]
        self.of = list(range(len(self.kernels)))
        self.followers: set[int] = set()
        """Kernels that a contraction has taken in."""
        self._merge()

    def _by_buffer(self, side: Callable[[Kernel], Moves]) -> dict[StorageVersion, list[int]]:
        found: dict[StorageVersion, list[int]] = {}
        for place, kernel in enumerate(self.kernels):
            for buffer in dict.fromkeys(map(self.inlining.buffer, side(kernel))):
                found.setdefault(buffer, []).append(place)
        return found

    def _needed(self, place: int) -> frozenset[int]:
        kernel = self.kernels[place]
        buffers = {*map(self.inlining.buffer, kernel.reads), *kernel.after}
        return frozenset(each for buffer in buffers for each in self.writers.get(buffer, ()) if each < place)

    def _levels(self) -> list[int]:
        """How many kernels that stay apart run before each, on the longest way there."""
        levels: list[int] = []
        for needs in self.needs:
            levels.append(max((levels[each] + self.kernels[each].apart for each in needs), default=0))
        return levels

    def _merge(self) -> None:
        """Each kernel joins those before it that it may, the last first."""
        readers: dict[object, list[int]] = {}
        for place, kernel in enumerate(self.kernels):
            if kernel.apart:
                continue
            found: set[int] = set()
            for tensor in kernel.plain:
                known = readers.setdefault((self.levels[place], *self._place_of(tensor)), [])
                found.update(known, self._makers(tensor, place))
                known.append(place)
            for other in sorted(found, reverse=True):
                self._join(self.of[other], self.of[place])

    def _place_of(self, tensor: int) -> tuple[object, ...]:
        """Alike for tensors that begin in the same place."""
        offset = self.inlining.graph.tensors[tensor].offset if tensor >= 0 else None
        return (self.inlining.buffer(tensor), offset)

    def _makers(self, tensor: int, reader: int) -> Iterator[int]:
        """The kernels on the same level that made all that a kernel reads of a tensor."""
        buffer = self.inlining.buffer(tensor)
        for each in self.writers.get(buffer, ()):
            writes = self.kernels[each].writes
            made = [n for written, n in writes.items() if self.inlining.buffer(written) == buffer]
            if (
                each < reader
                and self.levels[each] == self.levels[reader]
                and self.kernels[reader].reads[tensor] in made
            ):
                yield each

    def _join(self, one: int, other: int) -> None:
        first, second = self.groups[one], self.groups[other]
        domain = _domain_of(first, second)
        if one == other or domain is None or self._stay_apart(first, second):
            return
        if not (self._is_between(one, other) or self._is_between(other, one)):
            self.groups[one] = Merged(sorted((*first.members, *second.members)), *domain)
            self.groups[other] = Merged([], *domain)
            for member in second.members:
                self.of[member] = one

    def _stay_apart(self, first: Merged, second: Merged) -> bool:
        """Whether one of them is merged with nothing, or their loops differ where they have to be alike."""
        members = [self.kernels[each] for each in (*first.members, *second.members)]
        if any(each.apart for each in members):
            return True
        loops = {each.loops for each in members}
        reduces = any(each.inner != ONE for each in members)
        return self.inlining.rules.alike_loops and len(loops if reduces else loops - {"flat"}) > 1

    def _is_between(self, first: int, last: int) -> bool:
        """Whether another group needs the first, and the last needs it, so that the two cannot be one."""
        lowest = self.groups[first].members[0]
        seen = {each for each in self._groups_needed(last) if each != first}
        waiting = list(seen)
        while waiting:
            for each in self._groups_needed(waiting.pop()):
                if each == first:
                    return True
                if each not in seen and each != last and self.groups[each].members[-1] > lowest:
                    seen.add(each)
                    waiting.append(each)
        return False

    def _groups_needed(self, group: int) -> Iterator[int]:
        """The other groups on the same level that a group needs."""
        level = self.levels[self.groups[group].members[0]]
        for member in self.groups[group].members:
            for each in self.needs[member]:
                if self.of[each] != group and self.levels[each] == level:
                    yield self.of[each]

    def take_in_epilogues(self) -> None:
        """Let contractions take in what follows them: what alone reads the result of one joins the last such.

        What sums or compares over many elements stays, and so does what needs that: a contraction makes its result in
        pieces.
        """
        for group in sorted(set(self.of)):
            members = self._pointwise_members(group)
            found = [each for member in members for each in self._contractions_before(member, members)]
            for member in members if found else ():
                self._take_in(max(found), member)

    def _take_in(self, contraction: int, member: int) -> None:
        joined = self.groups[self.of[contraction]]
        self.groups[self.of[member]].members.remove(member)
        joined.members = sorted((*joined.members, member))
        self.of[member] = self.of[contraction]
        self.followers.add(member)

    def _pointwise_members(self, group: int) -> list[int]:
        """The kernels of a group that neither reduce nor need one of it that does."""
        left: list[int] = []
        others: set[int] = set()
        for member in self.groups[group].members:
            kernel = self.kernels[member]
            if kernel.apart or kernel.inner != ONE or self.needs[member] & others:
                others.add(member)
            else:
                left.append(member)
        return left

    def _contractions_before(self, member: int, members: Sequence[int]) -> Iterator[int]:
        """The contractions whose results these kernels alone read, each element where one of theirs is made."""
        kernel = self.kernels[member]
        for tensor in kernel.plain:
            buffer = self.inlining.buffer(tensor)
            if buffer in self.inlining.kept or not set(self.readers[buffer]) <= set(members):
                continue
            for writer in self.writers.get(buffer, ()):
                if self.kernels[writer].contraction and kernel.reads[tensor] in self.kernels[writer].writes.values():
                    yield writer

    def moves(self, group: int, folded: frozenset[int] = frozenset()) -> tuple[Moves, Moves]:
        """What a group reads and writes by tensor: nothing of what stays within, and nothing of what is folded away."""
        inlining, inside = self.inlining, set(self.groups[group].members)
        reads: dict[StorageVersion, Moves] = {}
        writes: Moves = {}
        for kernel in (self.kernels[each] for each in self.groups[group].members):
            for tensor, read in kernel.reads.items():
                makers = set(self.writers.get(inlining.buffer(tensor), ()))
                if tensor not in folded and (not makers or makers - inside):
                    reads.setdefault(inlining.buffer(tensor), {})[tensor] = read
            for tensor, written in kernel.writes.items():
                if self._is_needed(inlining.buffer(tensor), inside, kernel):
                    writes[tensor] = writes.get(tensor, ZERO) + written
        return {t: n for each in reads.values() for t, n in inlining.capped(each).items()}, writes

    def _is_needed(self, buffer: StorageVersion, inside: set[int], kernel: Kernel) -> bool:
        """Whether what a kernel writes is read by others, or there when all has run."""
        inlining = self.inlining
        if buffer in inlining.within:
            return False
        readers = self.readers.get(buffer, ())
        dead = kernel.apart and not readers
        return (
            dead or buffer in inlining.kept or inlining.is_given(buffer) or any(each not in inside for each in readers)
        )


def _domain_of(one: Merged, other: Merged) -> tuple[Formula, Formula] | None:
    """What both run over; None where that is not the same."""
    first, second = (one, other) if one.inner != ONE else (other, one)
    if (first.outer, first.inner) == (second.outer, second.inner):
        return first.outer, first.inner
    if second.inner == ONE and second.outer in (first.outer, first.outer * first.inner):
        return first.outer, first.inner
    return None
