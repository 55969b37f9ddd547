"""What a model holds in the memory of a machine, at the precision that it is asked for there."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from fxcost.costs.graph.cost_graph import Fusion
from fxcost.costs.model import CostModel
from fxcost.formats.composing import scheme_named
from fxcost.memory.footprint import Footprint, footprint
from fxcost.roofline.rate import Machine


def footprint_on(model: CostModel, machine: Machine, fusion: Fusion) -> Footprint:
    """What a call of a model holds on a machine, as formulas; errors as `footprint`."""
    on_cpu = machine.platform.kind == "cpu"
    return footprint(model, scheme_named(machine.precision), fusion, on_cpu=on_cpu)


@dataclass(frozen=True)
class HeldBytes:
    """Bytes that a call holds, beside those that the machine has."""

    peak: int
    capacity: Fraction | None
    """None where the maker publishes none."""

    @property
    def fits(self) -> bool:
        """Whether it is not known to be too much."""
        return self.capacity is None or self.peak <= self.capacity


def held_on(
    model: CostModel, machine: Machine, fusion: Fusion, at: Mapping[str, int] | None = None
) -> HeldBytes | None:
    """What a call of a model holds on a machine at sizes ``at``; None of a model without edges, which cannot tell."""
    if model.graph is None:
        return None
    memory = machine.platform.memory
    capacity = memory.capacity if memory else None
    peak = footprint_on(model, machine, fusion).at(at).peak
    return HeldBytes(peak, None if capacity is None else Fraction(capacity.value))
