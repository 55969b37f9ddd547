"""The ends of whole numbers that a model holds, kept where the numbers themselves are let go of."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# Values of tensors are untyped; this folder is the border that keeps them from the rest.

from collections.abc import Iterator
from typing import Any

import numpy
import torch
from torch.utils import _pytree as pytree

ValueEnds = tuple[int, int]
"""The least and the greatest value."""

_WHOLE = frozenset({torch.int8, torch.int16, torch.int32, torch.int64})
_NAME = "_fxcost_ends"


def keep_ends(bare: torch.Tensor, ends: ValueEnds | None) -> None:
    """Write on a tensor without memory how far the values reach that it stands for."""
    if ends is not None and bare.dtype in _WHOLE:
        setattr(bare, _NAME, ends)


def kept_ends(bare: Any) -> ValueEnds | None:
    """How far the values reach that a tensor without memory stands for, where that was kept."""
    return vars(bare).get(_NAME) if isinstance(bare, torch.Tensor) else None


def ends_of(value: Any) -> ValueEnds | None:
    """The ends of a tensor with memory, of an array or of lists of plain numbers; none where not all are whole."""
    if isinstance(value, torch.Tensor):
        plain = type(value) in {torch.Tensor, torch.nn.Parameter} and value.layout == torch.strided
        if not plain or value.dtype not in _WHOLE or value.is_meta or not value.numel():
            return None
        low, high = torch.aminmax(value.detach())
        return int(low), int(high)
    if isinstance(value, numpy.ndarray):
        return (int(value.min()), int(value.max())) if value.dtype.kind == "i" and value.size else None
    numbers = list(_numbers(value))
    return (min(numbers), max(numbers)) if numbers and all(type(each) is int for each in numbers) else None


def _numbers(value: Any) -> Iterator[Any]:
    return iter(pytree.tree_leaves(value)) if isinstance(value, (list, tuple, int)) else iter(())


def places_in(index: Any) -> Iterator[tuple[Any, ValueEnds, tuple[int, ...], torch.dtype]]:
    """The lists and arrays of places within an index, each with its ends, and with the shape and dtype that torch gives it."""
    parts = index if isinstance(index, tuple) else (index,)
    for part in parts:
        if isinstance(part, list) and all(type(each) is int for each in part) and (ends := ends_of(part)):
            yield part, ends, (len(part),), torch.int64
        if isinstance(part, numpy.ndarray) and part.ndim and (ends := ends_of(part)):
            yield part, ends, part.shape, getattr(torch, str(part.dtype))
