"""What a model costs: `fxcost trace` and `fxcost explain`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from fxcost.cli.models import costs_of, is_saved, point_of, traces_of
from fxcost.cli.terminal import form_of, print_report, say
from fxcost.errors import FxcostError, printable
from fxcost.options import Asked, By, Format, Model, Precision, Top, model_command


@model_command
def trace(
    asked: Asked,
    model: Model,
    by: Annotated[By, typer.Option("--by", case_sensitive=False, help="What a row stands for.")] = "layer",
    depth: Annotated[
        int | None, typer.Option("--depth", metavar="N", min=0, help="Levels of the module tree (with --by module).")
    ] = None,
    top: Top = None,
    precision: Precision = None,
    form: Format = None,
    graph: Annotated[
        bool,
        typer.Option(
            "--graph",
            help="Show the graph instead: operations with their tensors, and what each pass found; of a saved file what it holds.",
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Save the formulas (.json), or the report (.csv, .html, .md, .txt, and .json with --format json).",
        ),
    ] = None,
) -> None:
    """Cost of each layer as a formula: FLOPs, MACs, parameters, memory traffic."""
    from fxcost.costs.files.saved import save
    from fxcost.formats.composing import scheme_named
    from fxcost.reports.costs import cost_report

    if graph:
        others = {
            "--by": by != "layer",
            "--depth": depth is not None,
            "--top": top is not None,
            "--precision": precision is not None,
            "--format": form is not None,
            "--output": output is not None,
        }
        _print_graph(model, asked, [option for option, is_given in others.items() if is_given])
        return
    shown = form_of(form, output)
    saves = output is not None and form is None and shown == "json"
    stored = None if precision is None else scheme_named(precision)
    if saves and (by != "layer" or (depth, top, stored) != (None, None, None)):
        raise FxcostError(
            f"--by, --depth, --top and --precision say what a report shows, and {output} is to hold all formulas; "
            "add --format json for the report, or leave them out"
        )
    costs = costs_of(model, asked)
    point = point_of(costs, asked.at)
    if depth is not None:
        by = "module"
    report = cost_report(costs, point, by=by, depth=depth, top=top, precision=stored)
    if saves and output is not None:
        usual = {name: size for name, size in point.items() if name in costs.symbols}
        save(replace(costs, defaults={**costs.defaults, **usual}), output)
        say(f"saved {output}: {len(costs.layers)} operations of {costs.ref}")
        return
    print_report(report, shown, output)


def _print_graph(model: str, asked: Asked, others: list[str]) -> None:
    """Print the graph of a model, of a saved file its cost graph. Raises `FxcostError` for options of a report."""
    if others:
        raise FxcostError(f"--graph prints the graph and no report; leave {', '.join(others)} out")
    texts: list[str] = []
    if is_saved(model):
        from fxcost.reports.cost_graph import cost_graph_text

        texts.append(cost_graph_text(costs_of(model, asked), model))
    else:
        from fxcost.reports.graph import graph_text

        traces_of(model, asked, look=lambda graph, annotations: texts.append(graph_text(graph, annotations)))
    print(*map(printable, texts[-1].split("\n")), sep="\n")


@model_command
def explain(
    asked: Asked,
    model: Model,
    layer: Annotated[str, typer.Argument(metavar="LAYER", help="A layer or module by its name in `fxcost trace`.")],
    form: Format = None,
) -> None:
    """One layer in full: formula, substitution step by step, rule, assumptions, valid range."""
    from fxcost.reports.explain import explain_report

    costs = costs_of(model, asked)
    print_report(explain_report(costs, layer, point_of(costs, asked.at)), form_of(form, None), None)
