"""What a model holds in the memory of a machine, at the precision that it is asked for there."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from fxcost.costs.model import CostModel
from fxcost.formats.composing import scheme_named
from fxcost.memory.footprint import Footprint, footprint
from fxcost.request import Fusion
from fxcost.roofline.rate import Machine


def footprint_on(model: CostModel, machine: Machine, fusion: Fusion) -> Footprint:
    """What a call of a model holds on a machine, as formulas; errors as `footprint`."""
    on_cpu = machine.platform.kind == "cpu"
    return footprint(model, machine.scheme or scheme_named(machine.precision), fusion, on_cpu=on_cpu)


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


class Holder:
    """Tells what calls of models hold on a machine, each model looked at once."""

    def __init__(self, machine: Machine, fusion: Fusion) -> None:
        self.machine = machine
        self.fusion: Fusion = fusion
        memory = machine.platform.memory
        self.capacity = Fraction(memory.capacity.value) if memory and memory.capacity else None
        self.known: dict[int, tuple[CostModel, Footprint]] = {}

    def __call__(self, model: CostModel, at: Mapping[str, int] | None = None) -> HeldBytes | None:
        """What a call holds at sizes ``at``; None of a model without edges, which cannot tell."""
        if model.graph is None:
            return None
        if id(model) not in self.known:
            self.known[id(model)] = model, footprint_on(model, self.machine, self.fusion)
        return HeldBytes(self.known[id(model)][1].at(at).peak, self.capacity)
