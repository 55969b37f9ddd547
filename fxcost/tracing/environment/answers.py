"""What a model asks of the world that it runs in, answered as in a plain run on the CPU, though no tensor has memory."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportPrivateUsage=false
# Torch's modes and flags are private and untyped; this folder is the border that keeps them from the rest.

import re
import sys
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NoReturn
from unittest import mock

import torch
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.overrides import TorchFunctionMode
from torch.utils import _device

from fxcost.dtypes import DTYPES
from fxcost.tracing.environment import known_values as numbers
from fxcost.tracing.environment.messages import is_message
from fxcost.tracing.environment.value_bounds import ValueEnds, ends_of, keep_ends, places_in
from fxcost.tracing.sizes.naming import TorchFiles
from fxcost.tracing.sizes.polynomials import Polynomial, SizesHeld, symbols_of
from fxcost.tracing.sizes.tensors import is_wrapper, wrapped_again, wrapped_in

META, CPU = torch.device("meta"), torch.device("cpu")
AS_EXPORTED = (
    "the model decides by its data in a plain run, so it was told that it is exported, and ran as it then does"
)
NO_FAST_PATH = "torch's multi-head attention and encoder layers run without their fast path, operator by operator"

SELF_LOOPS = "torch_geometric/utils/loop.py"
NO_SELF_LOOPS = "no edge of a graph leads from a node to itself, but those that the model adds"

_Property: Any = torch.Tensor
_ANSWERS = {
    _Property.device.__get__: CPU,
    _Property.is_meta.__get__: False,
    _Property.is_cpu.__get__: True,
}
"""What a tensor without memory says of itself, as the same tensor would say it on the CPU."""


class Surroundings(TorchFunctionMode):
    """Makes every tensor without memory, while code that asks a tensor for its device is told that it is the CPU.

    ``missing`` is the first error of a question for data that there is none of, also where the model swallows it.
    """

    def __init__(self, assume: Callable[[str], None], *, keeps: bool = True) -> None:
        super().__init__()
        self.assume, self.keeps = assume, keeps
        self.missing: Exception | None = None
        self.asks_layout = False
        """Whether code of the model asked how a tensor lies in memory, which differs at sizes of 1."""
        self.makes = _device._device_constructors()
        self.written_over = False
        """Whether numbers that were known were written over, after which none are."""
        self.twins: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.made: list[torch.Tensor] = []
        """Tensors that code made of Python's own numbers, often by no operator; none where they are not to be kept."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _ASKED:
            if args[0].is_meta and (answer := self._answer(func, args, kwargs)) is not None:
                return answer
        elif any(_with_memory(args)) or (kwargs and any(_with_memory(kwargs.values()))):
            args, kwargs = self._bare(args), {name: self._bare(value) for name, value in kwargs.items()}
        try:
            return self._run(func, args, kwargs)
        except Exception as error:
            if lacks_data(error):
                self.miss(error)
            raise

    def _answer(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What a tensor without memory says of itself, as the same tensor would say it on the CPU; None for what torch says."""
        if func in _LAYOUT:
            self.asks_layout = True
        if func in _READS and not self.written_over and (number := numbers.read(args[0], func)) is not None:
            return number
        if func is _Property.tolist:
            raise_missing(self, "a list of the values of a meta tensor")
        if func is _Property.data_ptr:
            return _place_of(args[0].untyped_storage()) + int(args[0].storage_offset()) * args[0].itemsize
        if func is _Property.type and len(args) == 1 and not kwargs:
            return _TYPES.get(args[0].dtype)
        return _ANSWERS.get(func)

    def _run(self, func: Any, args: Any, kwargs: Any) -> Any:
        if func in _INDEXES:
            args = (args[0], self._with_places(_with_ends(args[1])), *args[2:])
        name = getattr(func, "__name__", "")
        args = numbers.without_idle_length(name, args)
        if func in _FILLING:
            return self._fill(name, func, args, kwargs)
        if func not in self.makes:
            result = func(*args, **kwargs)
            self.written_over |= numbers.follow(name, func, args, kwargs, result)
            if name in ("ne", "__ne__") and _called_from(SELF_LOOPS):
                self.assume(NO_SELF_LOOPS)
                numbers.keep(result, numbers.Known(True))
            return result
        if func not in _OF_VALUES:
            args = numbers.plain(args)
        made = func(*args, **{**kwargs, "device": META})
        self._keep_made(made)
        if func in _OF_VALUES and args:
            keep_ends(made, ends_of(args[0]))
            whole = not made.is_floating_point()
            if whole and (known := numbers.numbers_in(args[0])) is not None:
                numbers.keep(made, known)
        return made

    def _keep_made(self, made: torch.Tensor) -> None:
        if self.keeps:
            self.made.append(made)

    def _fill(self, name: str, func: Any, args: Any, kwargs: Any) -> Any:
        """What a tensor is filled with is no size, and need not be read; a plain number is known."""
        shapes, named = _filled_with_nothing(args, kwargs)
        made = func in self.makes
        result = func(*shapes, **{**named, **({"device": META} if made else {})})
        if made:
            self._keep_made(result)
        if kwargs.get("out") is not None:
            self.written_over |= numbers.known_of(kwargs["out"]) is not None
        else:
            numbers.keep_fill(name, args, kwargs, result)
        return result

    def _bare(self, value: Any) -> Any:
        """What is without memory in the place of tensors with memory: those that no module holds, such as a global table."""
        if isinstance(value, torch.Tensor) and not value.is_meta:
            if is_wrapper(value):  # which says where what it wraps seemed to be
                return wrapped_again(value, self._bare) if any(_with_memory((value,))) else value
            if id(value) not in self.twins:
                with torch._C._DisablePythonDispatcher():  # past what records
                    twin = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=META)
                    keep_ends(twin, ends_of(value))
                    if (known := numbers.numbers_in(value)) is not None:
                        numbers.keep(twin, known)
                self.twins[id(value)] = value, twin
                self.made.append(twin)
            return self.twins[id(value)][1]
        if isinstance(value, (list, tuple)):
            bare = [self._bare(each) for each in value]
            return bare if isinstance(value, list) else tuple(bare)
        return value

    def _with_places(self, index: Any) -> Any:
        """An index with tensors in the place of lists and arrays, of which it is kept how far they reach."""
        made = {id(part): self._places(ends, shape, dtype) for part, ends, shape, dtype in places_in(index)}
        if isinstance(index, tuple):
            return tuple(made.get(id(part), part) for part in index)
        return made.get(id(index), index)

    def _places(self, ends: ValueEnds, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        with torch._C._DisablePythonDispatcher():  # past what records
            places = torch.empty(shape, dtype=dtype, device=META)
        keep_ends(places, ends)
        self.made.append(places)
        return places

    def miss(self, error: Exception) -> None:
        """Keep the first error of missing data."""
        self.missing = self.missing or error


def _called_from(file: str) -> bool:
    """Whether the code of a model's that calls one of torch's functions is of a file."""
    frame = sys._getframe(3)  # past what answers it here
    while frame.f_back and frame.f_code.co_filename in TorchFiles():
        frame = frame.f_back
    return frame.f_code.co_filename.endswith(file)


def _filled_with_nothing(args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Arguments with a number of the same kind in the place of a tensor that is one to fill with."""

    def nothing(value: Any) -> Any:
        return torch.zeros((), dtype=value.dtype, device=CPU).item() if isinstance(value, torch.Tensor) else value

    with torch._C._DisablePythonDispatcher():  # past what records
        filled = {name: nothing(each) if name == "fill_value" else each for name, each in kwargs.items()}
        return (*args[:1], *map(nothing, args[1:])), filled


def _with_ends(index: Any) -> Any:
    """An index with numbers in the place of tensors that slices end at, and slices in the place of masks that are alike everywhere."""
    if isinstance(index, tuple):
        return tuple(map(_with_ends, index))
    if isinstance(index, slice):
        return numbers.plain(index)
    if isinstance(index, torch.Tensor) and index.dtype == torch.bool and index.dim() == 1:
        known = numbers.known_of(index)
        if known is not None and known.each is None:
            return slice(None) if known.every else slice(0, 0)
    return index


def reads_data(func: Any) -> bool:
    """Whether an operator gives numbers, or sizes, that depend on values."""
    given = {str(each.type) for each in func._schema.returns}
    tags = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
    return bool(tags & set(func.tags)) or bool(given & {"Scalar", "number", "bool", "int", "float"})


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of dtypes that torch is giving up
    _TYPES = {dtype: torch.empty(0, dtype=dtype).type() for name in DTYPES if (dtype := getattr(torch, name, None))}
"""What torch calls the type of a tensor of each dtype on the CPU."""
_LAYOUT = frozenset({_Property.is_contiguous, _Property.stride})


def _place_of(storage: torch.UntypedStorage) -> int:
    """Where a storage without memory would lie: nowhere else than any other, and aligned."""
    return storage._cdata << 6


@contextmanager
def storages_on_the_cpu() -> Generator[None]:
    """Storages without memory answer as if they had some, but to torch itself."""
    plain: Any = torch.UntypedStorage

    def lies_at(storage: Any) -> int:
        return _place_of(storage) if place.__get__(storage) == META else pointer(storage)

    def device(storage: Any) -> torch.device:
        own = place.__get__(storage)
        return CPU if own == META and sys._getframe(1).f_code.co_filename not in TorchFiles() else own

    pointer, place = plain.data_ptr, plain.device
    with (
        mock.patch.object(plain, "data_ptr", lies_at),
        mock.patch.object(plain, "device", property(device)),
    ):
        yield


_INDEXES = frozenset({_Property.__getitem__, _Property.__setitem__})
_OF_VALUES = frozenset({torch.tensor, torch.as_tensor, torch.asarray})

_FILLING = frozenset({torch.full, torch.full_like, _Property.new_full})

_READS = frozenset(
    {_Property.item, _Property.tolist, _Property.numpy, _Property.__array__, _Property.__repr__, _Property.__format__}
    | {_Property.__bool__, _Property.__int__, _Property.__float__, _Property.__index__, _Property.__complex__}
)
"""What gives the values of a tensor, where it has any."""
_ASKED = _READS | _LAYOUT | _ANSWERS.keys() | {_Property.data_ptr, _Property.type}
"""What a tensor is asked of itself, rather than what is done with it."""


def raise_missing(surroundings: Surroundings, said: str) -> NoReturn:
    """Raise, and keep, an error of data that there is none of, which torch itself would read from nowhere."""
    error = RuntimeError(said)
    surroundings.miss(error)
    raise error


def _with_memory(values: Iterable[Any]) -> Iterator[bool]:
    """For each tensor whether it has memory."""
    for value in values:
        if isinstance(value, torch.Tensor):
            if not value.is_meta:
                yield not is_wrapper(value) or any(_with_memory(wrapped_in(value).values()))
        elif isinstance(value, (list, tuple)):
            yield from _with_memory(value)


_LACKS = re.compile(r"data-(?:in)?dependent|\bmeta tensors?\b|\bmeta device type tensor", re.IGNORECASE)


def lacks_data(error: BaseException) -> bool:
    """Whether an operator was asked for values that tensors without memory do not have."""
    if isinstance(error, GuardOnDataDependentSymNode):
        return True
    return bool(_LACKS.search(str(error)))


@contextmanager
def as_exported() -> Generator[None]:
    """Tell models that ask that they are exported: many then look at no value."""
    compiler: Any = torch.compiler
    with (
        mock.patch.object(compiler, "_is_compiling_flag", True),
        mock.patch.object(compiler, "_is_exporting_flag", True),
    ):
        yield


@contextmanager
def without_fast_path(asked: Callable[[], None]) -> Generator[None]:
    """Keep torch's own layers from their fused fast path, and call ``asked`` when one wants it; others get a plain answer."""
    plain = torch.backends.mha.get_fastpath_enabled

    def answer() -> bool:
        enabled = plain()
        if enabled and sys._getframe(1).f_code.co_filename in TorchFiles():
            asked()
            return False
        return enabled

    with mock.patch.object(torch.backends.mha, "get_fastpath_enabled", answer):
        yield


@contextmanager
def text_told(hashing: bool) -> Generator[None]:
    """Carried sizes that a model turns into text are held at their value; with ``hashing`` `SizesHeld` tells what it looks up.

    Text of a message tells people, and decides nothing. A size cannot be hashed else, as in torch, which libraries know
    of and go around.
    """

    def number(size: Any) -> Any:
        kind = {torch.SymInt: int, torch.SymFloat: float, torch.SymBool: bool}[type(size)]
        return kind(size)

    def written(size: Any, form: str = "") -> str:
        told = is_message(sys._getframe(1))
        value = size.node.hint if told else number(size)
        return format(value, form) if form else repr(value)

    def looked_up(size: Any) -> int:
        names = symbols_of(size.node) if isinstance(size.node, Polynomial) else set[str]()
        if names:
            raise SizesHeld(names, size.node.sizes.place().where)
        return hash(number(size))

    methods: dict[str, Any] = {
        **dict.fromkeys(("__repr__", "__str__", "__format__"), written),
        "__reduce_ex__": lambda size, _protocol: (type(number(size)), (number(size),)),
        "__deepcopy__": lambda size, _memo: size,
    }
    if hashing:
        methods["__hash__"] = looked_up
    with ExitStack() as stack:
        for kind in (torch.SymInt, torch.SymFloat, torch.SymBool):
            for name, method in methods.items():
                stack.enter_context(mock.patch.object(kind, name, method, create=True))
        yield
