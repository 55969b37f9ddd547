"""A time budget is kept whatever the work does, and what it raises stays inside."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from fxcost.tracing import budget
from fxcost.tracing.budget import BudgetExceeded, within

LONG = 1000.0
"""Seconds that no test takes."""


def ring() -> None:
    """The alarm, whenever the clock would."""
    signal.raise_signal(signal.SIGALRM)


def test_work_within_its_budget_gives_what_it_gives() -> None:
    assert within(LONG, lambda: 3) == 3
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL


def test_past_it_the_work_is_interrupted_again_and_again() -> None:
    """An exception that work swallows, or that lands in a destructor, is not the last."""
    rung = 0

    def swallows() -> None:
        nonlocal rung
        for _ in range(3):
            try:
                ring()
            except BudgetExceeded:
                rung += 1
        ring()

    with pytest.raises(BudgetExceeded):
        within(LONG, swallows)
    assert rung == 3


class Entered:
    """Rings on its way in and out."""

    def __init__(self, went: list[str]) -> None:
        self.went = went

    def __enter__(self) -> None:
        ring()
        self.went.append("in")

    def __exit__(self, *_: object) -> None:
        ring()
        self.went.append("out")


def test_what_a_with_has_begun_it_ends() -> None:
    """Else patches of torch would be left half undone."""
    went: list[str] = []

    def work() -> None:
        with Entered(went):
            went.append("between")
        assert signal.getitimer(signal.ITIMER_REAL)[0] <= budget.RETRY_SECONDS  # soon again, not after all of LONG
        ring()

    with pytest.raises(BudgetExceeded):
        within(LONG, work)
    assert went == ["in", "between", "out"]


def test_an_alarm_that_rings_too_late_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the work's end and the timer's."""
    real = signal.setitimer

    def late(*given: Any) -> Any:
        if given[1] == 0:
            ring()
        return real(*given)

    monkeypatch.setattr(signal, "setitimer", late)
    assert within(LONG, lambda: 3) == 3


def test_an_alarm_that_is_somebody_elses_is_left_alone() -> None:
    """A test's own time limit; the budget is then kept by a thread."""
    heard: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: heard.append(number))
    signal.setitimer(signal.ITIMER_REAL, LONG)
    try:
        with pytest.raises(BudgetExceeded):
            within(0, endless)
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
        ring()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert heard == [signal.SIGALRM]


def endless() -> None:
    while True:
        sum(range(100))


def elsewhere(work: Callable[[], Any]) -> Any:
    """In a thread, which signals do not reach."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:  # noqa: BLE001  # is looked at
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize("where", [lambda work: work(), elsewhere], ids=["main thread", "another"])
def test_nothing_escapes_from_budgets_that_end_with_the_work(where: Callable[[Callable[[], Any]], Any]) -> None:
    """At each of many moments near the end; whether one is late or not, its exception is met inside."""

    def many() -> int:
        ended = 0
        for size in range(600):
            try:
                ended += within(size % 20 * 2e-5, lambda size=size: sum(i * i for i in range(size * 10)) >= 0)
            except BudgetExceeded:
                ended += 1
            _ = [each for each in range(300)]  # noqa: C416  # where one that escaped would land
        return ended

    assert where(many) == 600


TRACED_AFTER = """
import sys, threading
from fxcost.tracing.budget import BudgetExceeded, within

def endless():
    while True:
        sum(range(100))

def after():
    return sum(number for number in range(3))

def work():
    for seconds, given in ((1000, after), (0, endless)):
        try:
            within(seconds, given)
        except BudgetExceeded:
            pass
        sys.settrace(lambda *_: None)
        assert after() == 3
        sys.settrace(None)
    print("through")

work()
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def test_python_is_traced_after_a_budget() -> None:
    """What `PyThreadState_SetAsyncExc` leaves behind when it takes an exception back makes Python 3.11 stand still."""
    done = subprocess.run([sys.executable, "-c", TRACED_AFTER], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "through\n" * 2


def test_who_waits_is_told_how_long_to() -> None:
    told: list[float] = []
    before = budget.announced.set(told.append)
    try:
        within(LONG, lambda: None)
    finally:
        budget.announced.reset(before)
    assert told == [LONG]
