"""What a model costs: `fxcost trace` and `fxcost explain`."""

from pathlib import Path
from typing import Annotated

import typer

from fxcost.commands.models import costs_of, point_of
from fxcost.commands.terminal import print_report, say
from fxcost.options import Asked, By, Form, Format, Model, Top, model_command


@model_command
def trace(
    asked: Asked,
    model: Model,
    by: Annotated[By, typer.Option("--by", help="What a row stands for.")] = By.layer,
    depth: Annotated[
        int | None, typer.Option("--depth", metavar="N", min=0, help="Levels of the module tree (with --by module).")
    ] = None,
    top: Top = None,
    form: Format = Form.table,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Save the formulas (.json), or the report (other endings)."
        ),
    ] = None,
) -> None:
    """Cost of each layer as a formula: FLOPs, MACs, parameters, memory traffic."""
    from fxcost.reports.costs import cost_report

    costs = costs_of(model, asked)
    if depth is not None:
        by = By.module
    report = cost_report(costs, point_of(costs, asked.at), by=by.value, depth=depth, top=top)
    if output is not None and output.suffix == ".json" and form is not Form.json:
        costs.save(output)
        say(f"saved {output}: {len(costs.layers)} operations of {costs.ref}")
        return
    print_report(report, form, output)


@model_command
def explain(
    asked: Asked,
    model: Model,
    layer: Annotated[str, typer.Argument(metavar="LAYER", help="A layer or module by its name in `fxcost trace`.")],
    form: Format = Form.table,
) -> None:
    """One layer in full: formula, substitution step by step, rule, assumptions, valid range."""
    from fxcost.reports.explain import explain_report

    costs = costs_of(model, asked)
    print_report(explain_report(costs, layer, point_of(costs, asked.at)), form, None)
