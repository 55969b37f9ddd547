"""What a model holds in memory, and what fits a machine: `fxcost fit`."""

from typing import TYPE_CHECKING, Annotated

import typer

from fxcost.cli.models import fusion_of, is_saved, platforms_of, point_of, traces_of
from fxcost.cli.terminal import form_of, print_report
from fxcost.errors import FxcostError
from fxcost.options import Asked, Format, FusionOption, Model, Output, Platforms, Precision, model_command

if TYPE_CHECKING:
    from fxcost.machines.sheets import Platform


@model_command
def fit(
    asked: Asked,
    model: Model,
    platform: Platforms,
    over: Annotated[str, typer.Option("--over", metavar="B", help="The symbol to solve for.")] = "B",
    precision: Precision = None,
    fusion: FusionOption = None,
    memory: Annotated[
        str,
        typer.Option(
            "--memory",
            metavar="90%",
            help="The share of a machine's memory that may be used. Default: all of it; serving engines such as vLLM take 90%.",
        ),
    ] = "100%",
    form: Format = None,
    output: Output = None,
) -> None:
    """What a call holds in memory as a formula, and the largest batch that fits each machine."""
    from fxcost.costs.graph.cost_graph import edges_known
    from fxcost.formats.composing import scheme_named
    from fxcost.memory.fitting import share_of
    from fxcost.memory.footprint import footprint
    from fxcost.reports.memory import fit_report
    from fxcost.reports.platforms import with_refused

    form = form_of(form, output)
    share = share_of(memory)
    scheme = None if precision is None else scheme_named(precision)
    platforms, refused = _machines(platform)
    traces = traces_of(model, asked, {over: ()})
    costs, point = traces.first, point_of(traces.first, asked.at)
    edges_known(costs.graph, model)
    if not is_saved(model):
        point.pop(over, None)  # a size to trace at, for a symbol that may have no usual one
    how = fusion_of(costs, fusion, model)
    kinds = dict.fromkeys(each.kind == "cpu" for each in platforms)
    footprints = {on_cpu: footprint(costs, scheme, how, on_cpu=on_cpu) for on_cpu in kinds}
    report = fit_report(footprints, platforms, over, point, share=share, precision=scheme.name if scheme else "")
    print_report(with_refused(report, refused), form, output)


def _machines(names: list[str]) -> "tuple[list[Platform], dict[str, str]]":
    """The machines that publish how much memory they have, and those that do not, with why. Raises `FxcostError` where none is left."""
    from fxcost.memory.fitting import usable_bytes

    platforms = platforms_of(names)
    found: list[Platform] = []
    refused: dict[str, str] = {}
    for platform in platforms:
        try:
            usable_bytes(platform)
        except FxcostError as error:
            if len(platforms) == 1:
                raise
            refused[platform.name] = str(error).removeprefix(f"{platform.name} ")
        else:
            found.append(platform)
    if not found:
        raise FxcostError("; ".join(f"{name} {why}" for name, why in refused.items()))
    return found, refused
