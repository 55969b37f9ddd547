"""A model left as it was found: what its runs keep in it, such as a cache or a count of calls, is put back.

What only code reaches, such as globals, closures, class attributes and `functools.lru_cache`, is not: a run that must
leave nothing behind is made in a child process.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportPrivateUsage=false
# What models hold has any type; the modules of TorchScript keep what they hold from Python.

import random
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from types import BuiltinFunctionType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch

PutBack = Callable[[], None]
_NO_STATE = (type, ModuleType, FunctionType, MethodType, BuiltinFunctionType, str, bytes, int, float, complex)
_WITHOUT_ATTRIBUTES = frozenset({dict, list, tuple, set, frozenset, deque})
_WITHOUT_SLOTS = _WITHOUT_ATTRIBUTES | {OrderedDict, torch.Tensor, torch.nn.Parameter}
_PLAIN = (dict, OrderedDict, list, set)
_NUMBERS = (torch.Tensor, np.ndarray)
_SEQUENCES = (list, tuple, set, frozenset, deque)
_ABSENT = object()


@contextmanager
def as_found(model: torch.nn.Module) -> Generator[Callable[[], PutBack]]:
    """Put back what the model's modules hold, in containers and plain objects however deep, on the way out.

    What stands in a container is put back, not what was written into a tensor there; see `untouched`. Gives what keeps
    the same containers and objects as they are when it is called, to be put back as often as wanted.
    """
    reached = list(_reached(model))
    put_back = _kept(reached)
    try:
        yield partial(_kept, reached)
    finally:
        put_back()


def _kept(reached: Iterable[Any]) -> PutBack:
    """What puts back all that these hold now."""
    empty: list[Any] = []  # most: the tables of hooks, of which there are none
    filled: list[tuple[Any, Any]] = []
    others: list[PutBack] = []
    for each in reached:
        if type(each) not in _PLAIN:
            others += _holdings(each)
        elif each:
            filled.append((each, each.copy()))
        else:
            empty.append(each)

    def put_back() -> None:
        for holder in empty:
            if holder:
                holder.clear()
        for holder, found in filled:
            holder.clear()
            (holder.extend if isinstance(holder, list) else holder.update)(found)
        for each in others:
            each()

    return put_back


@contextmanager
def untouched(model: torch.nn.Module) -> Generator[None]:
    """`as_found`, and on the way out also the numbers in tensors and arrays, TorchScript's modules, and random states.

    The parameters and buffers of Python's modules are left out, which traces lay aside and write nothing into.
    """
    laid_aside = {id(tensor) for module in model.modules() for tensor in _registered(module)}
    contents = [kept for each in _reached(model) if id(each) not in laid_aside for kept in _contents(each)]
    numpys, pythons = np.random.get_state(), random.getstate()  # noqa: NPY002  # the state that models draw from
    try:
        with torch.random.fork_rng(devices=[]), as_found(model):
            yield
    finally:
        for put_back in contents:
            put_back()
        random.setstate(pythons)
        np.random.set_state(numpys)  # noqa: NPY002


def _registered(module: torch.nn.Module) -> Iterator[torch.Tensor | None]:
    if not isinstance(module, torch.jit.ScriptModule):
        yield from module._parameters.values()
        yield from module._buffers.values()


def _reached(model: torch.nn.Module) -> Iterator[Any]:
    """Whatever the model holds, directly or inside something else, each once."""
    left: list[Any] = [model]
    seen: set[int] = set()
    while left:
        value = left.pop()
        if value is None or id(value) in seen or isinstance(value, _NO_STATE):
            continue
        seen.add(id(value))
        yield value
        if isinstance(value, _NUMBERS):
            continue
        if isinstance(value, dict):
            left += dict.values(value)
        elif isinstance(value, _SEQUENCES):
            left += value
        if type(value) in _WITHOUT_ATTRIBUTES:
            continue
        attributes = getattr(value, "__dict__", None)
        if isinstance(attributes, dict):
            left.append(attributes)
        left += [held for slot in _slots(value) if (held := _slot(value, slot)) is not _ABSENT]
        if isinstance(value, torch.jit.ScriptModule):
            left += [held for held in script_attributes(value).values() if isinstance(held, torch.Tensor)]


def _holdings(value: Any) -> Iterator[PutBack]:
    """What puts back which values stand in this one."""
    if isinstance(value, dict):
        yield _dict_kept(value)
    elif isinstance(value, list):
        yield _sequence_kept(value, list, lambda found: list.__setitem__(value, slice(None), found))
    elif isinstance(value, deque):
        yield _sequence_kept(value, deque, lambda found: (deque.clear(value), deque.extend(value, found)))
    elif isinstance(value, set):
        yield _sequence_kept(value, set, lambda found: (set.clear(value), set.update(value, found)))
    for slot in _slots(value):
        yield _slot_kept(value, slot)


# Through the methods of Python's own classes: a class of the user's may refuse to be written to, or write elsewhere too.


def _dict_kept(value: dict[Any, Any]) -> PutBack:
    kind: Any = OrderedDict if isinstance(value, OrderedDict) else dict
    found = tuple(kind.items(value))

    def put_back() -> None:
        if not _same([each for pair in found for each in pair], [each for pair in kind.items(value) for each in pair]):
            kind.clear(value)
            for name, held in found:
                kind.__setitem__(value, name, held)

    return put_back


def _sequence_kept(value: Any, kind: Any, write: Callable[[list[Any]], Any]) -> PutBack:
    found = [*kind.__iter__(value)]

    def put_back() -> None:
        if not _same(found, [*kind.__iter__(value)]):
            write(found)

    return put_back


def _same(found: list[Any], now: list[Any]) -> bool:
    return len(found) == len(now) and all(one is other for one, other in zip(found, now, strict=True))


def _slots(value: Any) -> Iterator[MemberDescriptorType]:
    """The attributes of an object that are kept in slots."""
    if type(value) not in _WITHOUT_SLOTS:
        for kind in type(value).__mro__:
            if "__slots__" in vars(kind):
                yield from (each for each in vars(kind).values() if isinstance(each, MemberDescriptorType))


def _slot(value: Any, slot: MemberDescriptorType) -> Any:
    try:
        return slot.__get__(value)
    except AttributeError:
        return _ABSENT


def _slot_kept(value: Any, slot: MemberDescriptorType) -> PutBack:
    found = _slot(value, slot)

    def put_back() -> None:
        if _slot(value, slot) is found:
            return
        if found is _ABSENT:
            slot.__delete__(value)
        else:
            slot.__set__(value, found)

    return put_back


def _contents(value: Any) -> Iterator[PutBack]:
    """What puts back the numbers in this value."""
    if isinstance(value, torch.Tensor):
        plain = type(value) in (torch.Tensor, torch.nn.Parameter) and value.layout is torch.strided
        if plain and not value.is_meta and not value.is_quantized:
            yield _tensor_kept(value)
    elif isinstance(value, np.ndarray):
        if value.flags.writeable and not value.dtype.hasobject:
            yield _array_kept(value)
    elif isinstance(value, torch.jit.ScriptModule):
        yield _script_kept(value)


def _tensor_kept(value: torch.Tensor) -> PutBack:
    kept = value.detach().clone()

    def put_back() -> None:
        if value.shape != kept.shape:
            value.data = kept
        elif not ((value == kept) | ((value != value) & (kept != kept))).all():  # noqa: PLR0124  # a NaN is not itself
            value.data.copy_(kept)

    return put_back


def _array_kept(value: Any) -> PutBack:
    kept = value.copy()

    def put_back() -> None:
        if value.shape == kept.shape:
            value[...] = kept

    return put_back


def script_attributes(module: torch.jit.ScriptModule) -> dict[str, Any]:
    """All that a module of TorchScript holds but its submodules, by name."""
    held: Any = module._c
    registered: tuple[Any, ...] = torch._C.ParameterDict(held), torch._C.BufferDict(held)
    names = {name for table in registered for name, _ in table.items()}
    kind: Any = vars(module).get("_concrete_type")
    names |= set(kind.get_attributes()) if kind is not None else set()
    return {name: held.getattr(name) for name in names}


def _script_kept(module: torch.jit.ScriptModule) -> PutBack:
    held: Any = module._c
    found = script_attributes(module)

    def put_back() -> None:
        for name, value in found.items():
            now = held.getattr(name)
            if now is not value and (isinstance(value, torch.Tensor) or now != value):
                held.setattr(name, value)

    return put_back
