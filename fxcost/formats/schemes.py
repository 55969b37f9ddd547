"""Schemes: which storage of a model is kept in which format, and what its products compute in."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal

from fxcost.costs.graph.cost_graph import StorageRole
from fxcost.errors import FxcostError, near_matches
from fxcost.formats.number_format import Matrices, NumberFormat

AS_IS: Literal["model"] = "model"
"""A storage is kept as the model has it."""
OF_INPUTS: Literal["inputs"] = "inputs"
"""A storage is kept as the widest of what the operation that makes it is given, weights of norms left out."""
Kept = NumberFormat | Literal["model", "inputs"]


@dataclass(frozen=True)
class Numbered:
    """The place of a layer among those that are numbered with it."""

    index: int
    of: int


@dataclass(frozen=True)
class StorageUse:
    """What rules know of a storage."""

    role: StorageRole
    name: str = ""
    dims: int = 0
    """Of a weight or buffer."""
    operators: frozenset[str] = frozenset()
    """Those that read it, of a weight or buffer; of an activation the one that makes it."""
    is_factor: bool = False
    """Whether a contraction multiplies by it, of a weight; of an activation whether one makes it."""
    is_last_factor: bool = False
    """Whether the last contraction of the model with a weight multiplies by it."""
    numbered: Numbered | None = None
    matrices: Matrices | None = None
    """How a weight or buffer lies in memory, where that is known."""


def _more_bits(index: int, layers: int) -> bool:
    """The layers that mixes of llama.cpp spend more bits on: ``use_more_bits`` of its src/llama-quant.cpp."""
    eighth = layers // 8
    return index < eighth or index >= 7 * layers // 8 or (index - eighth) % 3 == 2


SELECTIONS: Mapping[str, Callable[[int, int], bool]] = {"gguf-more-bits": _more_bits}
_SLICE = re.compile(r"(-?\d{1,6})?:(-?\d{1,6})?")


def checked_layers(selection: str) -> str:
    """The selection of layers, as `selects` reads it. Raises `FxcostError` for one that is none."""
    if selection not in SELECTIONS and not all(_SLICE.fullmatch(part.strip()) for part in selection.split(",")):
        raise FxcostError(
            f"layers {selection[:60]!r} are neither slices such as 0:2,-1: nor {', '.join(SELECTIONS)}{near_matches(selection[:60], SELECTIONS)}"
        )
    return selection


def selects(selection: str, layer: Numbered) -> bool:
    """Whether a selection of layers, named or slices such as ``0:2,-1:``, holds one."""
    if selection in SELECTIONS:
        return SELECTIONS[selection](layer.index, layer.of)
    ends = (part.strip().split(":") for part in selection.split(","))
    slices = (slice(int(start) if start else None, int(stop) if stop else None) for start, stop in ends)
    return any(layer.index in range(layer.of)[each] for each in slices)


@dataclass(frozen=True)
class StorageRule:
    """A format for the storages that all of its selectors fit; one that is empty fits all."""

    format: Kept
    roles: tuple[StorageRole, ...] = ()
    names: tuple[str, ...] = ()
    """Patterns, of which one has to fit: ``*.experts.*``."""
    operators: tuple[str, ...] = ()
    """Operators, of which one has to read the weight, or make the activation."""
    products: bool | None = None
    """Whether a contraction multiplies by the weight, or makes the activation."""
    matrices: bool | None = None
    """Whether a weight has two dimensions or more."""
    head: bool | None = None
    """Whether the model's last contraction with a weight multiplies by it."""
    layers: str = ""
    fallback: NumberFormat | None = None
    """For rows that whole blocks of the format do not fill."""
    compute: str = ""
    """What the products with these weights compute in, where that is not what all do."""
    asked: bool = False
    """Whether a user wrote it for one model, so that it has to fit some of its weights."""

    def fits(self, use: StorageUse) -> bool:
        """Whether every selector fits."""
        flags = (
            (self.products, use.is_factor),
            (self.matrices, use.dims >= 2),
            (self.head, use.is_last_factor),
        )
        return (
            all(wanted is None or wanted == found for wanted, found in flags)
            and (not self.roles or use.role in self.roles)
            and (not self.names or any(fnmatchcase(use.name, each) for each in self.names))
            and (not self.operators or not use.operators.isdisjoint(self.operators))
            and (not self.layers or (use.numbered is not None and selects(self.layers, use.numbered)))
        )

    @property
    def fits_all(self) -> bool:
        """Whether nothing is left for a rule after it."""
        return replace(self, format=AS_IS, fallback=None, compute="") == StorageRule(AS_IS)

    def kept(self, use: StorageUse) -> Kept:
        """The format of a storage that it fits."""
        if self.fallback is None or isinstance(self.format, str) or use.matrices is None:
            return self.format
        return self.fallback if use.matrices.columns % self.format.whole_blocks else self.format


@dataclass(frozen=True)
class Scheme:
    """Rules, the first of which that fits a storage says its format, and what work computes in."""

    name: str
    rules: tuple[StorageRule, ...]
    matrix: str = ""
    """The precision of contractions, where no rule says another; empty for that of the model's own dtype."""
    vector: str = ""
    """The precision of all other work; empty for that of the model's own dtype."""
    title: str = ""
    sources: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    uniform: str = ""
    """The one format of all that has the model's own dtype, which work computes in too."""

    def rule(self, use: StorageUse) -> StorageRule:
        """The first rule that fits; one that keeps a storage as the model has it where none does."""
        return next((rule for rule in self.rules if rule.fits(use)), _UNTOUCHED)


_UNTOUCHED = StorageRule(AS_IS)
UNCHANGED = Scheme("", (StorageRule(AS_IS),))
"""Everything as the model has it."""
