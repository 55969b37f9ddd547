"""What operators gave before: a call like an earlier one, as blocks that repeat make them, is not worked out again."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportPrivateUsage=false
# Operators take tensors and plain values of any type.

from collections.abc import Callable, Mapping
from typing import Any

import torch

from fxcost.tracing.answering import META
from fxcost.tracing.steps import storage_of, tensors_in

Maker = Callable[[list[torch.Tensor]], torch.Tensor]
"""Makes a result of the tensors that an operator is called with."""


class Results:
    """The results of a run's calls, by what each was called with."""

    def __init__(self) -> None:
        self.known: dict[Any, list[Maker] | None] = {}

    def of(self, func: Any, run: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """What the operator gives: of an earlier call like this one, or by running it."""
        if func._schema.is_mutable:
            return run(*args, **kwargs)
        key = (func, _likeness(args), _likeness(tuple(kwargs.items())))
        makers = self.known.get(key)
        if makers is None:
            result = run(*args, **kwargs)
            if key not in self.known:
                self.known[key] = _makers(func, result, list(tensors_in((args, kwargs))))
            return result
        given = list(tensors_in((args, kwargs)))
        with torch._C._DisablePythonDispatcher():
            made = [make(given) for make in makers]
        returns = func._schema.returns
        if len(returns) > 1:
            return tuple(made)
        return made[0] if str(returns[0].type) == "Tensor" else made


def _likeness(value: Any) -> Any:
    """What calls that give like results have in common: 1, 1.0 and True are not alike."""
    if isinstance(value, torch.Tensor):
        layout = (*value.shape, None, *value.stride(), value.storage_offset())
        return (*(n.node if isinstance(n, torch.SymInt) else n for n in layout), value.dtype)
    if isinstance(value, torch.SymInt):
        return value.node
    if isinstance(value, (list, tuple)):
        return tuple(map(_likeness, value))
    return (type(value), value)


def _makers(func: Any, result: Any, given: list[torch.Tensor]) -> list[Maker] | None:
    """One for each result; None where a result cannot be made again from what is seen of it."""
    if not func._schema.returns:
        return None
    results = list(result) if isinstance(result, (list, tuple)) else [result]
    if not all(isinstance(each, torch.Tensor) for each in results):
        return None
    places = {id(tensor): place for place, tensor in reversed(list(enumerate(given)))}
    storages = {storage_of(tensor): place for place, tensor in reversed(list(enumerate(given)))}
    fresh = [storage_of(each) for each in results if storage_of(each) not in storages]
    if len(set(fresh)) < len(fresh):
        return None
    makers = [_maker(each, places, storages, given) for each in results]
    return None if None in makers else [maker for maker in makers if maker]


def _maker(
    result: torch.Tensor, places: Mapping[int, int], storages: Mapping[int, int], given: list[torch.Tensor]
) -> Maker | None:
    shape, strides, dtype, place = result.shape, result.stride(), result.dtype, places.get(id(result))
    if place is not None:
        return lambda tensors: tensors[place]
    source = storages.get(storage_of(result))
    if source is None:
        return lambda _: torch.empty_strided(shape, strides, dtype=dtype, device=META)
    offset = result.storage_offset()
    if given[source].dtype != dtype or dtype.is_complex:
        return None
    return lambda tensors: torch.as_strided(tensors[source], shape, strides, offset)
