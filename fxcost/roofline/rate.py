"""What a machine does in a second: the peaks of its units and the bandwidth of its memory, at one precision."""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Literal

from fxcost.costs.model import CostModel
from fxcost.errors import FxcostError
from fxcost.machines.sheets import NO_CROSSOVER, PRECISION_BITS, PRECISION_OF_DTYPE, Platform, precision_named
from fxcost.work import Unit

Resource = Literal["matrix", "vector", "memory"]
"""What an operation takes time of: FLOPs of a unit, or bytes of memory."""


@dataclass(frozen=True)
class Machine:
    """A platform at one precision: the numbers a roofline needs, exact.

    Raises `FxcostError` when built for a precision that the platform lacks.
    """

    platform: Platform
    precision: str

    def __post_init__(self) -> None:
        _ = self.bandwidth
        self.peak("matrix")

    @cached_property
    def bandwidth(self) -> Fraction:
        """Byte/s of main memory."""
        return Fraction(self.platform.bandwidth.value)

    @cached_property
    def shares_unit(self) -> bool:
        """Whether contractions run on the vector unit, one after the other with all else."""
        return self.platform.peak("matrix", self.precision) is self.platform.peak("vector", self.precision)

    def peak(self, unit: Unit) -> Fraction | None:
        """Dense FLOP/s of a unit; None where the maker publishes none."""
        figure = self.platform.peak(unit, self.precision)
        return None if figure is None else Fraction(figure.value)

    def rate(self, resource: Resource) -> Fraction | None:
        """FLOP/s of a unit, or byte/s of memory; None where the maker publishes none."""
        return self.bandwidth if resource == "memory" else self.peak(resource)

    def ridge(self, unit: Unit) -> Fraction | None:
        """The intensity in FLOP/byte from which work on the unit is compute-bound."""
        return self.platform.ridge(unit, self.precision)

    @property
    def bits(self) -> int:
        """Bits of one stored element at this precision."""
        return PRECISION_BITS[self.precision]


def machine_for(model: CostModel, platform: Platform, precision: str | None) -> Machine:
    """The platform at ``precision``, or at the model's own dtype when none is named."""
    if not platform.precisions:
        raise FxcostError(f"{platform.name} publishes no peak of its matrix unit, so it has no roofline{NO_CROSSOVER}")
    own = PRECISION_OF_DTYPE.get(model.dtype)
    if precision is None and own is None:
        raise FxcostError(
            f"{model.ref} computes in {model.dtype}; name a precision of {platform.name} with --precision"
        )
    if precision is None and own not in platform.precisions:
        _ = platform.bandwidth  # a machine without one answers at no precision
        listed = ", ".join(platform.precisions)
        nearest = min(platform.precisions, key=PREFERRED.index)
        raise FxcostError(
            f"{platform.name} has no {own} peak; it has: {listed}\n"
            f"{model.ref} computes in {model.dtype}; ask for another precision with --precision {nearest}"
        )
    return Machine(platform, precision_named(precision) if precision else str(own))


PREFERRED = ("bf16", "fp16", "tf32", "fp32", "fp8", "int8", "fp64", "fp4", "int4")
"""What to run a model in that a machine does not take as it is, the likeliest first."""
