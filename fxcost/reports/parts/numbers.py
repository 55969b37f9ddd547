"""Numbers as people read them, with the unit in the column's header."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fractions import Fraction
from itertools import groupby
from typing import Any

from fxcost.costs.model import Costs
from fxcost.formulas.algebra import Formula, Sum
from fxcost.formulas.expressions import to_pretty
from fxcost.formulas.quantities import Quantity, number

PREFIXES = ((10**15, "P"), (10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"), (1, ""))


def prefix_for(largest: Quantity | Fraction) -> tuple[int, str]:
    """The SI factor and prefix in which the largest number of a column reads well."""
    size = abs(number(largest))
    return next(((factor, prefix) for factor, prefix in PREFIXES if size >= factor), (1, ""))


def scaled(value: Quantity | Fraction, factor: int) -> str:
    """The number in units of ``factor``, three decimals; empty for zero, and what rounds to zero says so."""
    amount = number(value) / factor
    if not amount:
        return ""
    if factor == 1 and amount.denominator == 1:
        return f"{int(amount):,}"
    if 0 < amount < Fraction(1, 2000):
        return "<0.001"
    return f"{float(amount):,.3f}"


def share(part: Quantity | Fraction, whole: Quantity | Fraction) -> str:
    """A percentage, one decimal; empty when there is no whole."""
    return f"{float(100 * number(part) / number(whole)):.1f}" if whole else ""


def decimal(value: Fraction | None, digits: int = 1) -> str:
    """A rational to some decimals; a dash for none."""
    return "–" if value is None else f"{float(value):,.{digits}f}"


def formula(quantity: Quantity) -> str:
    """A formula for the terminal, or a number with thousands set apart."""
    return to_pretty(quantity) if isinstance(quantity, Formula) else f"{quantity:,}"


def shape(sizes: Iterable[Quantity]) -> str:
    """A shape such as ``1×64×112×112``, sums in parentheses; a scalar is ``scalar``."""
    return "×".join(f"({to_pretty(s)})" if isinstance(s, Sum) else formula(s) for s in sizes) or "scalar"


def sizes_text(sizes: Mapping[str, int]) -> str:
    """``B=1, H=224``; ``fixed sizes`` when there is no symbol."""
    return ", ".join(f"{name}={size}" for name, size in sizes.items()) or "fixed sizes"


def merged_name(names: list[str]) -> str:
    """One name for layers that repeat: ``layer3.1-5.conv1``, ``h.0-11.attn``; else the first, and how many more."""
    if len(names) == 1:
        return names[0]
    parts = [name.split(".") for name in names]
    if len({len(p) for p in parts}) == 1:
        merged = [_merged_part(list(dict.fromkeys(column))) for column in zip(*parts, strict=True)]
        combinations = 1
        for column in zip(*parts, strict=True):
            combinations *= len(set(column))
        if all(merged) and combinations == len(names):
            return ".".join(part or "" for part in merged)
    return f"{names[0]}, …"


def _merged_part(values: list[str]) -> str | None:
    """``0-11`` for the numbers 0 to 11, ``{bn1,bn2}`` for a few words, ``layer_{0-3}`` for words with a number."""
    if len(values) == 1:
        return values[0]
    matches = [re.fullmatch(r"(.*?)(\d+)", value) for value in values]
    stems = {match[1] for match in matches if match}
    if None not in matches and len(stems) == 1 and (len(values) > MOST_WORDS or stems == {""}):
        stem = stems.pop()
        numbers = _runs(sorted(int(match[2]) for match in matches if match))
        return f"{stem}{{{numbers}}}" if stem else numbers
    return "{" + ",".join(values) + "}" if len(values) <= MOST_WORDS else None


MOST_WORDS = 4


def _runs(numbers: list[int]) -> str:
    runs = [list(run) for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])]
    return ",".join(f"{run[0][1]}-{run[-1][1]}" if len(run) > 1 else str(run[0][1]) for run in runs)


def symbol_lines(model: Costs[Any]) -> tuple[str, ...]:
    """Where the formulas hold: ranges, fixed sizes, conditions."""
    lines = [f"{name}: {_allowed(model, name)}" for name in model.symbols]
    head = (f"symbols  {'; '.join(lines)}",) if lines else ()
    pins = tuple(f"fixed    {name}={pin.value}: {pin.where}" for name, pin in model.fixed.items())
    left = tuple(f"only where {name} is {r} ({r.where})" for name, r in model.symbols.items() if r.where)
    holds = tuple(f"only where {c}" + (f" ({c.where})" if c.where else "") for c in model.conditions)
    return head + pins + left + holds


MOST_TRIED = 2000
"""Sizes of a symbol that are held against conditions to tell which of them are left."""


def _allowed(model: Costs[Any], name: str) -> str:
    """The sizes of a symbol that its range and, with the others at their usual sizes, the conditions leave."""
    allowed, usual = model.symbols[name], model.usual
    conditions = [condition for condition in model.conditions if name in condition.names]
    others = {each: size for each, size in usual.items() if any(each in c.names for c in conditions) and each != name}
    if not conditions or name not in usual or len(others) < len({n for c in conditions for n in c.names} - {name}):
        return str(allowed)
    last = max(2 * usual[name], allowed.smallest + 8 * allowed.multiple_of)
    tried = range(allowed.smallest, last + 1, allowed.multiple_of)[:MOST_TRIED]
    left = [
        size
        for size in tried
        if not allowed.refusal(name, size) and all(c.holds({**others, name: size}) for c in conditions)
    ]
    if not left or len(left) == len(tried):
        return str(allowed)
    where = f" (where {sizes_text(others)})" if others else ""
    together = len(left) == (left[-1] - left[0]) // allowed.multiple_of + 1
    high = None if left[-1] == tried[-1] else left[-1]
    span = replace(allowed, low=left[0], high=high)
    return f"{span}{where}" if together else f"{span}, {len(left)} of these {len(tried)} sizes{where}"
