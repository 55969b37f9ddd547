"""What nothing can beat, and the roofline times of every fusion beside it."""

from collections.abc import Mapping
from fractions import Fraction

from fxcost.costs.fusion.models import fused
from fxcost.costs.graph.cost_graph import FUSED
from fxcost.costs.model import CostModel
from fxcost.request import Fusion
from fxcost.roofline.points import layer_points
from fxcost.roofline.rate import Machine


def bound_seconds(model: CostModel, machine: Machine, at: Mapping[str, int] | None = None) -> Fraction:
    """Seconds that no call takes less than: all work at datasheet peaks at once, beside what has to move.

    Weights, inputs, outputs and the cache of a model that decodes move once, unless all of them together fit the largest
    cache of the machine, where they stay from call to call. Operators without a rule add only what is known of them.
    Errors as `layer_points`, and for a model without edges.
    """
    (point,) = layer_points(fused(machine.stored(model), "ideal"), machine, at)
    stays = point.bytes_moved <= machine.platform.on_chip
    return point.computing_seconds if stays else point.seconds


def seconds_by_fusion(
    model: CostModel, machine: Machine, at: Mapping[str, int] | None = None
) -> Mapping[Fusion | str, Fraction]:
    """Roofline times in seconds of each fusion, its kernels one after the other, and the ``bound``."""
    model = machine.stored(model)
    fusions: tuple[Fusion, ...] = ("none", *FUSED)
    times: dict[Fusion | str, Fraction] = {
        fusion: sum((p.seconds for p in layer_points(fused(model, fusion), machine, at)), Fraction(0))
        for fusion in fusions
    }
    return times | {"bound": bound_seconds(model, machine, at)}
