"""The machines: `fxcost platforms`."""

from pathlib import Path
from typing import Annotated

import typer

from fxcost.cli.terminal import form_of, print_findings, print_report
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

    if lint is not None:
        alone = name is None and form is None
        print_findings(lint, lambda path: findings_of(load_platform(path)), alone=alone)
    if name is not None:
        print_report(platform_report(load_platform(name)), form_of(form, None), None)
    else:
        print_report(platforms_report(map(load_platform, platform_names())), form_of(form, None), None)
