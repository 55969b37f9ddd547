"""Inputs and sizes as users write them: ``x: float32[B,3,H,W]``, ``H%32,W,B``, ``B=8,H=224``."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, cast

from fxcost.dtypes import DTYPES
from fxcost.errors import FxcostError, near_matches

NAME = re.compile(r"[A-Za-z_]\w*\Z", re.ASCII)

BATCH_SIZE = "B"
"""The symbol that stands for the number of samples in one call."""


_OF_INPUTS = tuple(name for name in DTYPES if not name.startswith(("q", "bits")))
"""Dtypes of tensors that torch makes without more being said, such as a scale."""


@dataclass(frozen=True)
class Positions:
    """How many positions a buffer has that holds a past and one token more: ``P+1``, or at most ``most``."""

    past: str
    """The symbol of the past's length."""
    most: int | None = None

    def length(self, past: Any, least: Callable[[Any, int], Any] = min) -> Any:
        """The positions after a past of this length; ``least`` is the lesser of two, for sizes that are no plain numbers."""
        return past + 1 if self.most is None else least(past + 1, self.most)

    def __str__(self) -> str:
        length = f"{self.past}+1"
        return length if self.most is None else f"min({length},{self.most})"


Dimension = int | str | Positions


@dataclass(frozen=True)
class InputValue:
    """What whole numbers of an input are where a symbol has a size: ``S-1``, ``2*S``, ``S//2+1``."""

    symbol: str
    times: int = 1
    over: int = 1
    plus: int = 0

    def number(self, size: Any) -> Any:
        """The number where the symbol has this size."""
        scaled = size if self.times == 1 else size * self.times
        return (scaled if self.over == 1 else scaled // self.over) + self.plus

    def __str__(self) -> str:
        scaled = f"{self.times}*{self.symbol}" if self.times != 1 else self.symbol
        parted = f"{scaled}//{self.over}" if self.over != 1 else scaled
        return f"{parted}{self.plus:+d}" if self.plus else parted


NUMBER = "int"
"""The dtype of an input that is a number of Python's, and no tensor."""


@dataclass(frozen=True)
class InputSpec:
    """One input tensor: each dimension a number, the name of a symbol, or the positions of a cache.

    With the dtype ``int`` it is no tensor, but a number.
    """

    name: str
    dtype: str
    dims: tuple[Dimension, ...]
    state: bool = False
    """Whether it is a part of the cache that one step of decoding hands to the next."""
    value: int | InputValue | None = None
    """Of an input of whole numbers what each of them is, where that is known."""

    def number(self, sizes: Mapping[str, Any]) -> Any:
        """Its value where the symbols have these sizes, else None."""
        return self.value.number(sizes[self.value.symbol]) if isinstance(self.value, InputValue) else self.value

    def shape(self, sizes: Mapping[str, Any], least: Callable[[Any, int], Any] = min) -> list[Any]:
        """The sizes of its dimensions where the symbols have these."""
        return [
            dim.length(sizes[dim.past], least)
            if isinstance(dim, Positions)
            else sizes[dim]
            if isinstance(dim, str)
            else dim
            for dim in self.dims
        ]

    def __str__(self) -> str:
        shape = "" if self.dtype == NUMBER else f"[{','.join(map(str, self.dims))}]"
        return f"{self.name}: {self.dtype}{shape}{'' if self.value is None else f' = {self.value}'}"


@dataclass(frozen=True)
class Arguments:
    """What a model is called with; tensors at any depth of lists, tuples and dicts stand as `InputSpec`."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] | None = None
    call: Callable[..., Any] | None = None
    """Where the model is not called plainly: a function of the model, the size of each symbol, and the arguments."""

    def caller(self, model: Any, sizes: Mapping[str, Any]) -> Callable[..., Any]:
        """What is called with the arguments: the model, unless it is not called plainly."""
        return partial(self.call, model, sizes) if self.call else model

    def given(self) -> tuple[InputSpec, ...]:
        """Every input tensor and number, positional ones first."""
        return tuple(_leaves([*self.args, *(self.kwargs or {}).values()]))

    def specs(self) -> tuple[InputSpec, ...]:
        """Every input tensor, positional ones first."""
        return tuple(spec for spec in self.given() if spec.dtype != NUMBER)

    def symbols(self) -> tuple[str, ...]:
        """The names of the symbols in the order they first appear."""
        named = (_symbol(d) for spec in self.given() for d in (*spec.dims, spec.value))
        return tuple(dict.fromkeys(name for name in named if isinstance(name, str)))


def _symbol(size: Dimension | InputValue | None) -> Any:
    """The name of the symbol that a size or value is made of, if any."""
    if isinstance(size, Positions):
        return size.past
    return size.symbol if isinstance(size, InputValue) else size


def _leaves(value: Any) -> Iterator[InputSpec]:
    if isinstance(value, InputSpec):
        yield value
    for each in children(value):
        yield from _leaves(each)


def children(value: Any) -> Iterable[Any]:
    """What a list, tuple or mapping holds; nothing for anything else."""
    if isinstance(value, Mapping):
        return cast("Mapping[Any, Any]", value).values()
    return cast("Iterable[Any]", value) if isinstance(value, (list, tuple)) else ()


LARGEST_SIZE = 10**15
"""No tensor has as many places along one dimension: its bytes would not be numbered by 64 bits."""


def _size(text: str, option: str) -> int | None:
    """The positive number that a text is, if it is one; raises `FxcostError` for one beyond any tensor's."""
    if not text.isdecimal():
        return None
    if len(text) > len(str(LARGEST_SIZE)) or int(text) > LARGEST_SIZE:
        raise FxcostError(
            f"{option}: {text[:20]}{'…' if len(text) > 20 else ''} is more than 10^15, and no tensor is so large"
        )
    return int(text) or None


def parse_input(text: str) -> InputSpec:
    """Read ``name: dtype[dims]``, ``name: dtype[dims] = value`` for whole numbers, or ``name: int = value``.

    Dimensions are positive integers or symbol names; values also are ``S-1``, ``2*S`` or ``S//2+1``. A name within a dictionary or a list is
    written ``batch[ids]``, ``batch.ids`` or ``x[0]``.
    """
    match = re.fullmatch(r"\s*([^\s:]+)\s*:\s*(\w+)\s*(?:\[([^\]]*)\])?\s*(?:=\s*(\S+)\s*)?", text, re.ASCII)
    if not match or not _PATH.fullmatch(match[1]):
        raise FxcostError(f"--input {text!r} is not of the form 'name: dtype[dims]', such as 'x: float32[B,3,H,W]'")
    name, dtype, dims, value = match.groups()
    if dims is None and (dtype, value is None) != (NUMBER, False):
        raise FxcostError(
            f"--input {name}: a tensor is given by its dtype and sizes, such as '{name}: {dtype if dtype in _OF_INPUTS else 'float32'}[B,16]'; "
            f"a number as '{name}: int = 4'"
        )
    if dtype not in _OF_INPUTS and dims is not None:
        raise FxcostError(
            f"--input {name}: unknown dtype {dtype!r}{near_matches(dtype, _OF_INPUTS)}; any of torch, such as float32, bfloat16, int64 or bool"
        )
    if value is not None and "int" not in dtype:
        raise FxcostError(f"--input {name}: a value is given to whole numbers alone, such as '{name}: int64[B] = T'")
    sizes = tuple(_dim(name, d.strip()) for d in (dims or "").split(",") if d.strip())
    return InputSpec(name, dtype, sizes, value=None if value is None else _value(name, value))


_PATH = re.compile(r"[A-Za-z_]\w*(?:\.\w+|\[\w+\])*", re.ASCII)


def _value(name: str, text: str) -> int | InputValue:
    if not text.strip("0"):
        return 0
    if number := _size(text, f"--input {name}"):
        return number
    match = re.fullmatch(r"(?:(\d+)\*)?([A-Za-z_]\w*)(?://(\d+))?(?:([+-])(\d+))?", text, re.ASCII)
    if not match:
        raise FxcostError(f"--input {name}: {text!r} is no value such as 4, S, S-1, 2*S or S//2+1")
    times, symbol, over, sign, plus = match.groups()
    factors = [1 if each is None else _size(each, f"--input {name}") for each in (times, over, plus or "1")]
    if None in factors:
        raise FxcostError(f"--input {name}: {text!r} multiplies, divides or adds 0; leave that out")
    return InputValue(symbol, factors[0] or 1, factors[1] or 1, int(f"{sign}{factors[2]}") if sign else 0)


def as_called(specs: Iterable[InputSpec]) -> dict[str, Any]:
    """What each name is called with: a tensor, or the dictionary or list whose parts are given by ``x[key]`` and ``x[0]``.

    Raises `FxcostError` for a name given twice, also as a whole and in parts, and for a list with a gap.
    """
    called: dict[str, Any] = {}
    for spec in specs:
        *path, last = re.findall(r"\w+", spec.name)
        place = called
        for part in path:
            place = place.setdefault(part, _Parts())
            if not isinstance(place, _Parts):
                raise FxcostError(f"--input {spec.name}: {part} is given as a tensor too")
        if last in place:
            raise FxcostError(f"--input {spec.name} is given twice{' or in parts' * isinstance(place[last], _Parts)}")
        place[last] = spec
    return {name: _settled(name, value) for name, value in called.items()}


class _Parts(dict[str, Any]):
    """The parts of a dictionary or list, while they are collected."""


def _settled(name: str, value: Any) -> Any:
    if not isinstance(value, _Parts):
        return value
    settled = {part: _settled(f"{name}[{part}]", each) for part, each in value.items()}
    if not any(part.isdecimal() for part in settled):
        return settled
    missing = sorted(set(map(str, range(len(settled)))) - settled.keys(), key=int)
    if missing:
        raise FxcostError(f"--input {name}: its parts are {', '.join(settled)}, but {name}[{missing[0]}] is missing")
    return [settled[str(place)] for place in range(len(settled))]


def _dim(name: str, text: str) -> int | str:
    if size := _size(text, f"--input {name}"):
        return size
    if NAME.match(text):
        return text
    raise FxcostError(f"--input {name}: {text!r} is neither a positive size nor a symbol's name")


def parse_symbolic(symbolic: str) -> dict[str, int]:
    """Read ``H%32,W,B`` as each symbol with the number it is a multiple of."""
    multiples: dict[str, int] = {}
    for part in filter(None, (p.strip() for p in symbolic.split(","))):
        name, _, text = part.partition("%")
        multiple = _size(text or "1", "--symbolic")
        if not NAME.match(name) or multiple is None:
            raise FxcostError(f"--symbolic {part!r} is not a symbol such as B, or a multiple such as H%32")
        if name in multiples:
            raise FxcostError(f"--symbolic names {name} twice")
        multiples[name] = multiple
    return multiples


def parse_sizes(text: str, option: str = "--at") -> dict[str, int]:
    """Read ``B=8,H=224`` as sizes, each a positive integer."""
    sizes: dict[str, int] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, _, value = (p.strip() for p in part.partition("="))
        size = _size(value, f"{option} {name}")
        if not NAME.match(name) or size is None:
            raise FxcostError(f"{option} {part!r} is not a size such as B=8 (a positive integer)")
        if name in sizes:
            raise FxcostError(f"{option} gives {name} twice, {sizes[name]} and {value}; give it one size")
        sizes[name] = size
    return sizes


def parse_sweep(text: str) -> tuple[str, tuple[int, ...]]:
    """Read ``B=1:1024:*2``, ``H=224:512:32`` or ``B=1,8,64`` as a symbol and its values, ends included."""
    name, _, values = (p.strip() for p in text.partition("="))
    listed = [v.strip() for v in values.split(",")]
    if len(listed) > MOST_VALUES:
        raise FxcostError(f"--over {name} lists {len(listed)} values; at most {MOST_VALUES} are tried")
    plain = [_size(v, f"--over {name}") for v in listed]
    match = re.fullmatch(r"(\d+):(\d+):(\*?)(\d+)", values, re.ASCII)
    if NAME.match(name) and all(plain):
        return name, tuple(dict.fromkeys(size for size in plain if size))
    if not NAME.match(name) or not match:
        raise FxcostError(f"--over {text[:60]!r} is not of the form B=1:1024:*2, H=224:512:32 or B=1,8,64")
    low, high, step = (_size(match[place], f"--over {name}") or 0 for place in (1, 2, 4))
    times = bool(match[3])
    if low < 1 or high < low or step < (2 if times else 1):
        raise FxcostError(f"--over {text!r} has no values: it wants 1 ≤ first ≤ last and a growing step")
    if not times and (high - low) // step >= MOST_VALUES:
        raise FxcostError(f"--over {text!r} has more than {MOST_VALUES} values; take a larger step, or one such as *2")
    return name, tuple(_progression(low, high, step, times))


def parse_grid(texts: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Read each ``--over`` of several: the values of each symbol. Raises `FxcostError` for a symbol given twice."""
    grid: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, values = parse_sweep(text)
        if name in grid:
            raise FxcostError(f"--over gives {name} twice; list its sizes once")
        grid[name] = values
    if (points := prod(map(len, grid.values()))) > MOST_VALUES:
        raise FxcostError(f"--over gives {points:,} points in all; at most {MOST_VALUES:,} are tried")
    return grid


MOST_VALUES = 10_000


def _progression(low: int, high: int, step: int, times: bool) -> Iterator[int]:
    while low <= high:
        yield low
        low = low * step if times else low + step


def describe(specs: Sequence[InputSpec]) -> str:
    """The inputs on one line; of a cache only the first tensor."""
    shown = [spec for spec in specs if not spec.state] + [spec for spec in specs if spec.state][:1]
    more = len(specs) - len(shown)
    return "; ".join([*map(str, shown), *([f"and {more} more like the last"] if more else [])]) or "no input"
