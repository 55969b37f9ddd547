"""What a command says: reports on stdout, progress and warnings on stderr."""

import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from fxcost.errors import FxcostError, UsageError, printable
from fxcost.options import Form

if TYPE_CHECKING:
    from fxcost.reports.parts.tables import Report

CHECK_FAILED = 4
"""The exit code of a check that failed, in `fxcost check`, `fxcost verify` and ``--lint``."""


ENDINGS: dict[str, Form] = {".csv": "csv", ".html": "html", ".json": "json", ".md": "md", ".txt": "table"}
PICTURES = (".svg", ".png", ".pdf")


def form_of(form: Form | None, output: Path | None) -> Form:
    """The form of a report: as asked for, or as its file's name ends; a table where nothing says.

    Raises `FxcostError` where the two differ, where neither says, and where nothing can be written to the file: before
    anything is traced.
    """
    if output is None:
        return form or "table"
    from fxcost.files import checked_target

    checked_target(output)
    ending = output.suffix.lower()
    told = ENDINGS.get(ending)
    if ending in PICTURES:
        raise FxcostError(
            f"--output {output} is a picture's name, and a report is text: draw with --plot {output}, where a command has it"
        )
    if form is not None:
        if told not in (None, form, "table"):  # any text may be called .txt
            raise FxcostError(f"--output {output} ends as {told} does, and --format says {form}; leave one out")
        return form
    if told is None and (output.is_file() or not output.exists()):
        raise FxcostError(
            f"--output {output} does not say its form: let it end in {', '.join(ENDINGS)}, or give --format"
        )
    return told or "table"


def checked_plot(plot: Path | None) -> None:
    """Raise `FxcostError` where no picture can be written to a file of this name."""
    if plot is None:
        return
    from fxcost.files import checked_target

    if plot.suffix.lower() not in PICTURES:
        raise FxcostError(f"--plot {plot}: the name must end in {', '.join(PICTURES)}")
    checked_target(plot)


def print_report(report: "Report[Any]", form: Form, output: Path | None) -> None:
    """Print a report, or write it to a file and say so."""
    from fxcost.reports.parts.tables import render, show

    if output is None:
        show(report, form)
        return
    from fxcost.files import write_file

    write_file(output, (render(report, form) + "\n").encode())
    say(f"wrote {output}")


def print_findings(sheet: Path, findings_of: Callable[[str], Sequence[str]], *, alone: bool) -> NoReturn:
    """Print the slips of a data sheet, a line each, and exit: with `CHECK_FAILED` where there are any.

    Raises `UsageError` where ``--lint`` is not ``alone``.
    """
    from fxcost.sheet_files import SheetError

    if not alone:
        raise UsageError("--lint stands alone: it checks one file, and says its findings line by line")
    try:
        findings = findings_of(str(sheet))
    except SheetError as error:
        findings = error.slips
    print("\n".join(map(printable, findings)) if findings else f"{sheet}: nothing found")
    raise typer.Exit(CHECK_FAILED if findings else 0)


def say(text: str) -> None:
    """Lines on stderr."""
    print(*map(printable, text.split("\n")), sep="\n", file=sys.stderr, flush=True)


@contextmanager
def progress(text: str) -> Generator[None]:
    """Say what takes a while: with a spinner on a terminal, in a line elsewhere.

    What a model's code prints meanwhile goes to stderr: stdout is for the report.
    """
    with redirect_stdout(sys.stderr):
        if not sys.stderr.isatty():
            say(f"{text} …")
            yield
            return
        from rich.console import Console
        from rich.text import Text

        with Console(file=sys.stderr).status(Text(printable(text))):
            yield
