"""The greatest size of a symbol for which a call fits so many bytes, solved exactly."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from fxcost.costs.model import CostModel
from fxcost.errors import FxcostError
from fxcost.formulas.algebra import Formula, Symbol, add
from fxcost.formulas.evaluation import evaluate
from fxcost.formulas.ranges.bisection import first_where
from fxcost.formulas.ranges.domain import SymbolRange, check_sizes
from fxcost.formulas.ranges.extrema import where_nonnegative
from fxcost.formulas.ranges.interval_arithmetic import direction
from fxcost.formulas.ranges.piecewise import coefficients
from fxcost.machines.sheets import Platform
from fxcost.memory.footprint import Footprint, MemoryUse

FURTHEST = 1 << 50
"""The greatest count of steps up to which it is looked whether what is held stops growing; past any size a user may ask for."""
MOST_REFUSED = 65_536
"""Sizes in a row that conditions of the model may refuse before it counts as none that fits."""


@dataclass(frozen=True)
class Largest:
    """The greatest size of a symbol that fits, and what keeps a greater one from it."""

    size: int | None
    """None where not even the smallest fits."""
    binds: str
    """The part of memory that grows the most with the symbol, or is the largest where nothing fits; or its ``range``."""
    use: MemoryUse
    """At that size, or at the smallest where nothing fits."""
    checked_up_to: int | None = None
    """Sizes beyond were not tried, of a formula that is neither a polynomial nor proved to grow; None where all is proved."""


def usable_bytes(platform: Platform, share: Fraction | float | str = 1) -> Fraction:
    """So large a share of a machine's memory, exact: 0.9 is nine tenths.

    Raises `FxcostError` for a machine that publishes no capacity, and for a share that is none.
    """
    if platform.memory is None or platform.memory.capacity is None:
        raise FxcostError(f"{platform.name} publishes no memory capacity, so nothing tells what fits it")
    return Fraction(platform.memory.capacity.value) * share_of(share)


def share_of(text: Fraction | float | str) -> Fraction:
    """``0.9``, ``"90%"`` or ``"0.9"`` as the fraction that it is. Raises `FxcostError` for what is no share of memory."""
    told = str(text).strip()
    try:
        found = Fraction(told.removesuffix("%").strip()) / (100 if told.endswith("%") else 1)
    except (ValueError, ZeroDivisionError):
        found = Fraction(0)
    if not 0 < found <= 1:
        raise FxcostError(f"memory {told[:40]!r} is no share of a machine's memory; give one such as 90% or 0.9")
    return found


def largest(footprint: Footprint, symbol: str, limit: Fraction, sizes: Mapping[str, int] | None = None) -> Largest:
    """The greatest size of ``symbol`` at which no more than ``limit`` bytes are held, the others at these sizes.

    Raises `FxcostError` for a symbol that the model has not or holds fixed, and where memory does not depend on it.
    """
    model = footprint.model
    allowed = _range_of(model, symbol)
    sizes = {name: size for name, size in (sizes or {}).items() if name != symbol}
    along = footprint.along(symbol, sizes)
    forms = [add(along.throughout, each.bytes) for each in along.moments] or [along.throughout]
    found, checked = _greatest([limit - form for form in forms], Symbol(symbol), allowed)
    if found is None and checked is None and allowed.high is None:
        raise FxcostError(
            f"what {model.ref} holds does not grow with {symbol}, and fits at any; ask for another symbol with --over"
        )
    at_end = found is None or (allowed.high is not None and found + allowed.multiple_of > allowed.high)
    found = _meeting_conditions(model, symbol, allowed, allowed.high if found is None else found, sizes)
    there = {**sizes, symbol: allowed.smallest if found is None else found}
    return Largest(
        found, "range" if at_end and found else _binding(along, symbol, found, allowed), footprint.at(there), checked
    )


def _range_of(model: CostModel, symbol: str) -> SymbolRange:
    model.check_symbol(symbol)
    if symbol in model.fixed:
        raise FxcostError(
            f"{symbol} is fixed at {model.fixed[symbol].value} in these formulas: {model.fixed[symbol].where}"
        )
    return model.symbols[symbol]


def _greatest(left: list[Formula], symbol: Symbol, allowed: SymbolRange) -> tuple[int | None, int | None]:
    """The greatest size within the range at which no formula is negative, 0 where there is none, None where all are fine.

    Beside it, up to where sizes were tried one by one, where they were.
    """
    step, least = allowed.multiple_of, allowed.smallest
    most: int | None = None if allowed.high is None else allowed.high // step * step
    checked: int | None = None
    bent: list[Formula] = []
    for formula in left:
        line = coefficients(formula, symbol)
        if line is not None and len(line) <= 2:
            slope = sum(line[1:], Fraction(0))
            start = sum(line[:1], Fraction(0))
            if slope < 0:
                end = int(-start / slope // step) * step if start >= 0 else 0
                most = end if most is None else min(most, end)
            elif start + slope * least < 0:
                most = 0
        elif direction(formula) == -1:
            most = _bisected(formula, symbol, least, step, most)
        else:
            bent.append(formula)
    while bent and (most is None or most >= least):
        ends: list[int | None] = []
        for formula in bent:
            there = where_nonnegative(formula, symbol, least, most, step)
            checked = there.checked_up_to if checked is None else min(checked, there.checked_up_to or checked)
            ends.append(there.intervals[-1].high if there.intervals else 0)
        known = [end for end in ends if end is not None]
        if not known or (most is not None and min(known) >= most):
            break
        most = min(known)
    return (0 if most is not None and most < least else most), checked


def _bisected(formula: Formula, symbol: Symbol, least: int, step: int, most: int | None) -> int | None:
    """The greatest multiple at which a formula that never grows is not negative; 0 where there is none, None without end."""

    def fits(count: int) -> bool:
        return evaluate(formula, {symbol.name: count * step}) >= 0

    low, high = least // step, FURTHEST if most is None else most // step
    if high < low:
        return 0
    beyond = first_where(lambda count: not fits(count), low, high)
    if beyond is None:
        return most
    return 0 if beyond == low else (beyond - 1) * step


def _meeting_conditions(
    model: CostModel, symbol: str, allowed: SymbolRange, found: int | None, sizes: Mapping[str, int]
) -> int | None:
    """The greatest size no larger than ``found`` at which the formulas hold, the others at these sizes."""
    if not found:
        return None
    point = model.point(sizes, but=symbol)
    conditions = tuple(each for each in model.conditions if symbol in each.names)
    last = max(allowed.smallest, found - MOST_REFUSED * allowed.multiple_of)
    for size in range(found, last - 1, -allowed.multiple_of):
        try:
            check_sizes({**point, symbol: size}, model.symbols, conditions, {})
        except FxcostError:
            continue
        return size
    return None


def _binding(along: Footprint, symbol: str, found: int | None, allowed: SymbolRange) -> str:
    """The part that a greater size makes larger than what fits, or the largest where no size fits."""
    low = allowed.smallest
    high = (found or low) + allowed.multiple_of
    after, before = ({**_parts(along, symbol, size)} for size in (high, low))
    if found is None:
        return max(before, key=lambda part: before[part])
    return max(after, key=lambda part: after[part] - before[part])


def _parts(along: Footprint, symbol: str, size: int) -> dict[str, Fraction]:
    most = max((evaluate(each.bytes, {symbol: size}) for each in along.moments), default=0)
    parts = {
        "weights": along.weights + along.buffers,
        "cache": evaluate(along.state, {symbol: size}),
        "inputs": evaluate(along.inputs, {symbol: size}),
        "activations": most,
    }
    return {part: Fraction(value) for part, value in parts.items()}
