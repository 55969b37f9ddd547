"""The number formats: `fxcost precisions`."""

from pathlib import Path
from typing import Annotated

import typer

from fxcost.cli.terminal import form_of, print_findings, print_report
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

    if lint is not None:
        alone = name is None and form is None
        print_findings(lint, lambda path: findings_of(load_scheme(path)), alone=alone)
    if name is not None:
        print_report(precision_report(scheme_named(name)), form_of(form, None), None)
    else:
        print_report(precisions_report(map(load_scheme, scheme_names())), form_of(form, None), None)
