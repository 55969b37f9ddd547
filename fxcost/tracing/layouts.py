"""Questions of how a tensor lies in memory, answered for its sizes in general."""

from collections.abc import Iterable, Sequence

from fxcost.tracing.polynomials import Number, Polynomial, times


def is_packed(sizes: Sequence[Polynomial], strides: Sequence[Polynomial], order: Iterable[int]) -> bool:
    """Whether axes in this order, the fastest first, lie side by side without gaps."""
    if not sizes:
        return True
    table = sizes[0].sizes
    expected = table.number(1)
    for axis in order:
        size = sizes[axis]
        if size.constant == 1:
            continue
        if strides[axis] is not expected:
            return False
        expected = table.once("*", times, expected, size)
    return True


def is_ordered(sizes: Sequence[Polynomial], strides: Sequence[Polynomial], order: Sequence[int]) -> bool:
    """Whether strides grow in this order, as torch tells a channels-last layout."""
    if strides[1].hint == 0:
        return False
    reached: Number = 0
    for axis in order:
        if sizes[axis].hint == 0 or strides[axis].hint < reached or (axis == 0 and reached == strides[1].hint):
            return False
        reached = strides[axis].hint * max(sizes[axis].hint, 1)
    return True
