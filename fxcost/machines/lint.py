"""Checks that find a wrong figure in a platform file: hardware tables rot, and one figure moves every ridge.

Each rule compares figures that must agree: a peak with what the vendor printed and with units times clock, a
bandwidth with its bus, a precision with the next. What is odd but true is marked ``[[exempt]]`` in the file.

What no rule can see, and all sheets keep to: peaks are dense; a computed peak takes the boost clock of a GPU and the
base clock of a CPU, one clock for all precisions of a machine; capacities are as the maker prints them, GB of 10⁹ bytes,
and powers of two only where a device or a document says so; a packed float16 rate of the vector unit stands where it is
published for that unit alone.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from fxcost.machines.sheets import PRECISION_BITS, Platform
from fxcost.machines.units import Peak
from fxcost.work import Unit

Findings = Iterator[tuple[str, str]]
"""Pairs of the key of a figure and what is wrong with it."""


class Band(NamedTuple):
    """A closed range and why nothing real lies outside."""

    low: Decimal | int
    high: Decimal | int
    why: str


class MemoryType(NamedTuple):
    """Mbit/s of one pin, slowest and fastest sold, and bits of bus, narrowest and widest seen on one machine."""

    slowest: int
    fastest: int
    narrowest: int
    widest: int


_RIDGE: Mapping[Unit, Band] = {
    "matrix": Band(8, 2000, "float64 on HBM gives about 10, int8 beside LPDDR about 1900"),
    "vector": Band(Decimal("0.5"), 150, "float64 at 1/64 rate gives about 0.6, packed float16 on GDDR6 about 130"),
}

# Rates of JESD235 and JESD238 (HBM), JESD250 and JESD239 (GDDR), JESD209 (LPDDR), JESD79 (DDR) and of the parts sold;
# GDDR6X is Micron's own. Plain "HBM" stands where the generation is not published.
_MEMORY: Mapping[str, MemoryType] = {
    "HBM": MemoryType(1000, 9800, 1024, 8192),
    "HBM2": MemoryType(1400, 2500, 1024, 8192),
    "HBM2E": MemoryType(2400, 3700, 1024, 8192),
    "HBM3": MemoryType(4800, 6600, 1024, 8192),
    "HBM3E": MemoryType(5600, 9800, 1024, 8192),
    "GDDR6": MemoryType(10000, 24000, 64, 512),
    "GDDR6X": MemoryType(19000, 24000, 64, 512),
    "GDDR7": MemoryType(24000, 48000, 64, 512),
    "LPDDR4": MemoryType(1600, 4300, 16, 1024),
    "LPDDR4X": MemoryType(1600, 4300, 16, 1024),
    "LPDDR5": MemoryType(3200, 6400, 16, 1024),
    "LPDDR5X": MemoryType(6400, 10700, 16, 1024),
    "DDR4": MemoryType(1600, 3200, 64, 1024),
    "DDR5": MemoryType(3200, 8800, 64, 1024),
}

_BANDS: Mapping[str, Band] = {
    "boost_clock": Band(3 * 10**8, 65 * 10**8, "chips run at 0.3 to 6.5 GHz"),
    "tdp": Band(Decimal("0.5"), 3000, "chips take 0.5 to 3000 W"),
    "measured_power": Band(Decimal("0.5"), 3000, "chips take 0.5 to 3000 W"),
    "compute_units": Band(1, 1000, "chips count up to some hundred units"),
    "cache": Band(10**5, 2 * 10**9, "on-chip memory is 0.1 MB to 2 GB"),
    "memory": Band(5 * 10**8, 10**12, "accelerators carry 0.5 GB to 1 TB"),
    "cpu": Band(5 * 10**8, 16 * 10**12, "a socket takes 0.5 GB to 16 TB"),
    "interconnect": Band(10**8, 10**13, "links carry 0.1 GB/s to 10 TB/s"),
}

# Capacity and bandwidth come with the same dies, so the time to read a full memory keeps to its type.
_FILL_MS: Mapping[str, Band] = {
    "HBM": Band(10, 100, "a full HBM is read in 10 to 100 ms"),
    "GDDR": Band(10, 150, "a full GDDR memory is read in 10 to 150 ms"),
    "LPDDR": Band(40, 1500, "a full LPDDR memory is read in 40 to 1500 ms"),
}

_TOLERANCE = Decimal("0.05")
_FASTEST_STEP = Decimal("3.5")


def lint(platform: Platform) -> tuple[str, ...]:
    """One line per finding, ``key: what is wrong [rule]``; empty when the machine's figures agree."""
    exempt = {(mark.rule, mark.key) for mark in platform.exempt}
    found = {(rule, key): said for rule, check in _RULES.items() for key, said in check(platform)}
    lines = [f"{key}: {said} [{rule}]" for (rule, key), said in found.items() if (rule, key) not in exempt]
    stale = [f"exempt: [{rule}] finds nothing at {key}; remove the mark" for rule, key in sorted(exempt - found.keys())]
    return (*lines, *stale)


def _own_peaks(platform: Platform, unit: Unit) -> Iterator[tuple[str, str, Peak]]:
    """Key, precision and figure of each peak written for a unit, without what lookups borrow."""
    peaks = getattr(platform.peaks, unit)
    for precision in PRECISION_BITS:
        figure = peaks.get(precision)
        if figure is not None:
            yield f"peak.{unit}.{precision}", precision, figure


def _ridge(platform: Platform) -> Findings:
    """A ridge that no machine has: a peak and the bandwidth differ by a slip of a power of ten, or of a unit."""
    if platform.memory is None or platform.memory.bandwidth is None:
        return
    for unit, band in _RIDGE.items():
        for key, _, figure in _own_peaks(platform, unit):
            ridge = Fraction(figure.value) / Fraction(platform.bandwidth.value)
            if not band.low <= ridge <= band.high:
                yield key, f"ridge of {float(ridge):.3g} FLOP/byte is outside {band.low} to {band.high} ({band.why})"


def _sparse(platform: Platform) -> Findings:
    """A value that is not the dense figure of what the vendor printed."""
    for key, figure in platform.figures():
        if figure.printed is None:
            if figure.basis == "halved_from_sparse":
                yield key, "halved_from_sparse needs printed, the sparse figure as the vendor prints it"
            continue
        sparse, dense = _printed(figure.printed)
        right = [number / 2 for number in sparse] if figure.basis == "halved_from_sparse" else dense
        if not any(_same_digits(figure.value, number) for number in right):
            is_sparse = any(_same_digits(figure.value, number) for number in sparse)
            yield (
                key,
                f"{figure.value:g} is {'the sparse' if is_sparse else 'not the dense'} figure of {figure.printed!r}",
            )


def _printed(text: str) -> tuple[list[Decimal], list[Decimal]]:
    """The sparse and the dense numbers of a text such as ``156 | 312 sparse`` or ``36 PFLOP/s sparse per 8``."""
    sparse: list[Decimal] = []
    dense: list[Decimal] = []
    for part in text.split("|"):
        head, *machines = re.split(r" per ([1-9]\d*)", part)
        share = Decimal(machines[0]) if machines else Decimal(1)
        numbers = [Decimal(number) / share for number in re.findall(r"\d+(?:\.\d+)?", head)]
        (sparse if "sparse" in part else dense).extend(numbers)
    return sparse, dense


def _same_digits(value: Decimal, printed: Decimal) -> bool:
    """Equal within 2 % but for a power of a thousand: the vendor prints TFLOP/s, GFLOP/s or TOPS."""
    ratio = value / printed if printed else Decimal(0)
    thousands = round(ratio.log10() / 3) if ratio else 0
    return abs(ratio.scaleb(-3 * thousands) - 1) <= Decimal("0.02")


def _clock(platform: Platform) -> Findings:
    """A peak that the machine's units at their clock do not give; twice of it is a sparse figure."""
    for key, figure in platform.figures():
        if not isinstance(figure, Peak) or figure.clock_check is None:
            continue
        ratio = figure.value / figure.clock_check.per_s
        if abs(ratio - 1) > _TOLERANCE:
            hint = ", as a sparse figure is" if abs(ratio - 2) <= 2 * _TOLERANCE else ""
            yield key, f"{ratio:.3g} times what units x per_clock x clock_hz gives{hint}"


def _order(platform: Platform) -> Findings:
    """A narrower precision slower than a wider one of the same unit."""
    for unit in _RIDGE:
        peaks = list(_own_peaks(platform, unit))
        for key, narrow, figure in peaks:
            wider = [(f.value, p) for _, p, f in peaks if PRECISION_BITS[p] > PRECISION_BITS[narrow]]
            fastest, wide = max(wider, default=(Decimal(0), ""))
            if figure.value < fastest * (1 - _TOLERANCE):
                yield key, f"{narrow} is slower than {wide}"


def _step(platform: Platform) -> Findings:
    """A matrix peak about four times that of the next wider precision, where hardware doubles: sparse against dense."""
    steps: dict[int, tuple[Decimal, str, str]] = {}
    for key, precision, figure in _own_peaks(platform, "matrix"):
        if precision not in {"fp64", "fp32"}:  # whose rate follows the market, not the width
            bits = PRECISION_BITS[precision]
            steps[bits] = max(steps.get(bits, (Decimal(0), "", "")), (figure.value, precision, key))
    for wide_bits, narrow_bits in ((32, 16), (16, 8), (8, 4)):
        if wide_bits in steps and narrow_bits in steps:
            slow, wide, _ = steps[wide_bits]
            fast, narrow, key = steps[narrow_bits]
            if fast >= slow * _FASTEST_STEP:
                yield key, f"{narrow} is {fast / slow:.3g} times {wide}, where 2 is expected"


def _interface(platform: Platform) -> Findings:
    """A bandwidth that bus width times data rate contradicts."""
    memory = platform.memory
    if memory is None or memory.bandwidth is None or memory.interface is None:
        return
    rate = memory.interface.data_rate_bit_per_s_per_pin
    if rate is not None:
        computed = memory.interface.bus_width_bits * rate / 8
        if abs(memory.bandwidth.value / computed - 1) > _TOLERANCE:
            yield "memory.bandwidth", f"{memory.bandwidth.value} byte/s, but width x rate / 8 is {computed:.4g}"


def _memory_type(platform: Platform) -> Findings:
    """A bandwidth or a data rate that memory of this type does not have."""
    memory = platform.memory
    if memory is None or memory.bandwidth is None:
        return
    known = _MEMORY.get(memory.type.upper())
    if known is None:
        yield "memory.type", f"{memory.type!r} is none of {', '.join(_MEMORY)}"
        return
    bits = memory.bandwidth.value * 8
    low, high = known.slowest * known.narrowest, known.fastest * known.widest
    if not low <= bits / 10**6 <= high:
        yield (
            "memory.bandwidth",
            f"{memory.type} gives {low / 8000:.4g} to {high / 8000:.4g} GB/s, not {bits / 8 / 10**9:.4g}",
        )
    if memory.interface is not None:
        pin = (memory.interface.data_rate_bit_per_s_per_pin or bits / memory.interface.bus_width_bits) / 10**6
        if not known.slowest <= pin <= known.fastest:
            yield (
                "memory.interface",
                f"{memory.type} runs at {known.slowest} to {known.fastest} Mbit/s per pin, not {pin:.4g}",
            )


def _fill(platform: Platform) -> Findings:
    """A capacity that does not go with the bandwidth."""
    memory = platform.memory
    if memory is None or memory.bandwidth is None or memory.capacity is None:
        return
    milliseconds = memory.capacity.value / memory.bandwidth.value * 1000
    for family, band in _FILL_MS.items():
        if memory.type.upper().startswith(family) and not band.low <= milliseconds <= band.high:
            yield "memory.capacity", f"takes {milliseconds:.3g} ms to read, but {band.why}"


def _band(platform: Platform) -> Findings:
    """A clock, power, capacity or count that is off by powers of ten."""
    for key, figure in platform.figures():
        group, _, rest = key.partition(".")
        if group == "other_memory" or (group == "memory" and platform.kind == "cpu"):
            group = "cpu"
        band = _BANDS.get(group)
        if band is not None and not rest.endswith("bandwidth") and not band.low <= figure.value <= band.high:
            yield key, f"{figure.value:g} is out of range: {band.why}"


_RULES: Mapping[str, Callable[[Platform], Findings]] = {
    "ridge": _ridge,
    "sparse": _sparse,
    "clock": _clock,
    "order": _order,
    "step": _step,
    "interface": _interface,
    "memory-type": _memory_type,
    "fill": _fill,
    "band": _band,
}
