"""A time budget for long pure-Python work, which no cooperation from the work is needed to keep."""

import ctypes
import threading
from collections.abc import Generator
from contextlib import contextmanager


class BudgetExceeded(BaseException):
    """The work took longer than its budget; not an `Exception`, so that the work cannot swallow it by accident."""


RETRY_SECONDS = 0.5
"""How soon to interrupt again: an exception that lands in a destructor or callback is lost."""


@contextmanager
def time_budget(seconds: float) -> Generator[None]:
    """Raise `BudgetExceeded` in this thread once ``seconds`` have passed inside the block."""
    thread = ctypes.c_ulong(threading.get_ident())
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
    finished = threading.Event()
    lock = threading.Lock()

    def interrupt() -> None:
        wait = seconds
        while not finished.wait(wait):
            with lock:
                if not finished.is_set():
                    raise_in(thread, ctypes.py_object(BudgetExceeded))
            wait = RETRY_SECONDS

    threading.Thread(target=interrupt, daemon=True).start()
    try:
        yield
    finally:
        with lock:
            finished.set()
            raise_in(thread, None)
