"""Our totals checked against other counters: `fxcost verify`."""

from typing import TYPE_CHECKING, Annotated

import typer

from fxcost.cli.models import costs_of, is_saved, point_of, settings_of
from fxcost.cli.terminal import CHECK_FAILED, form_of, print_report, say
from fxcost.errors import FxcostError
from fxcost.options import Asked, Format, Model, Output, model_command

if TYPE_CHECKING:
    from fxcost.tracing.source import Source
    from fxcost.verify.counters import Device


@model_command
def verify(
    asked: Asked,
    model: Model,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the sizes that are drawn.")] = 0,
    form: Format = None,
    output: Output = None,
) -> None:
    """Run FlopCounterMode and the installed counters at several sizes, and explain each gap to ours.

    Exits 4 when FlopCounterMode disagrees, and 1 when it cannot run.
    """
    form = form_of(form, output)
    if is_saved(model):
        raise FxcostError(f"{model} holds formulas, and other counters run the model; name the model itself")
    if asked.mode != "forward":
        raise FxcostError("other counters run whole passes, not steps with a cache of ours; leave --mode out")
    if asked.causal_skip or asked.leaves:
        raise FxcostError(
            "other counters count masked pairs, and look into submodules; leave --causal-skip and --leaf out"
        )
    costs = costs_of(model, asked)
    from fxcost.inputs import parse_input
    from fxcost.models.building import built_on
    from fxcost.models.references import load_source
    from fxcost.reports.verify import verify_report
    from fxcost.verify.comparison import compare_counters

    def build(device: "Device") -> "Source":
        with built_on(device):
            return load_source(model, settings_of(asked.settings), [parse_input(text) for text in asked.inputs or ()])

    comparison = compare_counters(costs, build, point_of(costs, asked.at), seed, say)
    print_report(verify_report(comparison), form, output)
    if comparison.torchs.failure:
        raise FxcostError(f"FlopCounterMode did not run, so nothing is verified: {comparison.torchs.failure}")
    if any(comparison.torchs.unexplained):
        missing = "operators without a rule are missing from ours" if costs.unknown else "please report it"
        say(f"fxcost: FlopCounterMode disagrees: {missing}")
        raise typer.Exit(CHECK_FAILED)
