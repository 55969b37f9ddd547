"""Whole numbers that a run knows though their tensors have no memory: lengths that the user gives, lists that code holds.

A tensor of them is `Known` by one number that all its elements are, which may be a carried size, or by each of few.
What code works out of them, and reads, is followed while it stays whole numbers and none is written over.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportPrivateUsage=false
# Values of tensors are untyped; this folder is the border that keeps them from the rest.

import operator
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

from fxcost.tracing.sizes.tensors import plain_size, tensors_in

MOST = 4096
"""Elements of a tensor whose numbers are kept one by one."""
_NAME = "_fxcost_numbers"


@dataclass(frozen=True, eq=False)
class Known:
    """The numbers of a tensor: each is ``every``, or they are those of ``each``."""

    every: Any = None
    each: torch.Tensor | None = None

    @property
    def likeness(self) -> Any:
        """Equal for equal numbers."""
        if self.each is not None:
            return tuple(self.each.flatten().tolist())
        return self.every.node if isinstance(self.every, torch.SymInt) else self.every


def keep(bare: torch.Tensor, known: Known) -> None:
    """Write on a tensor without memory which numbers it stands for."""
    setattr(bare, _NAME, known)


def known_of(bare: torch.Tensor) -> Known | None:
    """The numbers that a tensor without memory stands for, where they are known."""
    return getattr(bare, _NAME, None)


def numbers_in(value: Any) -> Known | None:
    """The numbers of a tensor with memory, or of lists of plain numbers; none where not all are whole, or they are many."""
    if isinstance(value, (list, int)):
        leaves = pytree.tree_leaves(value)
        plain = 0 < len(leaves) <= MOST and all(type(each) is int for each in leaves)
        try:
            return Known(each=torch.tensor(value, device="cpu")) if plain else None
        except (ValueError, RuntimeError):
            return None  # of unlike lengths, or too large: torch says so itself
    fits = type(value) is torch.Tensor and not value.is_meta and 0 < value.numel() <= MOST
    if not fits or value.is_floating_point() or value.is_complex():
        return None
    with _aside():
        return Known(each=value.detach().clone())


@contextmanager
def _aside() -> Generator[None]:
    """Work on tensors with memory beside what is recorded."""
    with torch._C._DisablePythonDispatcher(), torch._C.DisableTorchFunctionSubclass():
        yield


def read(tensor: torch.Tensor, func: Any) -> Any:
    """What code reads of a tensor's numbers by one of torch's functions; None where they are not known."""
    known = known_of(tensor)
    if known is None:
        return None
    if known.each is not None:
        with _aside():
            return func(known.each)
    if func is torch.Tensor.tolist:
        return _listed(known.every, [int(size) for size in tensor.shape])
    if tensor.numel() != 1 or func not in _AS_NUMBER:
        return None
    return _AS_NUMBER[func](known.every)


_Tensor: Any = torch.Tensor
_AS_NUMBER: Mapping[Any, Callable[[Any], Any]] = {
    _Tensor.item: lambda number: number,
    _Tensor.__int__: int,
    _Tensor.__index__: int,
    _Tensor.__bool__: bool,
    _Tensor.__float__: float,
}


def _listed(number: Any, sizes: list[int]) -> Any:
    return [_listed(number, sizes[1:]) for _ in range(sizes[0])] if sizes else number


def follow(name: str, func: Any, args: Any, kwargs: Mapping[str, Any], result: Any) -> bool:
    """Write on the results of one of torch's functions which numbers they stand for, where all that it took are known.

    Tells whether it wrote over numbers that were known, by its name or by ``out``.
    """
    given = [*tensors_in(args), *tensors_in(kwargs)]
    known = {id(each): known_of(each) for each in given}
    if not any(known.values()):
        return False
    if _writes(name) or kwargs.get("out") is not None:
        return True
    results = tensors_in(result)
    if name in PACKING and (turned := known[id(args[1])]) is not None:
        keep(results[1], PACKING[name](turned, args))
    if None in known.values() or name.startswith(_OF_NO_INPUT):
        return False
    if all(each is not None and each.each is not None for each in known.values()):
        _worked_out(func, args, kwargs, results)
        return False
    number = _alike(name, args, kwargs)
    # Of values and places, as a sort gives them, the first are the numbers.
    for each in results[:1] if name in _WITH_PLACES else results:
        if number is not None and not each.is_floating_point():
            keep(each, number)
    return False


_FILLS: Mapping[str, int] = {"full": 1, "full_like": 1, "new_full": 2}
"""Functions that fill a tensor with a number, and which of their arguments it is."""


def keep_fill(name: str, args: Any, kwargs: Mapping[str, Any], result: torch.Tensor) -> None:
    """Write on a tensor that it is filled with one whole number, where code says which; of data nothing is known."""
    place = _FILLS[name]
    number = args[place] if len(args) > place else kwargs.get("fill_value")
    if type(number) in (int, torch.SymInt) and not result.is_floating_point():
        keep(result, Known(number))


_OF_NO_INPUT = ("empty", "new_empty", "rand", "bernoulli", "multinomial", "poisson")
"""How functions are named whose numbers are drawn, or whatever was in memory."""


def _alike(name: str, args: Any, kwargs: Mapping[str, Any]) -> Known | None:
    """The one number of a result, of tensors of which each has one number everywhere."""
    sides = [getattr(known_of(each), "every", None) if isinstance(each, torch.Tensor) else each for each in args]
    of_two = len(args) > 1 and isinstance(args[1], torch.Tensor)
    if name in _GREATER and (of_two or name not in _RESHAPED):
        return Known(_GREATER[name](*sides)) if None not in sides and len(sides) == 2 else None
    if name in _RESHAPED:
        return Known(sides[0]) if sides and sides[0] is not None else None
    if name in _NEGATIONS and args[0].dtype == torch.bool:
        return Known(not sides[0])
    exact = not kwargs or dict(kwargs) == {"rounding_mode": "floor"}
    if name in _ARITHMETIC and exact and [type(side) in (int, bool, torch.SymInt) for side in sides] == [True] * 2:
        return Known(_ARITHMETIC[name](*sides))
    return None


def _reach(lengths: Known, args: Any) -> Known:
    """How many sequences of these lengths have each step."""
    padded, _, batch_first = args
    if lengths.each is None:
        return Known(padded.shape[0 if batch_first else 1])
    return Known(each=_above(lengths.each, int(lengths.each.max())))


def _lengths(reach: Known, args: Any) -> Known:
    """How long the sequences are of which so many have each step."""
    if reach.each is None:
        return Known(args[1].shape[0])
    return Known(each=_above(reach.each, int(reach.each.max())))


def _above(numbers: torch.Tensor, count: int) -> torch.Tensor:
    """How many of the numbers are above 0, 1, 2 and so on."""
    with _aside():
        return (numbers[None] > torch.arange(count, device="cpu")[:, None]).sum(1)


PACKING: Mapping[str, Callable[[Known, Any], Known]] = {
    "_pack_padded_sequence": _reach,
    "_pad_packed_sequence": _lengths,
}
"""What is known of the second result of a function, of the numbers of its second argument."""


def without_idle_length(name: str, args: Any) -> Any:
    """The arguments of an unpacking without a length that is that of the longest sequence, which torch takes for a number."""
    if name != "_pad_packed_sequence":
        return args
    *others, longest = args
    return (*others, -1) if plain_size(longest) == plain_size(args[1].shape[0]) else args


def _worked_out(func: Any, args: Any, kwargs: Mapping[str, Any], results: list[torch.Tensor]) -> None:
    def real(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            known = known_of(value)
            return None if known is None or known.each is None else known.each.clone()
        return torch.device("cpu") if isinstance(value, torch.device) else value

    with _aside():
        try:
            found = func(*pytree.tree_map(real, args), **pytree.tree_map(real, dict(kwargs)))
        except Exception:  # noqa: BLE001  # whatever torch raises of numbers it raises, or not, of those without memory
            return
    made = [each for each in pytree.tree_leaves(found) if isinstance(each, torch.Tensor)]
    for one, other in zip(results, made, strict=False):
        if one.shape == other.shape and one.dtype == other.dtype and (numbers := numbers_in(other)) is not None:
            keep(one, numbers)


_RESHAPED = frozenset(
    {"__getitem__", "view", "reshape", "flatten", "unsqueeze", "squeeze", "expand", "repeat", "clone", "contiguous", "cpu"}
    | {"to", "long", "int", "detach", "max", "min", "amax", "amin", "unbind", "index_select", "sort", "flip", "__iter__"}
    | {"_shape_as_tensor", "type_as", "expand_as", "view_as", "narrow", "select", "as_tensor", "tensor"}
)  # fmt: skip
"""Functions whose results have the one number of their input everywhere."""
_WITH_PLACES = frozenset({"max", "min", "sort"})
_GREATER: Mapping[str, Callable[[Any, Any], Any]] = {
    **dict.fromkeys(("max", "maximum"), torch.sym_max),
    **dict.fromkeys(("min", "minimum"), torch.sym_min),
}
"""Functions that give the greater or the lesser of two numbers; two of them also those of one tensor."""
_NEGATIONS = frozenset({"__invert__", "bitwise_not", "logical_not"})
"""Functions of truths, which turn them; of numbers `bitwise_not` is another one, and is not followed."""
_ARITHMETIC: Mapping[str, Callable[[Any, Any], Any]] = {
    **dict.fromkeys(("add", "__add__", "__radd__"), operator.add),
    **dict.fromkeys(("sub", "__sub__"), operator.sub),
    "__rsub__": lambda one, other: other - one,
    **dict.fromkeys(("mul", "__mul__", "__rmul__"), operator.mul),
    **dict.fromkeys(("floor_divide", "__floordiv__", "div", "divide"), operator.floordiv),
    **dict.fromkeys(("gt", "__gt__"), operator.gt),
    **dict.fromkeys(("ge", "__ge__"), operator.ge),
    **dict.fromkeys(("lt", "__lt__"), operator.lt),
    **dict.fromkeys(("le", "__le__"), operator.le),
    **dict.fromkeys(("eq", "__eq__"), operator.eq),
    **dict.fromkeys(("ne", "__ne__"), operator.ne),
}


def _writes(name: str) -> bool:
    """Whether a function of this name writes over its first argument."""
    return name in _WRITING if name.startswith("__") else name.endswith("_")


_WRITING = frozenset(
    {"__setitem__", "__iadd__", "__isub__", "__imul__", "__ifloordiv__", "__itruediv__", "__imod__", "__ipow__"}
    | {"__iand__", "__ior__", "__ixor__", "__ilshift__", "__irshift__"}
)


def plain(value: Any) -> Any:
    """Sizes, and ends of slices, with the numbers of tensors that are known in the place of those."""
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    if isinstance(value, slice):
        return slice(plain(value.start), plain(value.stop), plain(value.step))
    number = read(value, _Tensor.item) if isinstance(value, torch.Tensor) and value.dim() == 0 else None
    return value if number is None else number
