"""What a recording holds: the calls of operators in their order, and the tensors that run through them."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportPrivateUsage=false
# Torch's storages and trees are private and typed in part; this folder is the border that keeps them from the rest.

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from torch._ops import OpOverload
from torch.utils import _pytree as pytree

from fxcost.graph import Layer
from fxcost.tracing.sizes import TraceError


@dataclass(frozen=True)
class Step:
    """One call of an operator."""

    operator: OpOverload
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any
    layer: Layer
    copy: "Copy | None" = None
    """Set where this was not run but stands for step ``source``, whose tensors it shows."""
    source: int = -1

    @property
    def taken(self) -> Iterable[torch.Tensor]:
        """The tensors that it is called with; a copied block's first step takes what the block does, the others none."""
        if self.copy is None:
            return tensors_in((self.args, self.kwargs))
        return self.copy.given if self.source == self.copy.span.start else ()

    @property
    def made(self) -> Iterable[torch.Tensor]:
        """Its results; a copied block's last step gives what the block does, the others none."""
        if self.copy is None:
            return tensors_in(self.result)
        return self.copy.returned if self.source == self.copy.span.stop - 1 else ()


@dataclass(frozen=True, eq=False)
class Span:
    """Steps from ``start`` to before ``stop`` that take nothing but the tensors given, and the new tensors that they give."""

    start: int
    stop: int
    given: tuple[torch.Tensor, ...]
    returned: tuple[torch.Tensor, ...] = ()


@dataclass(frozen=True, eq=False)
class Copy:
    """A span once more, with other tensors in the places of those given and returned."""

    span: Span
    given: tuple[torch.Tensor, ...]
    returned: tuple[torch.Tensor, ...]


@dataclass
class Recording:
    """The operators that ran, in their order, and the modules that called them."""

    steps: list[Step] = field(default_factory=list)
    modules: dict[str, str] = field(default_factory=dict)
    output: Any = None
    ended: str = ""
    """The leaf that could not be run, and why; nothing after it is recorded."""


def likeness(value: Any) -> Any:
    """What calls that give like results have in common: 1, 1.0 and True are not alike."""
    if isinstance(value, torch.Tensor):
        return (*(likeness(each) for each in (tuple(value.shape), value.stride())), value.dtype)
    if isinstance(value, torch.SymInt):
        return value.node
    if isinstance(value, (list, tuple)):
        return tuple(map(likeness, value))
    return (type(value), value)


def originals(recording: Recording, known: Iterable[int]) -> dict[int, torch.Tensor]:
    """For tensors that no step gave, the result that each is another handle of: torch hands out copies of new tensors.

    ``known`` are the identities of the tensors that the run was given.
    """
    made: dict[int, torch.Tensor] = {}
    known = set(known)
    found: dict[int, torch.Tensor] = {}

    def look_at(tensors: Iterable[torch.Tensor]) -> set[int]:
        storages: set[int] = set()
        for tensor in tensors:
            storage = storage_of(tensor)
            storages.add(storage)
            if id(tensor) not in known and storage in made:
                found[id(tensor)] = made[storage]
        return storages

    for step in recording.steps:
        taken = look_at(step.taken)
        for tensor in step.made:
            known.add(id(tensor))
            if (storage := storage_of(tensor)) not in taken:
                made.setdefault(storage, tensor)
    look_at(tensors_in(recording.output))
    return found


_PLAIN = (int, float, str, bool, complex, type(None), type, torch.SymInt, torch.Size, torch.dtype, torch.device)


def every_tensor_in(output: Any) -> Iterator[torch.Tensor]:
    """The tensors of a result, those that it holds as attributes too."""
    # A tensor that is not found here would be removed with all that computes it, and its cost with it.
    for leaf in pytree.tree_leaves(output):
        if isinstance(leaf, torch.Tensor):
            yield leaf
        elif isinstance(leaf, _PLAIN):
            continue
        elif hasattr(leaf, "__dict__"):
            yield from every_tensor_in(vars(leaf))
        else:
            raise TraceError(f"the model returns a {type(leaf).__name__}, which cannot be searched for tensors")


def storage_of(tensor: torch.Tensor) -> int:
    """Equal for tensors that share memory, as long as they live."""
    return tensor.untyped_storage()._cdata


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    return (leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor))


def named_tensors(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    return chain(model.named_parameters(), model.named_buffers())
