"""The command line: parse, call, print."""

import json
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fxcost.errors import FxcostError
from fxcost.options import (
    Asked,
    Attention,
    By,
    Form,
    Format,
    Model,
    Output,
    Platforms,
    Plot,
    Precision,
    Top,
    model_command,
)

if TYPE_CHECKING:
    from fxcost.costs import CostModel
    from fxcost.roofline import Machine
    from fxcost.tables import Report

# Every command imports what it needs itself: `fxcost --help` is to answer at once.

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="What each layer of a PyTorch model costs, as a formula, and from which batch size on a machine stops being "
    "limited by memory bandwidth. One multiply-add is 2 FLOPs. The model is left untouched, and no real data runs.",
)


@app.callback()
def _options(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    _debugging.set(debug)


_debugging: ContextVar[bool] = ContextVar("debugging", default=False)


@app.command()
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

    costs = _costs(model, asked)
    if depth is not None:
        by = By.module
    report = cost_report(costs, _point(costs, asked.at), by=by.value, depth=depth, top=top)
    if output is not None and output.suffix == ".json" and form is not Form.json:
        costs.save(output)
        _say(f"saved {output}: {len(costs.layers)} operations of {costs.ref}")
        return
    _print(report, form, output)


@app.command()
@model_command
def crossover(
    asked: Asked,
    model: Model,
    platform: Platforms,
    over: Annotated[str, typer.Option("--over", metavar="B", help="The symbol to solve for.")] = "B",
    precision: Precision = None,
    form: Format = Form.table,
    output: Output = None,
) -> None:
    """From which batch size (or resolution, or length) each layer is compute-bound: always, from a size on, or never."""
    from fxcost.reports.roofline import crossover_report

    costs = _costs(model, asked)
    machines = _machines(costs, platform, precision)
    wide = form in (Form.table, Form.md)
    _print(crossover_report(costs, machines, over, _point(costs, asked.at), wide=wide), form, output)


@app.command()
@model_command
def roofline(
    asked: Asked,
    model: Model,
    platform: Platforms,
    precision: Precision = None,
    plot: Plot = None,
    top: Top = None,
    form: Format = Form.table,
    output: Output = None,
) -> None:
    """Each layer on a machine at one point: intensity, bound, time."""
    from fxcost.reports.roofline import roofline_report
    from fxcost.roofline import layer_points

    costs = _costs(model, asked)
    machines = _machines(costs, platform, precision)
    point = _point(costs, asked.at)
    report = roofline_report(costs, machines, point, wide=form in (Form.table, Form.md), top=top)
    if plot is not None:
        from fxcost.plot import checked_path, plot_roofline

        plot_roofline(checked_path(plot), report.heading[0], [(m, layer_points(costs, m, point)) for m in machines])
        _say(f"drawn {plot}")
    _print(report, form, output)


@app.command()
@model_command
def sweep(
    asked: Asked,
    model: Model,
    platform: Platforms,
    over: Annotated[
        str,
        typer.Option(
            "--over", metavar="B=1:1024:*2", help="Symbol and sizes: first:last:*factor, first:last:step, or a list."
        ),
    ],
    precision: Precision = None,
    plot: Plot = None,
    form: Format = Form.table,
    output: Output = None,
) -> None:
    """Time and throughput along batch sizes (or another symbol), and which layers change side."""
    from fxcost.inputs import parse_sweep
    from fxcost.reports.roofline import sweep_report
    from fxcost.roofline import layer_points
    from fxcost.roofline import sweep as swept_over

    name, sizes = parse_sweep(over)
    costs = _costs(model, asked)
    machines = _machines(costs, platform, precision)
    point = _point(costs, asked.at)
    swept = [(machine, swept_over(costs, machine, name, sizes, point)) for machine in machines]
    report = sweep_report(costs, name, swept, point)
    if plot is not None:
        from fxcost.plot import checked_path, plot_sweep

        last = {**point, name: sizes[-1]}
        roofs = [(machine, layer_points(costs, machine, last)) for machine in machines]
        plot_sweep(checked_path(plot), report.heading[0], name, swept, roofs)
        _say(f"drawn {plot}")
    _print(report, form, output)


@app.command()
@model_command
def explain(
    asked: Asked,
    model: Model,
    layer: Annotated[str, typer.Argument(metavar="LAYER", help="A layer or module by its name in `fxcost trace`.")],
    form: Format = Form.table,
) -> None:
    """One layer in full: formula, substitution step by step, rule, assumptions, valid range."""
    from fxcost.reports.explain import explain_report

    costs = _costs(model, asked)
    _print(explain_report(costs, layer, _point(costs, asked.at)), form, None)


@app.command()
def platforms(
    name: Annotated[str | None, typer.Argument(help="One machine, with every figure and its source.")] = None,
    lint: Annotated[
        Path | None,
        typer.Option("--lint", metavar="FILE.toml", help="Check a machine of your own for slips; exit 4 if any."),
    ] = None,
    form: Format = Form.table,
) -> None:
    """The machines fxcost knows."""
    from fxcost.platform_lint import lint as findings_of
    from fxcost.platforms import load_platform, platform_names
    from fxcost.reports.platforms import platform_report, platforms_report

    if lint is not None:
        findings = findings_of(load_platform(str(lint)))
        print("\n".join(findings) if findings else f"{lint}: nothing found")
        raise typer.Exit(4 if findings else 0)
    if name is not None:
        _print(platform_report(load_platform(name)), form, None)
    else:
        _print(platforms_report(map(load_platform, platform_names())), form, None)


# From options to objects


def _costs(model: str, asked: Asked) -> "CostModel":
    """The costs of a model reference, traced now, or of a saved file."""
    if model.endswith(".json") and not model.startswith("hf:"):
        return _saved_costs(model, asked)
    from fxcost.inputs import parse_input, parse_sizes

    specs = [parse_input(text) for text in asked.inputs or ()]
    sizes = parse_sizes(asked.at or "")
    with _progress(f"building and tracing {model} (up to {asked.budget:g} s a trace)"):
        from fxcost.analysis import Request, trace_source
        from fxcost.plugins import load_plugins
        from fxcost.sources import load_source

        passes = load_plugins(asked.plugins or ())
        request = Request(
            asked.symbolic, sizes, asked.budget, asked.attention.value, asked.causal_skip, asked.strict, passes
        )
        return trace_source(load_source(model, _settings(asked.settings), specs), request, _say)


def _saved_costs(path: str, asked: Asked) -> "CostModel":
    """A saved model; what could only change its trace is refused, not passed over."""
    needs_model = {
        "--symbolic": asked.symbolic,
        "--input": asked.inputs,
        "--set": asked.settings,
        "--plugin": asked.plugins,
        "--attention": asked.attention is not Attention.fused,
        "--causal-skip": asked.causal_skip,
    }
    for option, given in needs_model.items():
        if given:
            raise FxcostError(f"{option} needs the model: {path} holds formulas that were traced already")
    from fxcost.costs import refuse_unknown
    from fxcost.saved import load

    costs = load(path)
    if asked.strict:
        refuse_unknown(costs)
    return costs


def _point(costs: "CostModel", at: str | None) -> dict[str, int]:
    """The sizes of ``--at``, each of a symbol that the model has or holds fixed."""
    from fxcost.inputs import parse_sizes

    sizes = parse_sizes(at or "")
    for name, size in sizes.items():
        if name not in costs.symbols and name not in costs.fixed:
            known = ", ".join([*costs.symbols, *costs.fixed]) or "none"
            raise FxcostError(f"--at {name}={size}: {costs.ref} has no symbol {name}; it has {known}")
    return sizes


def _machines(costs: "CostModel", names: list[str], precision: str | None) -> "list[Machine]":
    from fxcost.platforms import load_platform
    from fxcost.roofline import machine_for

    return [machine_for(costs, load_platform(name), precision) for name in names]


def _settings(texts: list[str] | None) -> dict[str, Any]:
    """Read ``width=64``: a value that is no number, true, false or null is a text."""
    settings: dict[str, Any] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise FxcostError(f"--set {text!r} is not of the form key=value")
        settings[name] = value
        with suppress(ValueError):
            settings[name] = json.loads(value.lower() if value in ("True", "False") else value)
    return settings


def _print(report: "Report", form: Form, output: Path | None) -> None:
    from fxcost.tables import render, show

    if output is None:
        show(report, form.value)
        return
    from fxcost.saved import write_aside

    write_aside(output, (render(report, form.value) + "\n").encode())
    _say(f"wrote {output}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def _progress(text: str) -> Generator[None]:
    if not sys.stderr.isatty():
        _say(f"{text} …")
        yield
        return
    from rich.console import Console

    with Console(file=sys.stderr).status(text):
        yield


def main() -> None:
    """Run the command line; an error the user can mend is told in one or two lines."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8")
    try:
        app()
    except FxcostError as error:
        _fail(error, str(error), error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:  # noqa: BLE001  # the last border: no traceback unless asked for
        _fail(
            error,
            f"internal error, {type(error).__name__}: {error}\nPlease report it with what `fxcost --debug …` shows",
            1,
        )


def _fail(error: Exception, text: str, code: int) -> None:
    if _debugging.get():
        raise error
    _say(f"fxcost: {text}")
    sys.exit(code)
