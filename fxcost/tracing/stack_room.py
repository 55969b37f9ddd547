"""Room for Python's frames, so that deep calls of models need no memory from the system."""

from collections.abc import Callable
from types import FunctionType
from typing import TypeVar

T = TypeVar("T")

WORDS = 70_000
"""Of a frame for which CPython takes 1 MiB at once, and keeps what is left of it for the calls within."""


def _call(work: Callable[[], T]) -> T:
    return work()


_in_a_large_frame = FunctionType(_call.__code__.replace(co_stacksize=WORDS), globals())


def with_room(work: Callable[[], T]) -> T:
    """Do the work, its frames in one piece of memory.

    CPython keeps frames in pieces of 16 KiB, and gives each back to the system as soon as calls return from it
    (``push_chunk`` and ``_PyThreadState_PopFrame`` in its Python/pystate.c): where a loop's calls happen to reach over
    the end of one, each of them waits for new memory, and a trace takes up to 1.4 times as long.
    """
    return _in_a_large_frame(work)
