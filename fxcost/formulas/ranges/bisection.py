"""Where what stays true once it is becomes true."""

from collections.abc import Callable


def first_where(holds: Callable[[int], bool], low: int, high: int | None = None) -> int | None:
    """The first number from ``low`` to ``high`` at which ``holds``, which once true stays true; None where it is at none.

    Without an end it has to become true somewhere. Numbers far beyond the one found are not tried.
    """
    if holds(low):
        return low
    before, step = low, 1
    while True:
        after = before + step if high is None else min(before + step, high)
        if after <= before:
            return None
        if holds(after):
            break
        before, step = after, 2 * step
    while after - before > 1:
        middle = (before + after) // 2
        before, after = (before, middle) if holds(middle) else (middle, after)
    return after
