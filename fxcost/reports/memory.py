"""What a call holds in memory, as a formula in one symbol, and the greatest size that fits each machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from fxcost.formulas.algebra import ZERO, Formula, Symbol, add
from fxcost.formulas.expressions import to_pretty
from fxcost.formulas.ranges.piecewise import coefficients
from fxcost.machines.sheets import Platform
from fxcost.memory.fitting import Largest, largest, usable_bytes
from fxcost.memory.footprint import Footprint, Moment
from fxcost.reports.parts.numbers import PREFIXES, prefix_for, sizes_text
from fxcost.reports.parts.tables import Cell, Column, Report

KERNELS: Mapping[str, str] = {
    "none": "each operation alone",
    "pointwise": "kernels as torch.compile joins them",
    "epilogue": "contractions with what follows them",
    "ideal": "all as one kernel",
}
NOT_COUNTED = (
    "Not counted: what drivers, libraries and allocators take for themselves; the GB of a machine are its maker's."
)
TOO_MUCH = "✗"
"""Marks what does not fit the memory of a machine."""
GIGA = 10**9
MOST_FORMS = 4
"""Moments that are told one by one; of more, how many."""


@dataclass(frozen=True)
class _Fitted:
    """A machine, and what fits it."""

    platform: Platform
    usable: Fraction
    found: Largest


def fit_report(
    footprints: Mapping[bool, Footprint],
    platforms: Sequence[Platform],
    over: str,
    at: Mapping[str, int],
    *,
    share: Fraction,
    precision: str,
) -> Report[Any]:
    """Memory as a formula in ``over``, its parts, and the greatest size that fits so large a share of each machine's memory.

    ``footprints`` are that of a CPU, and that of other machines. Raises `FxcostError` as `usable_bytes` and `largest`.
    """
    rows = tuple(
        _Fitted(each, usable, largest(footprints[each.kind == "cpu"], over, usable, at))
        for each in platforms
        for usable in (usable_bytes(each, share),)
    )
    kinds = dict.fromkeys(each.kind == "cpu" for each in platforms)
    first = next(iter(kinds))
    shown = footprints[first]
    point = {
        name: size for name, size in shown.model.with_fixed(shown.model.point(at, but=over)).items() if name != over
    }
    told = f" in {precision}" if precision else f" in {shown.model.dtype}"
    heading = (f"{shown.model.ref}{told}{f' at {sizes_text(point)}' if point else ''}, {KERNELS[shown.fusion]}",)
    along = {on_cpu: footprints[on_cpu].along(over, at) for on_cpu in kinds}
    for on_cpu in kinds:
        heading += tuple(_formula_lines(along[on_cpu], over, on_cpu and len(kinds) > 1))
    notes = (NOT_COUNTED,)
    if any(row.found.checked_up_to is not None for row in rows):
        notes += ("~: sizes were tried one by one, and none is told of larger ones.",)
    if any(row.found.size is None for row in rows):
        notes += (f"–: not even {over}={shown.model.symbols[over].smallest} fits, whose bytes are told.",)
    if shown.model.unknown:
        notes += (f"≥: what {', '.join(shown.model.unknown)} hold while they run is unknown.",)
    facts = {"model": shown.model.ref, "over": over, "at": point, "peak_bytes": str(along[first].peak)}
    return Report(_columns(over, share), rows, heading, notes, facts)


def _columns(over: str, share: Fraction) -> tuple[Column[_Fitted], ...]:
    return (
        Column("platform", "platform", lambda row: Cell(row.platform.name), numeric=False),
        Column("GB", "memory_bytes", lambda row: _gigabytes(row.usable / share)),
        Column("usable GB", "usable_bytes", lambda row: _gigabytes(row.usable), hidden=share == 1),
        Column(f"largest {over}", "largest", _size),
        Column("held GB", "held_bytes", lambda row: _gigabytes(row.found.use.peak)),
        Column("limited by", "binds", lambda row: Cell(row.found.binds), numeric=False),
        Column("most at", "most_at", lambda row: Cell(row.found.use.where), numeric=False, priority=1),
    )


def _gigabytes(amount: Fraction | int) -> Cell:
    return Cell(gigabytes(amount), int(amount))


def gigabytes(amount: Fraction | int) -> str:
    """Decimal gigabytes: ``17.13``, and of less than one ``0.0468``."""
    told = float(Fraction(amount) / GIGA)
    return f"{told:,.2f}" if told >= 1 else f"{told:.3g}"


def _size(row: _Fitted) -> Cell:
    size = row.found.size
    if size is None:
        return Cell("–", "")
    return Cell(f"{'~' * (row.found.checked_up_to is not None)}{size:,}", size)


def _formula_lines(along: Footprint, over: str, on_cpu: bool) -> list[str]:
    """The whole, and its parts."""
    symbol = Symbol(over)
    moments = along.moments or (Moment("", ZERO),)
    whole = [f"{bytes_text(add(along.throughout, each.bytes), symbol)}{_where(each)}" for each in moments]
    acting = [f"{bytes_text(each.activations, symbol)}{_where(each)}" for each in moments]
    copies = [bytes_text(each.scratch, symbol) for each in moments]
    lines = {
        f"holds{' on a CPU' * on_cpu}": _greatest(whole),
        "weights": bytes_text(ZERO + along.weights, symbol),
        "buffers": bytes_text(ZERO + along.buffers, symbol) if along.buffers else "",
        "cache": bytes_text(along.state, symbol) if along.state != ZERO else "",
        "inputs": bytes_text(along.inputs, symbol) if along.inputs != ZERO else "",
        "activations": _greatest(acting),
        "copied": f"{_greatest(copies)} by the convolution there"
        if any(each.scratch != ZERO for each in moments)
        else "",
        "lifetimes": f"{along.source}" if along.source else "",
    }
    width = max(map(len, lines))
    return [f"{name:<{width}}  {text}" for name, text in lines.items() if text]


def _where(moment: Moment) -> str:
    return f" at {moment.name}" if moment.name else ""


def _greatest(texts: list[str]) -> str:
    texts = list(dict.fromkeys(texts))
    more = f", and {len(texts) - MOST_FORMS} more" if len(texts) > MOST_FORMS else ""
    return texts[0] if len(texts) == 1 else f"the greatest of {'; '.join(texts[:MOST_FORMS])}{more}"


def bytes_text(formula: Formula, symbol: Symbol) -> str:
    """``16.06 GB + 1.074 GB·B``, each term in the unit that it reads well in; another form as a formula in bytes."""
    line = coefficients(formula, symbol)
    if line is None:
        return f"{to_pretty(formula)} B"
    terms = ((degree, value) for degree, value in enumerate(line) if value)
    texts = [
        f"{'−' if value < 0 else '+'} {_amount(abs(value))}{_power(symbol.name, degree)}" for degree, value in terms
    ]
    return " ".join(texts).removeprefix("+ ") or "0 B"


def _amount(value: Fraction) -> str:
    """Four digits and a unit."""
    factor, prefix = prefix_for(value)
    told = float(f"{float(value / factor):.4g}")
    if told >= 1000 and factor < PREFIXES[0][0]:
        told, (factor, prefix) = told / 1000, prefix_for(Fraction(factor * 1000))
    return f"{told:.4g} {prefix}B"


def _power(name: str, degree: int) -> str:
    return "" if degree == 0 else f"·{name}" if degree == 1 else f"·{name}^{degree}"
