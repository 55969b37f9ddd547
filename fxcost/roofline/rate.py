"""What a machine does in a second: the peaks of its units and the bandwidth of its memory, at one precision."""

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal

from fxcost.costs.model import CostModel, LayerCost, mixed_products
from fxcost.errors import FxcostError
from fxcost.formats.schemes import Scheme
from fxcost.machines.sheets import NO_CROSSOVER, PRECISION_BITS, PRECISION_OF_DTYPE, Platform
from fxcost.machines.units import Figure
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
    """Of contractions."""
    scheme: Scheme | None = None
    """The formats that models are stored in, where these are not all of the precision."""
    elementwise: str = ""
    """The precision of all other work; empty for that of contractions."""
    label: str = ""
    """What tables call it, where that is not the platform alone."""

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
        return self._figure("matrix") is self._figure("vector")

    def peak(self, unit: Unit) -> Fraction | None:
        """Dense FLOP/s of a unit; None where the maker publishes none."""
        figure = self._figure(unit)
        return None if figure is None else Fraction(figure.value)

    def rate(self, resource: Resource) -> Fraction | None:
        """FLOP/s of a unit, or byte/s of memory; None where the maker publishes none."""
        return self.bandwidth if resource == "memory" else self.peak(resource)

    def ridge(self, unit: Unit) -> Fraction | None:
        """The intensity in FLOP/byte from which work on the unit is compute-bound."""
        return self.platform.ridge(unit, self.precision_of(unit))

    def precision_of(self, unit: Unit) -> str:
        """What a unit computes in."""
        return self.elementwise or self.precision if unit == "vector" else self.precision

    def _figure(self, unit: Unit) -> Figure | None:
        return self.platform.peak(unit, self.precision_of(unit))

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.label or self.platform.name

    @property
    def stored_in(self) -> str:
        """The precision, or the scheme of several, that models are stored in."""
        return self.scheme.name if self.scheme else self.precision

    @property
    def bits(self) -> int | None:
        """Bits of one stored element at this precision; None where a scheme says, which `stored` applies."""
        return None if self.scheme else PRECISION_BITS[self.precision]

    def stored(self, model: CostModel) -> CostModel:
        """The model as its scheme stores it, products of whole numbers at their own peak; else the same where all is of one precision."""
        if model.widths or (self.scheme is None and not self._multiplies_integers(model)):
            return model
        if id(model) not in self._known:
            self.know(model, model if self.scheme is None else _as_stored(model, self.scheme))
        return self._known[id(model)][1]

    def know(self, model: CostModel, stored: CostModel) -> None:
        """Take what a model is as stored, which was worked out already."""
        if self._multiplies_integers(model):
            stored = self._with_integer_products(stored)
        self._known[id(model)] = (model, stored)

    def _with_integer_products(self, model: CostModel) -> CostModel:
        return replace(
            model, layers=tuple(_told(each, (self.precision, self.precision_of("vector"))) for each in model.layers)
        )

    def _multiplies_integers(self, model: CostModel) -> bool:
        """Whether a model has products of int8 that are not told yet, and the platform a peak for them."""
        return "int8" in self.platform.precisions and any(
            each.op in INTEGER_PRODUCTS and each.computes[0] != "int8"
            for layer in model.layers
            for each in layer.members or (layer,)
        )

    @cached_property
    def _known(self) -> dict[int, tuple[CostModel, CostModel]]:
        """Models beside what they are as stored, by identity: both are kept, so that none takes another's place."""
        return {}

    def computing(self, layer: LayerCost[Any]) -> "Machine":
        """The machine at the precisions that a layer computes in. Raises `FxcostError` for one that the platform lacks."""
        matrix, vector = layer.computes
        if (matrix or self.precision, vector or self.elementwise) == (self.precision, self.elementwise):
            return self
        if layer.computes not in self._others:
            found = replace(self, precision=matrix or self.precision, elementwise=vector or self.elementwise)
            self._others[layer.computes] = found
        return self._others[layer.computes]

    def as_long_as(self, precision: str, flops: Any) -> Any:
        """How many FLOPs of contractions take as long at its own precision as these do at another."""
        if precision in ("", self.precision):
            return flops
        return self.platform_peak(self.precision) / self.platform_peak(precision) * flops

    def platform_peak(self, precision: str) -> Fraction:
        """Dense FLOP/s of contractions at a precision. Raises `FxcostError` for one that the platform lacks."""
        figure = self.platform.peak("matrix", precision)
        assert figure is not None  # a peak of contractions is there, or refused
        return Fraction(figure.value)

    @property
    def beside(self) -> "tuple[Machine, ...]":
        """The machines at the other precisions that layers were found to compute in."""
        return tuple(self._others.values())

    @cached_property
    def _others(self) -> "dict[tuple[str, str], Machine]":
        return {}


def _as_stored(model: CostModel, scheme: Scheme) -> CostModel:
    from fxcost.formats.applying import as_stored  # where one precision is asked for, nothing is to be loaded

    return as_stored(model, scheme)


def machine_for(model: CostModel, platform: Platform, precision: str | Scheme | None, label: str = "") -> Machine:
    """The platform at ``precision``, named or as a scheme, or at the model's own dtype when none is named.

    Raises `FxcostError` for a precision that the platform lacks, and that contractions of the model compute in.
    """
    if isinstance(precision, str):
        from fxcost.formats.composing import scheme_named

        precision = scheme_named(precision)
    scheme = precision
    if scheme is not None and scheme.uniform:
        return _machine(model, platform, scheme.uniform, label)
    if scheme is None:
        return _machine(model, platform, None, label)
    own = PRECISION_OF_DTYPE.get(model.dtype, "")
    scheme = replace(scheme, matrix=scheme.matrix or own, vector=scheme.vector or own)
    stored = _as_stored(model, scheme)
    used = dict.fromkeys(layer.computes[0] for layer in stored.layers if layer.cost.matrix != 0)
    # What no contraction computes in may be missing: the first that is used stands in.
    first = scheme.matrix if scheme.matrix in used or not used else next(iter(used))
    machine = replace(_machine(model, platform, first or None, label), scheme=scheme, elementwise=scheme.vector)
    for layer in stored.layers:
        machine.computing(layer)
    machine.know(model, stored)
    return machine


def _machine(model: CostModel, platform: Platform, precision: str | None, label: str) -> Machine:
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
    return Machine(platform, precision or str(own), label=label)


INTEGER_PRODUCTS = frozenset({"aten._int_mm.default"})
"""Contractions that multiply int8 as it is, whatever precision is asked for all others."""


def _told(layer: LayerCost, usual: tuple[str, str]) -> LayerCost:
    """A row with what it computes in, products of whole numbers in theirs; a kernel computes in what its first contraction does."""
    members = tuple(_told(each, usual) for each in layer.members)
    first = min(members, key=lambda each: each.cost.matrix == 0, default=None)
    matrix, vector = (told or other for told, other in zip(layer.computes, usual, strict=True))
    own = ("int8" if layer.op in INTEGER_PRODUCTS else matrix, vector)
    return replace(
        layer, computes=own if first is None else first.computes, members=members, mixed=mixed_products(members)
    )


PREFERRED = ("bf16", "fp16", "tf32", "fp32", "fp8", "int8", "fp64", "fp4", "int4")
"""What to run a model in that a machine does not take as it is, the likeliest first."""
