"""A model left as it was found: what its runs keep in it, such as a cache or a count of calls, is put back."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from copy import copy
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, cast

import torch

Contents = list[Any] | dict[Any, Any] | set[Any]
_NO_STATE = (torch.Tensor, type, ModuleType, FunctionType, MethodType, BuiltinFunctionType, str, bytes, int, float)


@contextmanager
def as_found(model: torch.nn.Module) -> Generator[None]:
    """Put back all that the model's modules hold, in lists, dicts, sets and plain objects however deep, on the way out."""
    holders = list(_holders(model))
    filled = [(each, copy(each)) for each in holders if each]
    empty = [each for each in holders if not each]  # most: the tables of hooks, of which there are none
    try:
        yield
    finally:
        for holder in empty:
            if holder:
                holder.clear()
        for holder, contents in filled:
            _put_back(holder, contents)


def _holders(model: torch.nn.Module) -> Iterator[Contents]:
    """Whatever of the model can hold something else tomorrow, each once."""
    left: list[Any] = [model]
    seen: set[int] = set()
    while left:
        value = left.pop()
        if id(value) in seen or isinstance(value, _NO_STATE):
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            left += cast("dict[Any, Any]", value).values()
        elif isinstance(value, (list, tuple, set, frozenset)):
            left += cast("list[Any]", value)
        elif isinstance(getattr(value, "__dict__", None), dict):
            left.append(vars(value))
        if isinstance(value, (list, dict, set)):
            yield value


def _put_back(holder: Contents, contents: Contents) -> None:
    if isinstance(holder, list):
        holder[:] = contents
    else:
        holder.clear()
        holder.update(contents)  # pyright: ignore[reportArgumentType, reportCallIssue]  # a copy of the holder's own kind
