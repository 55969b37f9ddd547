"""Tensors seen in another shape: what is a view, and how it lies, for sizes in general.

Torch's own functions for carried sizes walk from dimension to dimension and ask about each, which leaves conditions that
no kernel has, and loses itself where one is 1 in the example alone. Of what lies side by side only the number of elements
must be the same.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownParameterType=false
# pyright: reportUnknownVariableType=false, reportPrivateUsage=false
# Shapes hold plain and carried sizes alike.

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
import torch._refs

from fxcost.tracing.sizes.naming import hint_of
from fxcost.tracing.sizes.polynomials import Polynomial, Polynomials, plus, symbols_of, times

aten = torch.ops.aten
SizesOfView = Sequence[Any]


def viewed(input: torch.Tensor, shape: SizesOfView) -> torch.Tensor:
    """A view of this shape. Raises `RuntimeError` where there is none."""
    whole = _filled(input.shape, shape)
    strides = _strides(input, whole)
    if strides is None:
        raise RuntimeError(f"a tensor of {list(input.shape)} that does not lie in order has no view of {list(whole)}")
    return torch.as_strided(input, whole, strides, input.storage_offset())


def reshaped(input: torch.Tensor, shape: SizesOfView) -> torch.Tensor:
    """A view of this shape, else a copy."""
    whole = _filled(input.shape, shape)
    strides = _strides(input, whole)
    if strides is None:
        return input.new_empty(whole)
    return torch.as_strided(input, whole, strides, input.storage_offset())


def flattened(input: torch.Tensor, first: int = 0, last: int = -1) -> torch.Tensor:
    """All dimensions from one to another as one."""
    if input.dim() == 0:
        return reshaped(input, (1,))
    start, end = first % input.dim(), last % input.dim()
    if start == end:
        return input
    shape = (*input.shape[:start], math.prod(input.shape[start : end + 1]), *input.shape[end + 1 :])
    return reshaped(input, shape)


def unflattened(input: torch.Tensor, dim: int, sizes: SizesOfView) -> torch.Tensor:
    """One dimension as several."""
    dim %= input.dim()
    shape = (*input.shape[:dim], *_filled(input.shape[dim : dim + 1], sizes), *input.shape[dim + 1 :])
    return viewed(input, shape)


def _filled(sizes: SizesOfView, shape: SizesOfView) -> SizesOfView:
    """The shape with the size that was left open. Raises `RuntimeError` where it is not of so many elements."""
    elements, named = math.prod(sizes), math.prod(size for size in shape if not _is_open(size))
    opened = [place for place, size in enumerate(shape) if _is_open(size)]
    if not opened and _as_many(sizes, shape):
        return shape
    if len(opened) != 1 or hint_of(named) == 0 or elements % named != 0:
        raise RuntimeError(f"shape {list(shape)} is invalid for input of size {elements}")
    return [*shape[: opened[0]], elements // named, *shape[opened[0] + 1 :]]


def _as_many(sizes: SizesOfView, shape: SizesOfView) -> bool:
    """Whether both are of as many elements: asked of each part by itself where both part alike, which says it plainer."""
    mine, theirs = math.prod(sizes), math.prod(shape)
    parts = list(_parts(sizes, shape))
    if not _alike(mine, theirs) and all(_names(one) == _names(other) for one, other in parts):
        return all(one == other for one, other in parts)
    return bool(mine == theirs)


def _parts(sizes: SizesOfView, shape: SizesOfView) -> Iterator[tuple[Any, Any]]:
    """The products of the fewest sizes from the left that are as many elements in the example."""
    mine, theirs = list(sizes), list(shape)
    while mine or theirs:
        one, other = (mine.pop(0) if mine else 1), (theirs.pop(0) if theirs else 1)
        while hint_of(one) != hint_of(other) and (mine or theirs):
            if mine and (hint_of(one) < hint_of(other) or not theirs):
                one = one * mine.pop(0)
            else:
                other = other * theirs.pop(0)
        yield one, other


def _names(size: Any) -> set[str]:
    return symbols_of(size.node) if isinstance(size, torch.SymInt) else set()


def _is_open(size: Any) -> bool:
    return isinstance(size, int) and size == -1


def _strides(input: torch.Tensor, shape: SizesOfView) -> list[Any] | None:
    """The strides of a view of this shape, as many elements as the input has; None where only a copy has it.

    As kernels find them: dimensions that lie side by side are one, and each such is cut into some of the new ones.
    """
    if _lies_in_order(input):
        return [math.prod(shape[place + 1 :]) for place in range(len(shape))]
    sizes, steps = input.shape, input.stride()
    strides: list[Any] = [0] * len(shape)
    left, together, step = len(shape) - 1, 1, steps[-1]
    for place in reversed(range(len(sizes))):
        together = together * sizes[place]
        if place and (_is_one(sizes[place - 1]) or _alike(steps[place - 1], together * step)):
            continue
        covered = 1
        while left >= 0 and (hint_of(covered) < hint_of(together) or hint_of(shape[left]) == 1):
            strides[left] = covered * step
            covered = covered * shape[left]
            left -= 1
        if hint_of(covered) != hint_of(together) or covered != together:
            return None
        if place:
            together, step = 1, steps[place - 1]
    return strides if left < 0 else None


def _lies_in_order(input: torch.Tensor) -> bool:
    expected: Any = 1
    for size, step in zip(reversed(input.shape), reversed(input.stride()), strict=True):
        if not _is_one(size):
            if not _alike(step, expected):
                return False
            expected = expected * size
    return True


def _is_one(size: Any) -> bool:
    return isinstance(size, int) and size == 1


def _alike(one: Any, other: Any) -> bool:
    """Whether two strides are one at all sizes that the run's answers leave, and at which there are elements at all."""
    same: Any = _of_elements(one) == _of_elements(other)
    return same if isinstance(same, bool) else same.node.statically_known_true()


def _of_elements(stride: Any) -> Any:
    """The stride, a product of sizes, without the 1 that torch takes in the place of a size of 0."""
    if not isinstance(stride, torch.SymInt):
        return stride
    return torch.SymInt(stride.node.sizes.once("of elements", _least_left_out, stride.node))


def _least_left_out(size: Polynomial) -> Polynomial:
    sizes = size.sizes
    total = sizes.number(0)
    for atoms, coefficient in size.terms:
        product = sizes.number(coefficient)
        for atom in atoms:
            product = times(product, _size_itself(sizes, atom))
        total = plus(total, product)
    return total


def _size_itself(sizes: Polynomials, atom: int) -> Polynomial:
    found = sizes.atoms[atom]
    others = [each for each in found.arguments if each.constant != 1]
    return others[0] if found.kind == "greatest" and len(others) == 1 else sizes.alone(atom)


def for_sizes(plain: Any, carried: Callable[..., Any]) -> Callable[..., Any]:
    """The operator itself for plain sizes, for which its kernel is faster."""

    def run(input: torch.Tensor, *args: Any) -> Any:
        sizes = (*input.shape, *(each for value in args if isinstance(value, (list, tuple)) for each in value))
        return carried(input, *args) if any(isinstance(size, torch.SymInt) for size in sizes) else plain(input, *args)

    return run


@contextmanager
def views_within() -> Generator[None]:
    """Views that torch's own functions make on their way, as an einsum does, are found here too."""

    def view(input: torch.Tensor, *shape: Any, allow_copy: bool) -> torch.Tensor:
        sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], (list, tuple)) else shape
        if any(isinstance(size, torch.SymInt) for size in (*input.shape, *sizes)):
            return (reshaped if allow_copy else viewed)(input, sizes)
        return plain(input, *shape, allow_copy=allow_copy)

    references: Any = torch._refs
    plain = references._reshape_view_helper
    with mock.patch.object(references, "_reshape_view_helper", view):
        yield


VIEWS = {
    operator: for_sizes(operator, shape)
    for operator, shape in {
        aten.view.default: viewed,
        aten._unsafe_view.default: viewed,
        aten.reshape.default: reshaped,
        aten.flatten.using_ints: flattened,
        aten.unflatten.int: unflattened,
    }.items()
}
