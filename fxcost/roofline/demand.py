"""What an operation asks of a machine: FLOPs of each unit, and bytes of memory."""

from collections.abc import Mapping
from typing import Any

from fxcost.costs.model import Cost
from fxcost.formulas.quantities import Quantity, Widths
from fxcost.roofline.rate import Machine, Resource
from fxcost.work import Unit

Demand = Mapping[Resource, Quantity]


def demand(cost: Cost[Any], bits: Widths, machine: Machine) -> Demand:
    """What is asked of each resource when an element of each dtype takes so many bits.

    Contractions that a machine runs on its vector unit wait there for all else, so that their sum counts.
    """
    shared = machine.shares_unit and cost.matrix != 0
    matrix, vector = (cost.flops, 0) if shared else (cost.matrix, cost.vector)
    return {"matrix": matrix, "vector": vector, "memory": cost.bytes_moved(bits)}


def units_of(asked: Demand) -> tuple[Unit, ...]:
    """The units that have work, the one for contractions first; the vector unit where there is none."""
    units: tuple[Unit, ...] = ("matrix", "vector")
    return tuple(unit for unit in units if asked[unit] != 0) or ("vector",)
