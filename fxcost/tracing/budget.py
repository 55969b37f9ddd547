"""A time budget for long pure-Python work, which no cooperation from the work is needed to keep."""

import ctypes
import signal
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from types import FrameType
from typing import TypeVar

T = TypeVar("T")


class BudgetExceeded(BaseException):
    """The work took longer than its budget; not an `Exception`, so that the work cannot swallow it by accident."""


RETRY_SECONDS = 0.5
"""How soon to interrupt again: an exception that lands in a destructor or callback is lost."""
SHORTEST = 1e-6
"""Seconds; a timer set to none never rings."""
announced: ContextVar[Callable[[float], None]] = ContextVar("announced", default=lambda _: None)
"""Is told the seconds of each budget as it begins, so that who waits for the work knows how long to."""


def within(seconds: float, work: Callable[[], T]) -> T:
    """What ``work`` gives; raises `BudgetExceeded` in this thread once it has run for ``seconds``."""
    announced.get()(seconds)
    keep = _by_alarm if _alarm_is_free() else _by_watcher
    return keep(max(seconds, SHORTEST), work)


def _inside(work: Callable[[], T]) -> T:
    """Runs the work: nothing is interrupted but what this calls."""
    return work()


def _may_be_interrupted(frame: FrameType | None) -> bool:
    """Whether the work runs here, and is not just entering or leaving a ``with``, which would be left undone."""
    while frame is not None and frame.f_code is not _inside.__code__:
        if frame.f_code.co_name in ("__enter__", "__exit__"):
            return False
        frame = frame.f_back
    return frame is not None


def _alarm_is_free() -> bool:
    """Whether this thread gets signals, and the alarm is nobody else's, such as a test's own time limit."""
    return (
        threading.current_thread() is threading.main_thread()
        and hasattr(signal, "setitimer")
        and signal.getsignal(signal.SIGALRM) is not None  # None: not of Python, which could not put it back
        and signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    )


def _by_alarm(seconds: float, work: Callable[[], T]) -> T:
    def interrupt(_: int, frame: FrameType | None) -> None:
        if _may_be_interrupted(frame):
            raise BudgetExceeded
        if retrying:
            signal.setitimer(signal.ITIMER_REAL, RETRY_SECONDS / 50, RETRY_SECONDS)

    retrying = True
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds, RETRY_SECONDS)
        return _inside(work)
    finally:
        retrying = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _by_watcher(seconds: float, work: Callable[[], T]) -> T:
    thread = threading.get_ident()
    finished, lock = threading.Event(), threading.Lock()
    sent = False

    def send() -> None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(BudgetExceeded))

    def watch() -> None:
        nonlocal sent
        wait = seconds
        while not finished.wait(wait):
            with lock:
                if not finished.is_set() and _may_be_interrupted(sys._current_frames().get(thread)):  # pyright: ignore[reportPrivateUsage]  # documented, for debuggers
                    sent = True
                    send()
            wait = RETRY_SECONDS

    threading.Thread(target=watch, daemon=True).start()
    try:
        return _inside(work)
    finally:
        try:
            with lock:
                finished.set()
            if sent:
                # One may still be on its way, and must arrive here. Taking it back instead, by sending none, leaves
                # Python 3.11 looking for it at every step, which never ends where a debugger traces.
                send()
                while True:
                    pass
        except BudgetExceeded:
            finished.set()
