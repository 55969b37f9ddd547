"""What operators gave before: a call like an earlier one, as blocks that repeat make them, is not worked out again."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportPrivateUsage=false
# Operators take tensors and plain values of any type.

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from fxcost.tracing.environment.answers import META
from fxcost.tracing.environment.known_values import known_of
from fxcost.tracing.recording.steps import Recording
from fxcost.tracing.sizes.tensors import Layout, layout_of, storage_of, tensors_in

LARGEST = 2**40
"""Elements of a storage without memory that any result lies within."""


@dataclass(frozen=True)
class _Result:
    """How to make a result again: the argument at ``place`` itself, a view of it, or a new tensor where that is None."""

    place: int | None
    itself: bool
    shape: torch.Size
    strides: tuple[int, ...]
    offset: int
    layout: Layout

    def make(self, given: list[torch.Tensor], carried: bool) -> torch.Tensor:
        if self.itself and self.place is not None:
            return given[self.place]
        if self.place is not None:
            return torch.as_strided(given[self.place], self.shape, self.strides, self.offset)
        if not carried:
            return torch.empty_strided(self.shape, self.strides, dtype=self.layout[3], device=META)
        # For carried sizes torch would work out how much memory the tensor takes, which takes it long.
        return torch.as_strided(torch.empty(LARGEST, dtype=self.layout[3], device=META), self.shape, self.strides)


class Results:
    """The results of a run's calls, by what each was called with."""

    def __init__(self, recording: Recording, carried: bool) -> None:
        self.known: dict[Any, list[_Result] | None] = {}
        self.recording, self.carried = recording, carried

    def of(self, func: Any, run: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """What the operator gives: of an earlier call like this one, or by running it."""
        key = (func, self._likeness(args), self._likeness(tuple(kwargs.items())) if kwargs else None)
        known = self.known.get(key)
        if known is None:
            result = run(*args, **kwargs)
            if key not in self.known:
                self.known[key] = _results(func, result, tensors_in((args, kwargs)))
            return result
        given = tensors_in((args, kwargs))
        with torch._C._DisablePythonDispatcher():
            made = [each.make(given, self.carried) for each in known]
        for each, tensor in zip(known, made, strict=True):
            self.recording.layouts[id(tensor)] = each.layout
        returns = func._schema.returns
        if len(returns) > 1:
            return tuple(made)
        return made[0] if str(returns[0].type) == "Tensor" else made

    def _likeness(self, value: Any) -> Any:
        """What calls that give like results have in common: 1, 1.0 and True are not alike."""
        if isinstance(value, torch.Tensor):
            known = known_of(value)
            layout = self.recording.layout(value)
            return layout if known is None else (layout, known.likeness)
        if isinstance(value, torch.SymInt):
            return value.node
        if isinstance(value, (list, tuple)):
            return tuple(map(self._likeness, value))
        return (type(value), value)


def _results(func: Any, result: Any, given: list[torch.Tensor]) -> list[_Result] | None:
    """One for each result; None where a result cannot be made again from what is seen of it."""
    results = list(result) if isinstance(result, (list, tuple)) else [result]
    if not func._schema.returns or not all(isinstance(each, torch.Tensor) for each in results):
        return None
    places = {id(tensor): place for place, tensor in reversed(list(enumerate(given)))}
    storages = {storage_of(tensor): place for place, tensor in reversed(list(enumerate(given)))}
    fresh = [storage_of(each) for each in results if storage_of(each) not in storages]
    if len(set(fresh)) < len(fresh):
        return None
    found: list[_Result] = []
    for each in results:
        place = places.get(id(each), storages.get(storage_of(each)))
        if place is not None and (given[place].dtype != each.dtype or each.dtype.is_complex):
            return None
        itself = id(each) in places
        found.append(_Result(place, itself, each.shape, each.stride(), each.storage_offset(), layout_of(each)))
    return found
