"""The number formats: `fxcost precisions`."""

from pathlib import Path
from typing import Annotated

import typer

from fxcost.cli.terminal import form_of, print_report
from fxcost.errors import UsageError, printable
from fxcost.options import Format, complete_precisions


def precisions(
    name: Annotated[
        str | None,
        typer.Argument(
            autocompletion=complete_precisions, help="One of them, or one composed, with its rules and sources."
        ),
    ] = None,
    lint: Annotated[
        Path | None,
        typer.Option("--lint", metavar="FILE.toml", help="Check one of your own for slips; exit 4 if any."),
    ] = None,
    form: Format = None,
) -> None:
    """The number formats that fxcost knows: what weights, activations and cache are stored in, and products compute in."""
    from fxcost.formats.composing import scheme_named
    from fxcost.formats.scheme_sheets import lint as findings_of
    from fxcost.formats.scheme_sheets import load_scheme, scheme_names
    from fxcost.reports.precisions import precision_report, precisions_report
    from fxcost.sheet_files import SheetError

    if lint is not None:
        if name is not None or form is not None:
            raise UsageError("--lint stands alone: it checks one file, and says its findings line by line")
        try:
            findings = findings_of(load_scheme(str(lint)))
        except SheetError as error:
            findings = error.slips
        print("\n".join(map(printable, findings)) if findings else f"{lint}: nothing found")
        raise typer.Exit(4 if findings else 0)
    if name is not None:
        print_report(precision_report(scheme_named(name)), form_of(form, None), None)
    else:
        print_report(precisions_report(map(load_scheme, scheme_names())), form_of(form, None), None)
