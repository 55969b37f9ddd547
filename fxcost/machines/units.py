"""What a published figure carries: the number in SI units, where it was read and how far to trust it."""

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, cast

from pydantic import (
    AliasChoices,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from fxcost.errors import near_matches
from fxcost.sheet_files import SheetRecord, Text


def _only_numbers(value: object) -> object:
    """Let no text or truth value pass for a number, as the Decimal type alone would."""
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise ValueError(f"{value!r:.80} is not a number")  # noqa: TRY004 (pydantic gathers ValueError only)
    return value


# Bounded, because an exact fraction of 1e-999999 would fill the memory.
Positive = Annotated[Decimal, BeforeValidator(_only_numbers), Field(gt=0, lt=Decimal("1e24"), decimal_places=6)]


class Cited(SheetRecord):
    """Something read in a source.

    ``basis`` tells whether it was quoted, halved from a 2:4-sparse figure (``printed`` is what the vendor printed),
    or computed (``source`` is the formula). ``doubtful`` marks a weak source.
    """

    source: Text
    basis: Literal["quoted", "halved_from_sparse", "computed"] = "quoted"
    printed: Text | None = None
    note: Text | None = None
    doubtful: bool = False

    @model_validator(mode="before")
    @classmethod
    def _cite(cls, data: Any) -> Any:
        """Put the formula of ``computed = "…"`` in the place of a source."""
        if not isinstance(data, dict):
            return data
        figure = cast("dict[str, Any]", data)
        if "computed" not in figure:
            return figure
        if "source" in figure or "basis" in figure:
            raise ValueError("computed stands alone: give no source or basis beside it")
        rest = {key: value for key, value in figure.items() if key != "computed"}
        return rest | {"source": _Formula(f"computed: {figure['computed']}"), "basis": "computed"}

    @field_validator("source", mode="before")
    @classmethod
    def _labelled(cls, source: Any, info: ValidationInfo) -> Any:
        """Put the line of [sources] in the place of its label."""
        if isinstance(source, _Formula):
            return source
        sources: Mapping[str, str] = info.context or {}
        label = str(source)
        if label not in sources:
            raise ValueError(f"source {label[:80]!r} is not in [sources]{near_matches(label[:80], sources)}")
        return sources[label]


class _Formula(str):
    """What a figure was computed by: no label."""

    __slots__ = ()


class Figure(Cited):
    """One published number, exact as printed; its unit is the key it is given under."""

    value: Positive


class Bytes(Figure):
    """A capacity in bytes."""

    value: Positive = Field(alias="bytes")


class ByteRate(Figure):
    """A bandwidth in byte/s."""

    value: Positive = Field(alias="byte_per_s")


class Hertz(Figure):
    """A clock in Hz."""

    value: Positive = Field(alias="hz")


class Watts(Figure):
    """A power in W."""

    value: Positive = Field(alias="watts")


class CountFigure(Figure):
    """A number of equal parts, called ``unit`` (SM, CU, core)."""

    value: Positive = Field(alias="count")
    unit: Text


class ClockProduct(SheetRecord):
    """What a peak should be: a number of parts, operations of one part per clock, and the clock in Hz."""

    units: Positive
    unit: Text | None = None
    per_clock: Positive
    clock_hz: Positive

    @property
    def per_s(self) -> Decimal:
        """Operations per second."""
        return self.units * self.per_clock * self.clock_hz


class Peak(Figure):
    """Dense operations per second, a multiply-add being two; ``path`` names the circuit."""

    path: Text | None = None
    clock_check: ClockProduct | None = None


def _with_unit(data: Any, units: tuple[str, ...]) -> Any:
    """The table with the key that its number was given under, which is its unit."""
    if not isinstance(data, dict):
        return data
    figure = cast("dict[str, Any]", data)
    return figure | {"unit": next((unit for unit in units if unit in figure), "")}


class FlopRate(Peak):
    """A floating-point peak in FLOP/s."""

    value: Positive = Field(alias="flop_per_s")


class OpRate(Peak):
    """An integer peak in OP/s."""

    value: Positive = Field(alias="op_per_s")


class OtherRate(Peak):
    """A peak that no lookup chooses: another accumulator, an engine beside the main one; ``unit`` as of a `Measured`."""

    value: Positive = Field(validation_alias=AliasChoices("flop_per_s", "op_per_s"))
    unit: Text

    @model_validator(mode="before")
    @classmethod
    def _unit(cls, data: Any) -> Any:
        return _with_unit(data, ("flop_per_s", "op_per_s"))


class Link(ByteRate):
    """A connection to other chips or to the host, in byte/s."""

    name: Text
    direction: Literal["both directions summed", "per direction"]


class Interface(Cited):
    """The memory bus: its width in bits and, where published, the data rate of one pin in bit/s."""

    bus_width_bits: Positive
    data_rate_bit_per_s_per_pin: Positive | None = None


_MEASURED_UNITS = ("flop_per_s", "op_per_s", "byte_per_s", "byte_per_clock", "watts")


class Measured(Figure):
    """An achieved figure, never mixed into the peaks; ``unit`` is the key it was given under."""

    metric: Text
    value: Positive = Field(validation_alias=AliasChoices(*_MEASURED_UNITS))
    unit: Text
    dtype: Text | None = None
    shape: Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _unit(cls, data: Any) -> Any:
        return _with_unit(data, _MEASURED_UNITS)


def each_figure(key: str, value: object) -> Iterator[tuple[str, Figure]]:
    """Every figure at or under a value with its key in the file, such as ``memory.bandwidth``."""
    if isinstance(value, Figure):
        yield key, value
        return
    children: Iterable[tuple[object, object]] = ()
    if isinstance(value, SheetRecord):
        children = [(field.alias or name, getattr(value, name)) for name, field in type(value).model_fields.items()]
    elif isinstance(value, Mapping):
        children = cast("Mapping[object, object]", value).items()
    elif isinstance(value, tuple):
        children = enumerate(cast("tuple[object, ...]", value))
    for name, child in children:
        yield from each_figure(f"{key}.{name}".lstrip("."), child)
