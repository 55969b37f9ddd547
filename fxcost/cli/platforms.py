"""The machines: `fxcost platforms`."""

from pathlib import Path
from typing import Annotated

import typer

from fxcost.cli.terminal import form_of, print_report
from fxcost.errors import UsageError, printable
from fxcost.options import Format, complete_platforms


def platforms(
    name: Annotated[
        str | None,
        typer.Argument(autocompletion=complete_platforms, help="One machine, with every figure and its source."),
    ] = None,
    lint: Annotated[
        Path | None,
        typer.Option("--lint", metavar="FILE.toml", help="Check a machine of your own for slips; exit 4 if any."),
    ] = None,
    form: Format = None,
) -> None:
    """The machines fxcost knows."""
    from fxcost.machines.lint import lint as findings_of
    from fxcost.machines.sheets import load_platform, platform_names
    from fxcost.reports.platforms import platform_report, platforms_report
    from fxcost.sheet_files import SheetError

    if lint is not None:
        if name is not None or form is not None:
            raise UsageError("--lint stands alone: it checks one file, and says its findings line by line")
        try:
            findings = findings_of(load_platform(str(lint)))
        except SheetError as error:
            findings = error.slips
        print("\n".join(map(printable, findings)) if findings else f"{lint}: nothing found")
        raise typer.Exit(4 if findings else 0)
    if name is not None:
        print_report(platform_report(load_platform(name)), form_of(form, None), None)
    else:
        print_report(platforms_report(map(load_platform, platform_names())), form_of(form, None), None)
