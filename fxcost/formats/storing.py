"""A scheme applied to a model: the format of each storage, its exact bits, and what each operation computes in."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import ceil
from typing import Literal

from fxcost.costs.graph.cost_graph import HELD, CostGraph, edges_known
from fxcost.costs.model import CostModel, LayerCost
from fxcost.errors import FxcostError
from fxcost.formats.format_text import format_of_dtype
from fxcost.formats.number_format import Matrices, NumberFormat
from fxcost.formats.schemes import AS_IS, OF_INPUTS, Scheme, StorageRule, StorageUse
from fxcost.formats.uses import makers, storage_uses

_SCALED_BY = ("weight", "bias", "running_mean", "running_var")
"""Arguments of norms that have no say in what these give."""


@dataclass(frozen=True)
class StoredWeight:
    """A parameter or a buffer as it is stored."""

    name: str
    role: str
    elements: int
    format: NumberFormat
    bytes: int
    """Whole ones, scales included."""


@dataclass(frozen=True)
class Placement:
    """The storages of a model under a scheme."""

    model: CostModel
    scheme: Scheme
    graph: CostGraph

    @cached_property
    def uses(self) -> tuple[StorageUse, ...]:
        """What rules know of each storage."""
        return tuple(storage_uses(self.model, self.graph))

    @cached_property
    def rules(self) -> tuple[StorageRule | None, ...]:
        """The rule of each storage; None of one whose dtype is not the model's own, which stays as it is."""
        own = self.model.dtype
        return tuple(
            self.scheme.rule(use) if storage.dtype == own else None
            for use, storage in zip(self.uses, self.graph.storages, strict=True)
        )

    @cached_property
    def formats(self) -> tuple[NumberFormat, ...]:
        """The format of each storage."""
        found: list[NumberFormat] = []
        made = makers(self.model, self.graph)
        # Storages are numbered as operations first use them: those that an operation is given come before what it makes.
        for place, storage in enumerate(self.graph.storages):
            rule = self.rules[place]
            kept = AS_IS if rule is None else rule.kept(self.uses[place])
            if kept == OF_INPUTS:
                given = made[place].edges.inputs if place in made else ()
                told = (tensor for argument, tensor in given if argument not in _SCALED_BY)
                kept = self._widest({self.graph.tensors[tensor].storage for tensor in told}, found)
            found.append(format_of_dtype(storage.dtype) if isinstance(kept, str) else kept)
        return tuple(found)

    def _widest(self, given: set[int], found: list[NumberFormat]) -> NumberFormat | Literal["model"]:
        """The widest format among storages of the model's own dtype; as the model has it where there are none."""
        among = [found[place] for place in sorted(given) if place < len(found) and self.rules[place] is not None]
        return max(among, key=lambda each: each.bits_per_element) if among else AS_IS

    @cached_property
    def bits(self) -> tuple[Fraction, ...]:
        """Bits of an element of each storage: of weights and buffers the exact share of all that is stored."""
        return tuple(map(_bits, self.formats, self.uses))

    @cached_property
    def weights(self) -> tuple[StoredWeight, ...]:
        """Parameters, those that no operation uses too, and the buffers that operations use and checkpoints hold."""
        return (
            *(
                StoredWeight(each.name, each.role, int(each.elements), kept, ceil(bits * int(each.elements) / 8))
                for each, kept, bits in zip(self.graph.storages, self.formats, self.bits, strict=True)
                if each.role in HELD and not each.transient
            ),
            *(self._unused(layer) for layer in self.model.unused_layers),
        )

    def _unused(self, layer: LayerCost) -> StoredWeight:
        shape = tuple(map(int, layer.inputs[0])) if layer.inputs else (layer.params,)
        matrices = Matrices.of(shape)
        # As what it would be if it were used: a matrix is what products multiply by.
        use = StorageUse("weight", layer.name, len(shape), is_factor=len(shape) > 1, matrices=matrices)
        kept = self.scheme.rule(use).kept(use)
        kept = format_of_dtype(self.model.dtype) if isinstance(kept, str) else kept
        return StoredWeight(layer.name, "weight", layer.params, kept, kept.stored_bytes(matrices))

    @cached_property
    def bytes_by_format(self) -> Mapping[str, int]:
        """Bytes of `weights` in each format, the most first."""
        found: dict[str, int] = {}
        for each in self.weights:
            found[each.format.text] = found.get(each.format.text, 0) + each.bytes
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    @property
    def stored_bytes(self) -> int:
        """Bytes of `weights`, of each whole ones."""
        return sum(each.bytes for each in self.weights)

    def precisions(self, layer: LayerCost) -> tuple[str, str]:
        """What contractions of a layer compute in, and what its other work does; empty for the model's own dtype."""
        given = (self.graph.tensors[tensor].storage for _, tensor in layer.edges.inputs)
        rules = (self.rules[place] for place in given if self.uses[place].is_factor and self.uses[place].role in HELD)
        told = next((rule.compute for rule in rules if rule is not None and rule.compute), "")
        return told or self.scheme.matrix, self.scheme.vector


def placed(model: CostModel, scheme: Scheme) -> Placement:
    """The storages of a model under a scheme. Raises `FxcostError` for a model that was saved without them."""
    found = Placement(model, scheme, edges_known(model.graph, model.ref))
    for rule in scheme.rules:
        if rule.asked and rule not in found.rules:
            raise FxcostError(
                f"{scheme.name}: no weight of {model.ref} in {model.dtype} is left for {rule.names[0]}; "
                f"`fxcost trace {model.ref} --graph` names them"
            )
    return found


def _bits(kept: NumberFormat, use: StorageUse) -> Fraction:
    if use.matrices is None or not use.matrices.elements:
        return kept.bits_per_element
    return Fraction(kept.stored_bits(use.matrices), use.matrices.elements)
