"""Formulas and numbers: what costs are made of, evaluated, summed, and turned from elements into bytes."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from typing_extensions import TypeVar

from fxcost.dtypes import DTYPES
from fxcost.errors import FxcostError, near_matches
from fxcost.formulas.algebra import Exact, Formula, formula_of
from fxcost.formulas.evaluation import compile_formula, total
from fxcost.work import MULTIPLY_ADD

Quantity = Formula | Exact
"""A formula, or its value at given sizes."""
Q = TypeVar("Q", Formula, Exact, default=Formula)
"""What costs are made of, which are formulas where nothing else is said."""
R = TypeVar("R", Formula, Exact)
"""What they are made of once a function is applied to each."""


def number(quantity: Quantity) -> Fraction:
    """The value of an evaluated quantity."""
    return quantity if isinstance(quantity, Fraction) else Fraction(int(quantity))


def multiply_adds(flops: Q) -> Q:
    """The multiply-adds that so many FLOPs of contractions are."""
    found: Any = Fraction(1, MULTIPLY_ADD) * flops
    if not isinstance(flops, Formula) and found.denominator == 1:
        found = found.numerator
    return found


LARGEST_AMOUNT = 10**200
"""Beyond all that any model does, and far from where a float ends."""


def fault_of(value: int | Fraction, point: Mapping[str, int], *, whole: bool) -> str:
    """Why a value that a formula has at a point is no amount of work or elements; empty where it is one."""
    at = f" at {', '.join(f'{name}={size}' for name, size in point.items())}" if point else ""
    if abs(value) > LARGEST_AMOUNT:
        return f"is beyond 10^200{at}, and no model does as much"
    told = value if value.denominator < LARGEST_AMOUNT else f"about {float(value):.6g}"
    if value < 0:
        return f"is {told}{at}, and no amount is negative"
    return f"is {told}{at}, and no whole number" if whole and value.denominator != 1 else ""


Counts = Mapping[str, Mapping[str, Q]]
"""Element counts by role (``weight``, ``state``, ``activation``), then by dtype."""

Widths = Mapping[str, int] | Mapping[str, int | Fraction]
"""Bits of one stored element by dtype, or by the format that stands in a dtype's place."""

DTYPE_BITS: Mapping[str, int] = {name: each.bits for name, each in DTYPES.items()}
"""Bits of one stored element of each torch dtype."""


class Mapper:
    """A function on quantities that is called once for each distinct formula."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.sizes = sizes
        self.known: dict[Formula, int | Fraction] = {}

    def __call__(self, quantity: Quantity) -> int | Fraction:
        if not isinstance(quantity, Formula):
            return quantity
        found = self.known.get(quantity)
        if found is None:
            found = self.known[quantity] = compile_formula(quantity)(self.sizes)
        return found


def sum_of(quantities: Iterable[Q]) -> Q:
    """All quantities together; formulas are summed as monomials, never expanded."""
    quantities = list(quantities)
    formulas = any(isinstance(q, Formula) for q in quantities)
    found: Any = total(map(formula_of, quantities)) if formulas else sum(quantities)
    return found


def sum_counts(many: Iterable[Counts[Q]]) -> Counts[Q]:
    """All counts together, each role and dtype for itself."""
    parts: dict[tuple[str, str], list[Q]] = {}
    for counts in many:
        for role, by_dtype in counts.items():
            for dtype, elements in by_dtype.items():
                parts.setdefault((role, dtype), []).append(elements)
    summed: dict[str, dict[str, Q]] = {}
    for (role, dtype), elements in sorted(parts.items()):
        summed.setdefault(role, {})[dtype] = sum_of(elements)
    return summed


def bytes_of(counts: Counts[Any], bits: Widths) -> Quantity:
    """Bytes of elements when one of each dtype takes so many bits."""
    elements = [(n, dtype) for by_dtype in counts.values() for dtype, n in by_dtype.items()]
    if strange := sorted({dtype for _, dtype in elements} - bits.keys()):
        raise FxcostError(f"nothing is known of the size of {', '.join(strange)}{near_matches(strange[0], bits)}")
    each = [(n, bits[dtype]) for n, dtype in elements]
    if any(isinstance(n, Formula) for n, _ in each):
        return total(formula_of(n) * Fraction(width, 8) for n, width in each)
    whole = sum((number(n) * width / 8 for n, width in each), Fraction(0))
    return int(whole) if whole.denominator == 1 else whole
