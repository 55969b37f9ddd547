"""Work done in a forked child process, which cannot touch its parent: what it found and said comes back as text."""

# pyright: reportUnknownMemberType=false
# torch is typed in part.

import ctypes
import gc
import json
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from typing import Any, NoReturn

import torch

from fxcost.errors import FxcostError
from fxcost.tracing.budget import announced

Say = Callable[[str], None]
Work = Callable[[Say], bytes]
"""Gives what it found, and says what the user is to be told."""

MARGIN_SECONDS = 30.0
"""How much longer than its budget a child may be silent: what a budget is not kept for is short."""
PULSE_SECONDS = 0.5
"""How often to look whether the child still lives: its end of the pipe may be open in another process."""
_FOUND, _SAID, _BEGAN, _FAILED = b"found", b"said.", b"began", b"fails"
_HEAD = 5
_DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG


class CannotFork(FxcostError):
    """A child cannot be forked here; the message says why, as part of a sentence."""


def in_child(work: Work, doing: str, budget: float, say: Say) -> bytes:
    """What ``work`` finds in a forked child, whose words are said here, in their order.

    A child that neither begins nor ends anything for longer than its budget, in seconds, is ended. What it raises is
    raised here: an `FxcostError` as itself, anything else as one. Raises `CannotFork` where no child can be had.
    """
    if why := _why_not():
        raise CannotFork(why)
    _libc()  # loaded before, as all that a child needs
    receiver, sender = Pipe(duplex=False)
    with receiver:
        # Signals wait: their handlers must not run in the child, nor here before the child is known.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        child: _Child | None = None
        try:
            with sender:
                child = _forked(work, sender, blocked)
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            return _followed(child, receiver, doing, budget, say)
        finally:
            if child is not None:
                child.end()
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _why_not() -> str:
    if sys.platform != "linux":  # elsewhere libraries of the system do not bear it
        return f"no process is safely forked on {sys.platform}"
    if torch.cuda.is_initialized():
        return "a process that uses CUDA is not safely forked"
    return ""


def _forked(work: Work, sender: Connection, blocked: set[Any]) -> "_Child":
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads, from Python 3.12 on
            number = os.fork()
    except OSError as error:
        raise CannotFork(f"the system forks no process ({error.strerror})") from error
    if number == 0:
        _be_child(work, sender, blocked)
    return _Child(number)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


# In the child


def _be_child(work: Work, sender: Connection, blocked: set[Any]) -> NoReturn:
    try:
        _settle(sender, blocked)
        try:
            last = _FOUND + work(lambda text: sender.send_bytes(_SAID + text.encode(errors="replace")))
        except BaseException as error:  # noqa: BLE001  # all that is raised is told
            last = _FAILED + json.dumps([_kinds(error), _told(error)]).encode()
        sender.send_bytes(last)
    finally:
        os._exit(0)


def _settle(sender: Connection, blocked: set[Any]) -> None:
    """Leave alone what is shared with the parent: threads that are gone, signals, terminal, debugger, garbage."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.get_num_threads = lambda: threads  # a model that asks is answered as in its own process
    gc.freeze()  # what the parent's garbage does when it is collected is the parent's business
    sys.settrace(None)
    sys.setprofile(None)
    signal.set_wakeup_fd(-1)
    for each in signal.valid_signals():
        if callable(signal.getsignal(each)):
            signal.signal(each, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted too, and ends its child
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    _libc().prctl(_DIES_WITH_PARENT, signal.SIGKILL)
    quiet = os.open(os.devnull, os.O_RDWR)
    for stream in {0, 1, 2} - {sender.fileno()}:
        os.dup2(quiet, stream)
    announced.set(lambda seconds: sender.send_bytes(_BEGAN + str(seconds).encode()))


def _kinds(error: BaseException) -> list[str]:
    return [_name(kind) for kind in type(error).__mro__]


def _told(error: BaseException) -> str:
    if isinstance(error, FxcostError):
        return str(error)
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {said[:200]}".removesuffix(": ")


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


# In the parent


class _Child:
    """A forked process, until it has ended and been waited for."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.status: int | None = None

    def has_ended(self, options: int = os.WNOHANG) -> bool:
        if self.status is None:
            try:
                number, status = os.waitpid(self.number, options)
            except ChildProcessError:  # somebody waits for all children of this process, or for none
                number, status = self.number, 0
            self.status = status if number else None
        return self.status is not None

    def end(self) -> None:
        if not self.has_ended():
            with suppress(ProcessLookupError):
                os.kill(self.number, signal.SIGKILL)
            self.has_ended(0)

    def __str__(self) -> str:
        """How it ended."""
        code = os.waitstatus_to_exitcode(self.status or 0)
        return f"by {signal.Signals(-code).name}" if code < 0 else "without a word"


def _followed(child: _Child, receiver: Connection, doing: str, budget: float, say: Say) -> bytes:
    """The child's answer, read as it comes. Raises what it raises."""
    for head, content in _messages(child, receiver, doing, budget):
        if head == _FOUND:
            return content
        if head == _SAID:
            say(content.decode())
        elif head == _FAILED:
            kinds, text = json.loads(content)
            raise _error(kinds, text, doing)
    child.end()
    raise FxcostError(
        f"{doing} in a child process, that process ended {child}\n"
        "With isolated=False the model runs in this one, and may end it too"
    )


def _messages(child: _Child, receiver: Connection, doing: str, budget: float) -> Iterator[tuple[bytes, bytes]]:
    """What the child sends, until it has ended. Raises `FxcostError` for one that is silent for too long."""
    allowed = budget
    deadline = time.monotonic() + allowed + MARGIN_SECONDS
    while True:
        left = deadline - time.monotonic()
        if receiver.poll(max(min(left, PULSE_SECONDS), 0)):
            try:
                message = receiver.recv_bytes()
            except EOFError:
                return
            head, content = message[:_HEAD], message[_HEAD:]
            allowed = float(content) if head == _BEGAN else budget
            deadline = time.monotonic() + allowed + MARGIN_SECONDS
            yield head, content
        elif left < 0:
            raise FxcostError(
                f"{doing} in a child process stood still for {allowed + MARGIN_SECONDS:g} s, and that process was ended\n"
                "It may wait for what a thread of this one holds: end such threads before, or trace with isolated=False"
            )
        elif child.has_ended() and not receiver.poll(0):
            return


def _error(kinds: list[str], text: str, doing: str) -> FxcostError:
    """The error that a child raised, as it was if it is one of fxcost's; of classes that only the child knows, the nearest."""
    known = {_name(kind): kind for kind in _with_subclasses(FxcostError)}
    kind = next((known[name] for name in kinds if name in known), None)
    if kind is None:
        return FxcostError(f"{doing} raised {text}\nTrace it with isolated=False to see where")
    error = kind.__new__(kind, text)
    error.args = (text,)
    return error


def _with_subclasses(kind: type[FxcostError]) -> Iterator[type[FxcostError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _with_subclasses(each)
