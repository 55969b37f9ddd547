"""Numbers that count the arithmetic done with them, for definitions written out one scalar at a time.

What is done once for a whole row, channel or call is not counted by the rules: definitions do it on plain floats.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from typing import Any

import torch


class Number(float):
    """A float that counts the arithmetic done with it: one for each operation, comparison or elementary function."""

    done = 0
    macs = 0


def counting(function: Callable[..., float]) -> Callable[..., Number]:
    """The function, as one operation."""

    def counted(*numbers: float) -> Number:
        Number.done += 1
        return Number(function(*map(float, numbers)))

    return counted


for operation in ("add", "sub", "mul", "truediv", "neg", "abs"):
    for name in (f"__{operation}__", f"__r{operation}__"):
        if hasattr(float, name):
            setattr(Number, name, counting(getattr(float, name)))

FUNCTIONS: tuple[Any, ...] = (
    math.exp, math.log, math.log1p, math.sqrt, math.sin, math.cos, math.tanh, math.erf, math.floor, math.trunc, max, min,
    math.pow, math.atan2, math.fmod, round, math.log2,
)  # fmt: skip
exp, log, log1p, sqrt, sin, cos, tanh, erf, floor, trunc, larger, smaller, power, atan2, remainder, rounded, log2 = map(
    counting, FUNCTIONS
)
at_most, above, below = map(counting, (lambda a, b: a <= b, lambda a, b: a > b, lambda a, b: a < b))
equal = counting(lambda a, b: a == b)
picked = counting(lambda condition, value, other: value if condition else other)
is_nan = counting(math.isnan)


def work(formula: Callable[[], Any]) -> tuple[Any, int, int]:
    """What a definition gives, its multiply-adds of contractions, and its other operations."""
    Number.done = Number.macs = 0
    result = formula()
    return result, Number.macs, Number.done


def drawn(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Small whole numbers, so that sums are exact."""
    return torch.arange(math.prod(shape)).mul(5).remainder(7).sub(3).reshape(shape).to(dtype)


def mac(total: float, left: float, right: float) -> float:
    """One multiply-add of a contraction."""
    Number.macs += 1
    return float(total) + float(left) * float(right)


def numbers(tensor: torch.Tensor) -> list[Number]:
    """The elements, in order."""
    return [Number(x) for x in tensor.double().flatten().tolist()]


def rows(tensor: torch.Tensor, length: int | None = None) -> list[list[Number]]:
    """The elements, row by row along the last dimension, or in rows of the given length."""
    length = tensor.shape[-1] if length is None else length
    flat = numbers(tensor)
    return [flat[i : i + length] for i in range(0, len(flat), length)]


def total(values: Iterable[float]) -> Number:
    """A sum that starts from zero, so that each number takes one addition."""
    whole = Number(0)
    for value in values:
        whole = Number(whole + value)
    return whole


def greatest(values: Iterable[float]) -> Number:
    """The largest, by one comparison for each number."""
    top = Number(-math.inf)
    for value in values:
        top = larger(top, value)
    return top


def contracted(equation: str, *operands: torch.Tensor) -> torch.Tensor:
    """An einsum by loops: one multiply-add for each combination of all letters of two operands."""
    left, _, out = equation.partition("->")
    (first, second), (x, y) = left.split(","), operands
    sizes = {
        letter: n
        for term, t in zip((first, second), (x, y), strict=True)
        for letter, n in zip(term, t.shape, strict=True)
    }
    result = torch.zeros([sizes[letter] for letter in out], dtype=torch.float64)
    for at in product(*map(range, sizes.values())):
        place = dict(zip(sizes, at, strict=True))
        where = [tuple(place[letter] for letter in term) for term in (out, first, second)]
        result[where[0]] = mac(float(result[where[0]]), float(x[where[1]]), float(y[where[2]]))
    return result


def places(shape: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Every index of a shape."""
    return product(*map(range, shape))
