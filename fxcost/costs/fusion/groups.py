"""The kernels of a model under each fusion: found once, kept with its operations, and told as rows of a model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from fxcost.costs.fusion.kernels import Inlining
from fxcost.costs.fusion.kinds import BATCH_NORMS, base_name
from fxcost.costs.fusion.merging import Merging
from fxcost.costs.fusion.rules import COMPILED, EPILOGUE, FusionRules
from fxcost.costs.graph.cost_graph import Access, CostGraph, Joined, Part
from fxcost.costs.model import LayerCost


def with_parts(
    layers: Sequence[LayerCost], graph: CostGraph, axes: Mapping[int, int] | None = None
) -> tuple[LayerCost, ...]:
    """The same operations with their parts in the kernels of each fusion; ``axes`` tells which one each softmax runs over."""
    pointwise = parts_of(layers, graph, COMPILED, axes)
    epilogue = parts_of(layers, graph, EPILOGUE, axes)
    return tuple(
        replace(layer, edges=layer.edges._replace(parts=parts))
        for layer, parts in zip(layers, zip(pointwise, epilogue, strict=True), strict=True)
    )


def parts_of(
    layers: Sequence[LayerCost], graph: CostGraph, rules: FusionRules, axes: Mapping[int, int] | None = None
) -> list[Part]:
    """The part of each operation in a kernel, by rules of fusion."""
    merging = Merging(Inlining(layers, graph, rules, axes))
    if rules.keeps_for_contractions:
        merging.take_in_epilogues()
    return list(_PartFinder(merging).found)


class _PartFinder:
    def __init__(self, merging: Merging) -> None:
        self.merging, self.inlining = merging, merging.inlining
        self.group_of = {index: merging.of[kernel] for index, kernel in self.inlining.home.items()}
        indexes = range(len(self.inlining.layers))
        contractions = [index for index in indexes if self.inlining.kinds[index] == "contraction"]
        self.leader: dict[int, int] = {}
        for index in (*contractions, *indexes):
            self.leader.setdefault(self.group_of[index], index)
        self.folded = frozenset(self._folded())

    @property
    def found(self) -> Iterator[Part]:
        told = self._told()
        for index in range(len(self.inlining.layers)):
            leader = self.leader[self.group_of[index]]
            if leader == index:
                yield Part(0, "leads", *told[index])
            else:
                yield Part(index - leader, self._joined(index))

    def _joined(self, index: int) -> Joined:
        kernel = self.inlining.home[index]
        if kernel in self.merging.followers:
            return "follows"
        return "merged" if self.inlining.kernels[kernel].operations[-1] == index else "inlined"

    def _told(self) -> Mapping[int, tuple[int, tuple[Access, ...]]]:
        """How many kernels each leader tells of, and what they move: a kernel without an operation of its own is told by that which it serves."""
        launches: dict[int, int] = {}
        accesses: dict[int, dict[int, Access]] = {}
        for group, merged in enumerate(self.merging.groups):
            operations = [each for member in merged.members for each in self.inlining.kernels[member].operations]
            if not operations:
                continue
            leader = self.leader.get(group, self.leader[self.group_of[operations[-1]]])
            launches[leader] = launches.get(leader, 0) + 1
            moved = accesses.setdefault(leader, {})
            for side, amounts in zip(("read", "written"), self.merging.moves(group, self.folded), strict=True):
                for tensor, amount in amounts.items():
                    told = self.inlining.stands_for.get(tensor, tensor)
                    before = moved.get(told, Access(told))
                    moved[told] = before._replace(**{side: getattr(before, side) + amount})
        return {leader: (number, tuple(accesses[leader].values())) for leader, number in launches.items()}

    def _alone(self, index: int) -> bool:
        """Whether an operation alone reads all that it is given."""
        given = (tensor for _, tensor in self.inlining.layers[index].edges.inputs)
        return all(self.inlining.readers.get(self.inlining.buffer(tensor)) == [index] for tensor in given)

    def _folded(self) -> Iterator[int]:
        """What batch norms read that contractions have taken in: one number a channel is left of it, the bias."""
        for member in self.merging.followers:
            for index in self.inlining.kernels[member].operations:
                layer = self.inlining.layers[index]
                if base_name(layer) not in BATCH_NORMS:
                    continue
                given = dict(layer.edges.inputs)
                made = self.inlining.made_by.get(self.inlining.buffer(layer.edges.inputs[0][1]))
                if made is None or not self.inlining.kernels[made].contraction or not self._alone(index):
                    continue
                contraction = self.inlining.layers[self.inlining.kernels[made].operations[-1]]
                has_bias = any(name == "bias" for name, _ in contraction.edges.inputs)
                names = ("running_mean", "running_var", "weight", *(("bias",) if has_bias else ()))
                yield from (given[name] for name in names if name in given)
