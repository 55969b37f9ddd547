"""Sequences in which stretches repeat: each kind of row written once, and each stretch with how often it comes."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import TypeVar

from pydantic import Field

from fxcost.costs.files.versioned_json import Record
from fxcost.errors import FxcostError

K = TypeVar("K", bound=Hashable)

LONGEST_BLOCK = 2_048
LONGEST_SEQUENCE = 250_000
"""Rows that a file may stand for: more than any model has, and few enough to read."""
MOST_CELLS = 4_000_000
"""What those rows may hold in all."""


class Block(Record):
    """Rows that come several times, one after the other."""

    rows: list[int] = Field(min_length=1)
    times: int = Field(ge=1)


Order = list[int | Block]


def kinds_of(rows: Iterable[K]) -> tuple[list[K], list[int]]:
    """The different rows in the order in which they first come, and which of them each row is."""
    places: dict[K, int] = {}
    order = [places.setdefault(row, len(places)) for row in rows]
    return list(places), order


def folded(order: Sequence[int]) -> Order:
    """The sequence with what repeats at once told as a block."""
    found: Order = []
    start = 0
    while start < len(order):
        length, times = _repeat(order, start)
        if length * times > 2 + length:
            found.append(Block(rows=list(order[start : start + length]), times=times))
            start += length * times
        else:
            found.append(order[start])
            start += 1
    return found


def _repeat(order: Sequence[int], start: int) -> tuple[int, int]:
    """The length of the shortest stretch that comes again at once, and how often it comes in all."""
    for length in range(1, min(LONGEST_BLOCK, (len(order) - start) // 2) + 1):
        if order[start + length] != order[start]:
            continue
        stretch, times = order[start : start + length], 1
        while order[start + times * length : start + (times + 1) * length] == stretch:
            times += 1
        if times > 1:
            return length, times
    return 1, 1


def unfolded(order: Order, widths: Sequence[int], place: str) -> Iterator[int]:
    """The sequence, row by row, of kinds that hold so many values each.

    Raises `FxcostError` naming the place for a row of no kind, and for a sequence without end.
    """
    rows_left, cells_left = LONGEST_SEQUENCE, MOST_CELLS
    for each in order:
        rows, times = (each.rows, each.times) if isinstance(each, Block) else ([each], 1)
        if strange := [row for row in rows if not 0 <= row < len(widths)]:
            raise FxcostError(f"{place}: there is no row {strange[0]}; {len(widths)} are written")
        rows_left -= len(rows) * times
        cells_left -= sum(widths[row] for row in rows) * times
        if rows_left < 0 or cells_left < 0:
            raise FxcostError(
                f"{place} has more than {LONGEST_SEQUENCE:,} rows, or {MOST_CELLS:,} values in them, which no model has"
            )
        for _ in range(times):
            yield from rows
