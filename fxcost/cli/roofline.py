"""Where a model stands on a machine: `fxcost crossover`, `fxcost roofline` and `fxcost sweep`."""

from typing import Annotated

import typer

from fxcost.cli.models import costs_of, fusion_of, is_saved, machines_of, point_of, traces_of
from fxcost.cli.terminal import checked_plot, form_of, print_report, say
from fxcost.options import (
    Asked,
    CacheOption,
    Format,
    FusionOption,
    Model,
    Output,
    Platforms,
    Plot,
    Precisions,
    Top,
    model_command,
)


@model_command
def crossover(
    asked: Asked,
    model: Model,
    platform: Platforms,
    over: Annotated[
        str,
        typer.Option(
            "--over",
            metavar="B",
            help="The symbol to solve for; or sizes of it to try, H=224:512:32, where the model is traced again as needed.",
        ),
    ] = "B",
    precision: Precisions = None,
    fusion: FusionOption = None,
    form: Format = None,
    output: Output = None,
) -> None:
    """From which batch size (or resolution, or length) each layer is compute-bound: always, from a size on, or never."""
    from fxcost.costs.fusion.models import fused, fused_along
    from fxcost.inputs import parse_sweep
    from fxcost.reports.crossovers import crossover_report
    from fxcost.reports.platforms import with_refused
    from fxcost.roofline.crossover import containing, crossovers
    from fxcost.roofline.sweep import crossovers_tried

    form = form_of(form, output)
    name, sizes = parse_sweep(over) if "=" in over else (over, ())
    traces = traces_of(model, asked, {name: sizes})
    costs, point = traces.first, point_of(traces.first, asked.at)
    machines, refused = machines_of(costs, platform, precision)
    along = traces.along(name, sizes, point, say) if sizes else {}
    if not sizes and not is_saved(model):
        point.pop(name, None)  # a size to trace at, for a symbol that may have no usual one
    how = fusion_of(costs, fusion, model)
    shown, along = fused(costs, how), fused_along(along, how)
    solved = [
        (each, crossovers_tried(along, each, name, point) if sizes else crossovers(shown, each, name, point))
        for each in machines
    ]
    beside = None
    if how == "pointwise" and not sizes:
        epilogues = fused(costs, "epilogue")
        beside = [containing(found, crossovers(epilogues, each, name, point)) for each, found in solved]
    wide = form in ("table", "md")
    report = crossover_report(shown, solved, name, point, wide=wide, tried=along, beside=beside)
    print_report(with_refused(report, refused), form, output)


@model_command
def roofline(
    asked: Asked,
    model: Model,
    platform: Platforms,
    precision: Precisions = None,
    fusion: FusionOption = None,
    cache: CacheOption = "ignore",
    plot: Plot = None,
    top: Top = None,
    form: Format = None,
    output: Output = None,
) -> None:
    """Each layer on a machine at one point: intensity, bound, time."""
    from fxcost.costs.fusion.models import fused
    from fxcost.reports.platforms import with_refused
    from fxcost.reports.roofline import roofline_report
    from fxcost.roofline.points import layer_points

    form = form_of(form, output)
    checked_plot(plot)
    costs = costs_of(model, asked)
    machines, refused = machines_of(costs, platform, precision)
    point = point_of(costs, asked.at)
    how = fusion_of(costs, fusion, model)
    report = roofline_report(costs, machines, point, wide=form in ("table", "md"), top=top, fusion=how, cache=cache)
    if plot is not None:
        from fxcost.reports.parts.plot import plot_roofline

        plot_roofline(
            plot, report.heading[0], [(m, layer_points(fused(costs, how), m, point, cache)) for m in machines]
        )
        say(f"drawn {plot}")
    print_report(with_refused(report, refused), form, output)


@model_command
def sweep(
    asked: Asked,
    model: Model,
    platform: Platforms,
    over: Annotated[
        list[str],
        typer.Option(
            "--over",
            metavar="B=1:1024:*2",
            help="Symbol and sizes: first:last:*factor, first:last:step, or a list; given for several symbols, every "
            "combination, the last symbol running fastest.",
        ),
    ],
    precision: Precisions = None,
    fusion: FusionOption = None,
    cache: CacheOption = "ignore",
    plot: Plot = None,
    form: Format = None,
    output: Output = None,
) -> None:
    """Time and throughput along batch sizes (or another symbol), and which layers change side."""
    from fxcost.costs.fusion.models import fused
    from fxcost.inputs import parse_grid
    from fxcost.reports.platforms import with_refused
    from fxcost.reports.roofline import counted_in
    from fxcost.reports.sweeps import sweep_report
    from fxcost.roofline.points import layer_points
    from fxcost.roofline.sweep import sweep as swept_over

    form = form_of(form, output)
    checked_plot(plot)
    grid = parse_grid(over)
    traces = traces_of(model, asked, grid)
    costs, point = traces.first, point_of(traces.first, asked.at)
    machines, refused = machines_of(costs, platform, precision)
    name = list(grid)[-1]
    lines = traces.over(grid, point, say)
    how = fusion_of(costs, fusion, model)
    swept = [
        (machine, swept_over(along, machine, name, point, beside, how, cache))
        for machine in machines
        for beside, along in lines
    ]
    report = sweep_report(costs, name, swept, point)
    if plot is not None:
        from fxcost.reports.parts.plot import plot_sweep

        beside, along = lines[-1]
        last = list(along)[-1]
        there = {**point, **beside, name: last}
        roofs = [(machine, layer_points(fused(along[last], how), machine, there, cache)) for machine in machines]
        plot_sweep(plot, report.heading[0], name, swept, roofs, counted_in(costs))
        say(f"drawn {plot}")
    print_report(with_refused(report, refused), form, output)
