"""What a command says: reports on stdout, progress and warnings on stderr."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fxcost.options import Form

if TYPE_CHECKING:
    from fxcost.tables import Report

CHECK_FAILED = 4
"""The exit code of a check that failed, in `fxcost check` and `fxcost verify`."""


def print_report(report: "Report", form: Form, output: Path | None) -> None:
    """Print a report, or write it to a file and say so."""
    from fxcost.tables import render, show

    if output is None:
        show(report, form.value)
        return
    from fxcost.documents import write_aside

    write_aside(output, (render(report, form.value) + "\n").encode())
    say(f"wrote {output}")


def say(text: str) -> None:
    """A line on stderr."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def progress(text: str) -> Generator[None]:
    """Say what takes a while: with a spinner on a terminal, in a line elsewhere."""
    if not sys.stderr.isatty():
        say(f"{text} …")
        yield
        return
    from rich.console import Console

    with Console(file=sys.stderr).status(text):
        yield
