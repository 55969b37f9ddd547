"""Curves of a sweep and the roofline, drawn with matplotlib."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fxcost.errors import FxcostError, printable
from fxcost.files import write_file
from fxcost.roofline.points import LayerPoint
from fxcost.roofline.rate import Machine
from fxcost.roofline.sweep import SweepPoint

COLOURS = {"compute": "#0072B2", "memory": "#E69F00", "unknown": "#999999"}
"""Okabe and Ito's blue and orange, apart for every kind of colour vision; markers differ as well."""
MARKERS = {"compute": "o", "memory": "s", "unknown": "x"}


def _matplotlib() -> Any:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise FxcostError("plots need matplotlib; pip install 'fxcost[plot]'") from error
    return Figure


def _literal(text: str) -> str:
    """The text with nothing in it that matplotlib takes for mathematics."""
    return printable(text).replace("$", r"\$")


def plot_sweep(
    path: Path,
    title: str,
    over: str,
    swept: Sequence[tuple[Machine, Sequence[SweepPoint]]],
    roofs: Sequence[tuple[Machine, Sequence[LayerPoint]]],
    counted: str = "samples",
) -> None:
    """Throughput, in what is ``counted``, and time along the sizes, and below the roofline with the layers at the last size."""
    figure = _matplotlib()(figsize=(11, 8), layout="constrained")
    figure.suptitle(_literal(title))
    grid = figure.add_gridspec(2, 2)
    throughput, time = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    for machine, points in swept:
        sizes = [p.size for p in points]
        label = _literal(", ".join([machine.name, *(f"{name}={size}" for name, size in points[0].beside.items())]))
        throughput.plot(sizes, [float(p.throughput) for p in points], marker="o", label=label)
        time.plot(sizes, [float(p.seconds) * 1000 for p in points], marker="o", label=label)
    for axes, label in ((throughput, f"{counted}/s, roofline"), (time, "ms, roofline")):
        axes.set(xlabel=over, ylabel=label, xscale="log", yscale="log")
        axes.grid(True, which="both", alpha=0.2)
        axes.legend()
    _draw_roofs(figure.add_subplot(grid[1, :]), roofs)
    _write(figure, path)


def plot_roofline(path: Path, title: str, roofs: Sequence[tuple[Machine, Sequence[LayerPoint]]]) -> None:
    """The roofline of each machine with a mark for each layer, sized by its share of the time."""
    figure = _matplotlib()(figsize=(11, 6), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(_literal(title))
    _draw_roofs(axes, roofs)
    _write(figure, path)


def _draw_roofs(axes: Any, roofs: Sequence[tuple[Machine, Sequence[LayerPoint]]]) -> None:
    for machine, points in roofs:
        seen = [p for p in points if p.flops and p.intensity]
        intensities = [float(p.intensity or 0) for p in seen]
        ridges = [float(r) for unit in ("matrix", "vector") if (r := machine.ridge(unit)) is not None]
        low, high = min([*intensities, *ridges]) / 2, max([*intensities, *ridges]) * 2
        for unit, line in (("matrix", "-"), ("vector", "--")):
            _draw_roof(axes, machine, unit, line, low, high)
        whole = float(sum(p.seconds for p in seen)) or 1.0
        for bound in ("compute", "memory", "unknown"):
            mine = [p for p in seen if p.bound == bound]
            axes.scatter(
                [float(p.intensity or 0) for p in mine],
                [float(p.flops / p.seconds) for p in mine],
                s=[20 + 800 * float(p.seconds) / whole for p in mine],
                c=COLOURS[bound],
                marker=MARKERS[bound],
                alpha=0.6,
                label=f"{bound}-bound on {_literal(machine.name)}" if mine else None,
            )
    axes.set(xlabel="arithmetic intensity, FLOP/B", ylabel="FLOP/s attainable", xscale="log", yscale="log")
    axes.grid(True, which="both", alpha=0.2)
    axes.legend(fontsize="small", markerscale=0.5)


def _draw_roof(axes: Any, machine: Machine, unit: Any, line: str, low: float, high: float) -> None:
    peak, bandwidth = machine.peak(unit), float(machine.bandwidth)
    if peak is None:
        return
    ridge = float(peak) / bandwidth
    axes.plot([low, ridge, high], [low * bandwidth, float(peak), float(peak)], line, color="#555555", linewidth=1)
    axes.annotate(f"{_literal(machine.name)} {unit}\nridge {ridge:.1f}", (ridge, float(peak)), fontsize=7, va="bottom")


def _write(figure: Any, path: Path) -> None:
    from matplotlib import rc_context  # pyright: ignore[reportUnknownVariableType]  # typed in part

    picture = io.BytesIO()
    with rc_context({"svg.fonttype": "none"}):  # text stays text: it can be searched and read aloud
        figure.savefig(picture, format=path.suffix.lower().lstrip("."), dpi=150)
    write_file(path, picture.getvalue())
