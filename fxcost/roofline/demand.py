"""What an operation asks of a machine: FLOPs of each unit, and bytes of memory."""

from collections.abc import Mapping
from typing import Any

from fxcost.costs.model import LayerCost
from fxcost.formulas.quantities import Quantity, Widths, sum_of
from fxcost.roofline.rate import Machine, Resource
from fxcost.work import Unit

Demand = Mapping[Resource, Quantity]


def demand(layer: LayerCost[Any], bits: Widths, machine: Machine) -> Demand:
    """What is asked of each resource when an element of each dtype takes so many bits.

    Contractions that a machine runs on its vector unit wait there for all else, so that their sum counts. Those that
    compute in another precision than the machine's count as what takes as long in its own.
    """
    cost, matrix = layer.cost, _matrix(layer, machine)
    shared = machine.shares_unit and cost.matrix != 0
    matrix, vector = (sum_of((matrix, cost.vector)), 0) if shared else (matrix, cost.vector)
    return {"matrix": matrix, "vector": vector, "memory": cost.bytes_moved(bits)}


def _matrix(layer: LayerCost[Any], machine: Machine) -> Any:
    """FLOPs of contractions, those of a row of several in the precision of each."""
    if (machine.scheme is None and not layer.mixed) or layer.cost.matrix == 0:
        return layer.cost.matrix
    return sum_of(machine.as_long_as(precision, flops) for precision, flops in layer.matrix_by_precision)


def units_of(asked: Demand) -> tuple[Unit, ...]:
    """The units that have work, the one for contractions first; the vector unit where there is none."""
    units: tuple[Unit, ...] = ("matrix", "vector")
    return tuple(unit for unit in units if asked[unit] != 0) or ("vector",)
