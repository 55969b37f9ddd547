"""Machines: their peaks, bandwidth and ridges, read from one TOML file each.

A file holds SI figures with the unit in the key, dense peaks only, and a source for each figure; ``specs/machines/l4.toml``
is a good one to start from. A machine runs contractions on its *matrix* unit and all else on its *vector* unit.
"""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from importlib.metadata import entry_points
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field

from fxcost.dtypes import DTYPES
from fxcost.errors import FxcostError, near_matches
from fxcost.machines.units import (
    ByteRate,
    Bytes,
    CountFigure,
    Figure,
    FlopRate,
    Hertz,
    Interface,
    Link,
    Measured,
    OpRate,
    OtherRate,
    Peak,
    Watts,
    each_figure,
)
from fxcost.sheet_files import SheetRecord, Text, own_sheet, sheet_of
from fxcost.work import Unit

#: Bits in which an element is stored. TF32 is a rounding of float32 inside the matrix unit: memory holds 32 bits.
PRECISION_BITS: Mapping[str, int] = MappingProxyType(
    {"fp64": 64, "fp32": 32, "tf32": 32, "fp16": 16, "bf16": 16, "fp8": 8, "int8": 8, "int4": 4, "fp4": 4}
)


PRECISION_OF_DTYPE: Mapping[str, str] = MappingProxyType(
    {name: each.precision for name, each in DTYPES.items() if each.precision}
)

BFLOAT16_PRODUCTS = (
    "float32 products run on the matrix unit of a TPU in bfloat16, the default precision of JAX and XLA there "
    "(https://docs.jax.dev/en/latest/201/precision.html, https://cloud.google.com/tpu/docs/bfloat16): "
    "their peak is that of bf16, and what is stored takes 32 bits"
)
NO_MATRIX_WORK_ON_VECTORS = ("tpu", "npu")
"""Kinds of machines whose vector unit stands beside a matrix unit that does all products, and never in its place."""
COMMAND = "platforms"
"""What lists and checks these sheets."""
NO_CROSSOVER = ": it answers no crossover, no bound and no time"


class UnitPeaks(SheetRecord):
    """The peaks of one unit by precision."""

    fp64: FlopRate | None = None
    fp32: FlopRate | None = None
    tf32: FlopRate | None = None
    fp16: FlopRate | None = None
    bf16: FlopRate | None = None
    fp8: FlopRate | None = None
    int8: OpRate | None = None
    int4: OpRate | None = None
    fp4: FlopRate | None = None

    def get(self, precision: str) -> Peak | None:
        """The peak of a precision, None when this unit has none of its own."""
        return getattr(self, precision)


class Peaks(SheetRecord):
    """All peaks of a machine; those under ``other`` are kept as data and never chosen."""

    matrix: UnitPeaks = UnitPeaks()
    vector: UnitPeaks = UnitPeaks()
    other: Mapping[str, OtherRate] = {}


class Store(SheetRecord):
    """A cache or a second memory."""

    capacity: Bytes | None = None
    bandwidth: ByteRate | None = None


class Memory(Store):
    """The main memory, whose bandwidth bounds the roofline."""

    type: Text
    interface: Interface | None = None


class Exemption(SheetRecord):
    """A lint finding that is true of the machine, and why."""

    rule: Text
    key: Text
    reason: Text


class Platform(SheetRecord):
    """One machine as its file describes it."""

    name: Text
    title: Text
    vendor: Text
    kind: Literal["gpu", "tpu", "npu", "cpu", "edge"]
    year: Annotated[
        int, Field(strict=True, ge=1950, le=2100)
    ]  # never of 1e99999999, whose digits would fill the memory
    arch: Text | None = None
    sources: Mapping[str, Text] = {}
    peaks: Peaks = Field(alias="peak")
    memory: Memory | None = None
    other_memory: Mapping[str, Store] = {}
    cache: Mapping[str, Store] = {}
    compute_units: CountFigure | None = None
    boost_clock: Hertz | None = None
    interconnect: tuple[Link, ...] = ()
    tdp: Watts | None = None
    measured_power: Watts | None = None
    measured: tuple[Measured, ...] = ()
    notes: tuple[Text, ...] = ()
    conflicts: tuple[Text, ...] = ()
    exempt: tuple[Exemption, ...] = ()

    def peak(self, unit: Unit, precision: str) -> Figure | None:
        """The dense peak in FLOP/s (integers: OP/s); None when the vector unit's is not published.

        Matrix work without a figure of its own runs on the vector unit at the same precision (a float32 matmul
        without TF32); on a TPU, float32 products run on the matrix unit in bfloat16 (`BFLOAT16_PRODUCTS`). Vector work
        of up to 32 bits without one runs at the float32 rate, for that is how it is done. A precision that the machine
        does not have is an error.
        """
        precision = precision_named(precision)
        own = self.peaks.vector.get(precision)
        if unit == "vector":
            return own or (self.peaks.vector.fp32 if PRECISION_BITS[precision] <= 32 else None)
        matrix = self._matrix_peak(precision)
        if matrix is None:
            raise FxcostError(f"{self.name} has no {precision} peak; it has: {', '.join(self.precisions)}")
        return matrix

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions in which the machine can multiply matrices, widest first."""
        return tuple(p for p in PRECISION_BITS if self._matrix_peak(p))

    def multiplies_in_bfloat16(self, precision: str) -> bool:
        """Whether products of this precision are rounded to bfloat16, as a TPU does with float32."""
        return self.kind == "tpu" and precision == "fp32" and self.peaks.matrix.fp32 is None

    def _matrix_peak(self, precision: str) -> Peak | None:
        if self.multiplies_in_bfloat16(precision):
            return self.peaks.matrix.bf16
        own = self.peaks.matrix.get(precision)
        return own or (None if self.kind in NO_MATRIX_WORK_ON_VECTORS else self.peaks.vector.get(precision))

    @property
    def bandwidth(self) -> Figure:
        """Main memory bandwidth in byte/s; an error on a machine that publishes none."""
        if self.memory is None or self.memory.bandwidth is None:
            raise FxcostError(f"{self.name} publishes no memory bandwidth, so it has no roofline{NO_CROSSOVER}")
        return self.memory.bandwidth

    @property
    def on_chip(self) -> int:
        """Bytes of the largest cache or scratchpad, what may stay there from call to call; 0 where none is published."""
        return max((int(each.capacity.value) for each in self.cache.values() if each.capacity), default=0)

    def ridge(self, unit: Unit, precision: str) -> Fraction | None:
        """Peak over bandwidth in FLOP/byte, exact; None where the peak is not published."""
        peak = self.peak(unit, precision)
        return None if peak is None else Fraction(peak.value) / Fraction(self.bandwidth.value)

    def figures(self) -> Iterator[tuple[str, Figure]]:
        """Every figure with its key in the file, such as ``memory.bandwidth``."""
        return each_figure("", self)


def precision_named(text: str) -> str:
    """The precision that a text names in any case; raises `FxcostError` for another, and says what torch's dtypes are called here."""
    name = text.lower()
    if name in PRECISION_BITS:
        return name
    told = PRECISION_OF_DTYPE.get(name.removeprefix("torch."))
    near = f"; near: {told}" if told else near_matches(text, PRECISION_BITS)
    raise FxcostError(f"unknown precision {text[:40]!r}{near}; known: {', '.join(PRECISION_BITS)}")


def load_platform(ref: str) -> Platform:
    """A machine by name, or by the path of its TOML file (``….toml``)."""
    if ref.lower().endswith(".toml"):
        return own_sheet(ref, Platform, COMMAND)
    specs = _spec_files()
    ref = ref.lower() if ref.lower() in specs else ref
    if ref not in specs:
        raise FxcostError(
            f"unknown platform {ref!r}{near_matches(ref, specs)}; `fxcost platforms` lists all, and a path to a .toml works"
        )
    platform = sheet_of(specs[ref].read_bytes(), str(specs[ref]), Platform, COMMAND)
    if platform.name != ref:
        raise FxcostError(f"{specs[ref]}: name is {platform.name!r}, but the file is called {ref}.toml")
    return platform


def platform_names() -> tuple[str, ...]:
    """The names that ``load_platform`` knows, sorted; no file is opened."""
    return tuple(sorted(_spec_files()))


def _spec_files() -> dict[str, Traversable]:
    """Name to file: our own, then those of the packages under the entry point group ``fxcost.specs``."""
    found: dict[str, Traversable] = {}
    for folder in (files("fxcost") / "specs" / "machines", *_plugin_folders()):
        for spec in folder.iterdir():
            name = spec.name.removesuffix(".toml")
            if name == spec.name:
                continue
            if name in found:
                raise FxcostError(f"two platforms are called {name!r}:\n{found[name]} and {spec}")
            found[name] = spec
    return found


def _plugin_folders() -> Iterator[Traversable]:
    for point in entry_points(group="fxcost.specs"):
        try:
            yield files(point.load())
        except Exception as error:  # a plugin may fail in any way; its name is what helps
            raise FxcostError(f"platform plugin {point.name!r} ({point.value}) does not load: {error}") from error
