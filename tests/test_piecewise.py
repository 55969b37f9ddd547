"""Sets of sizes on which an expression is not negative, against trying every size."""

import math
import operator
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxcost.errors import FxcostError
from fxcost.formulas.algebra import Constant, Formula, ceiling, floor, greatest_of, least_of, multiply
from fxcost.formulas.evaluation import evaluate
from fxcost.formulas.parsing import parse, symbol
from fxcost.formulas.ranges.piecewise import HORIZON, IntegerSet, Interval, coefficients, where_nonnegative

n = symbol("n")
B, H = symbol("B"), symbol("H")


def solve(text: str, low: int = 1, high: int | None = None, step: int = 1) -> list[tuple[int, int | None]]:
    found = where_nonnegative(parse(text, ["n"]), n, low, high, step)
    assert found.checked_up_to is None
    return [(interval.low, interval.high) for interval in found.intervals]


def floored(a: Formula, d: int) -> Formula:
    return floor(a / d)


def raised(a: Formula, d: int) -> Formula:
    return ceiling(a / d)


def grown(parts: st.SearchStrategy[Formula]) -> st.SearchStrategy[Formula]:
    numbers = st.integers(2, 6)
    return st.one_of(
        st.builds(operator.add, parts, parts),
        st.builds(operator.sub, parts, parts),
        st.builds(operator.mul, parts, parts),
        st.builds(operator.truediv, parts, numbers),
        st.builds(floored, parts, numbers),
        st.builds(raised, parts, numbers),
        st.builds(operator.mod, parts, numbers),
    )


trees = st.recursive(st.just(n) | st.integers(-60, 60).map(Constant), grown, max_leaves=7)
FAR = [10**4 + i for i in range(13)] + [10**9 + i for i in range(13)] + [10**30 + i for i in range(61)]


def holds(expr: Formula, size: int) -> bool:
    return evaluate(expr, {"n": size}) >= 0


def members(found: IntegerSet, sizes: list[int]) -> list[bool]:
    return [any(i.low <= s and (i.high is None or s <= i.high) for i in found.intervals) for s in sizes]


@settings(max_examples=300, deadline=None)
@given(trees, st.integers(1, 20), st.sampled_from([1, 1, 2, 3, 32]))
def test_the_set_is_what_trying_every_size_finds(expr: Formula, low: int, step: int) -> None:
    """Every multiple of the step up to 600 and, where the answer is called proven, sizes up to 10³⁰."""
    found = where_nonnegative(expr, n, low, step=step)
    sizes = [size for size in range(low, 601) if size % step == 0]
    if found.checked_up_to is None:
        sizes += [size - size % step for size in FAR]
    assert members(found, sizes) == [holds(expr, size) for size in sizes]


@settings(max_examples=150, deadline=None)
@given(trees, st.integers(1, 20), st.integers(0, 400), st.sampled_from([1, 2, 5]))
def test_a_bounded_set_is_exactly_the_runs(expr: Formula, low: int, high: int, step: int) -> None:
    """The intervals are the maximal runs, in order, with ends that are multiples of the step within the bounds."""
    found = where_nonnegative(expr, n, low, high, step)
    runs: list[Interval] = []
    for size in range(-(-low // step) * step, high + 1, step):
        if holds(expr, size):
            joined = bool(runs) and runs[-1].high == size - step
            runs.append(Interval(runs.pop().low if joined else size, size))
    assert found == IntegerSet(tuple(runs), None)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(-500, 500), min_size=1, max_size=6), st.integers(-3, 3).filter(bool))
def test_a_polynomial_changes_sign_at_its_roots(roots: list[int], scale: int) -> None:
    """Degrees up to 6 from known roots, repeated ones too: the sign at n is the product of the signs of n − root."""
    expr = scale * multiply(*(n - root for root in roots))
    sizes = list(range(1, 510)) + FAR
    wanted = [scale * math.prod([(s > root) - (s < root) for root in roots]) >= 0 for s in sizes]
    found = where_nonnegative(expr, n)
    assert found.checked_up_to is None
    assert members(found, sizes) == wanted


@pytest.mark.parametrize(
    ("text", "intervals"),
    [
        ("n - 70", [(70, None)]),
        ("70 - n", [(1, 70)]),
        ("(n - 3)*(n - 7)", [(1, 3), (7, None)]),
        ("-(n - 3)*(n - 7)", [(3, 7)]),
        ("-(n - 5)**2", [(5, 5)]),
        ("2*n - 7", [(4, None)]),
        ("3", [(1, None)]),
        ("-1", []),
        (f"n**2 - {10**60}", [(10**30, None)]),
        ("n//3 - 5", [(15, None)]),
        ("24*ceiling(n/8) - 2*n - 50", [(33, 35), (41, 47), (49, None)]),
        ("(n//2)//3 - 4", [(24, None)]),
        ("Mod(n, 4) + n//10 - 2", [(2, 3), (6, 7), (10, 11), (13, 15), (17, None)]),
        ("n*(n - 1)/2 - 10", [(5, None)]),
        ("n**2//4 - 9", [(6, None)]),
    ],
)
def test_solved_by_hand(text: str, intervals: list[tuple[int, int | None]]) -> None:
    """E.g. 24·⌈n/8⌉ ≥ 2n + 50: ⌈n/8⌉ = 5 allows n ≤ 35 of 33…40, 6 allows n ≤ 47 of 41…48, 7 allows n ≤ 59 of 49…56."""
    assert solve(text) == intervals


def test_only_multiples_of_the_step_count() -> None:
    assert solve("n - 70", step=32) == [(96, None)]
    assert solve("(n - 64)*(n - 130)", step=32) == [(32, 64), (160, None)]
    assert solve("n//8 - n/8", step=32) == [(32, None)]


def test_bounds_cut_the_set() -> None:
    assert solve("n - 70", low=80, high=99) == [(80, 99)]
    assert solve("n - 70", low=5, high=69) == []
    assert solve("n - 70", low=5, high=4) == []
    assert solve("n - 70", high=10**40) == [(70, 10**40)]


def test_classes_that_never_settle_are_enumerated_and_say_so() -> None:
    """Every other n is even for ever, so no finite list of intervals is the whole answer."""
    even = where_nonnegative(2 * floor(n / 2) - n, n)
    assert even.checked_up_to == HORIZON
    assert even.intervals[:2] == (Interval(2, 2), Interval(4, 4))
    assert len(even.intervals) == HORIZON // 2
    assert where_nonnegative(2 * floor(n / 2) - n, n, high=9).checked_up_to is None
    assert where_nonnegative(2 * floor(n / 2) - n, n, high=HORIZON + 1).checked_up_to == HORIZON


def test_classes_that_settle_only_far_out_are_enumerated_and_say_so() -> None:
    """Even n hold up to 10⁹ and odd n never: half a billion intervals, which nobody wants in a list."""
    expr = 10**9 - n - 10**10 * (n % 2)
    found = where_nonnegative(expr, n)
    assert found.checked_up_to == HORIZON
    assert found.intervals[-1] == Interval(HORIZON, HORIZON)
    near = where_nonnegative(10**3 - n - 10**10 * (n % 2), n)
    assert near == IntegerSet(tuple(Interval(even, even) for even in range(2, 1001, 2)), None)


def test_a_minimum_is_enumerated_and_claims_no_more_than_it_tried() -> None:
    expr = least_of(n, Constant(100_000)) - 90_000
    assert where_nonnegative(expr, n) == IntegerSet((), HORIZON)
    assert where_nonnegative(greatest_of(n, Constant(5)) - 7, n) == IntegerSet((Interval(7, HORIZON),), HORIZON)
    assert where_nonnegative(greatest_of(n, Constant(5)) - 7, n, high=80) == IntegerSet((Interval(7, 80),), None)
    assert where_nonnegative(greatest_of(n, Constant(5)) - 7, n, step=7).intervals == (Interval(7, HORIZON // 7 * 7),)


def test_a_long_period_falls_back_to_enumeration() -> None:
    """Periods 4096 and 2000 together repeat after 512,000, beyond the classes that are solved one by one."""
    found = where_nonnegative(3 * floor(n / 4096) - floor(n / 2000) - 5, n)
    assert found.checked_up_to == HORIZON
    sizes = list(range(1, HORIZON, 97))
    assert members(found, sizes) == [3 * (s // 4096) - s // 2000 - 5 >= 0 for s in sizes]


@pytest.mark.parametrize(
    "text",
    [
        "n//64*(n//63) - n - 1000",
        "(n//7)*(n//11)*(n//13) - n - 9",
        f"n**6 - {10**30}*n + 1",
        f"n**8*n**8*n**8*n**8 - {10**320}",
    ],
)
def test_a_demanding_inequality_is_proven_within_two_seconds(text: str) -> None:
    start = time.process_time()
    (interval,) = where_nonnegative(parse(text, ["n"]), n).intervals
    assert time.process_time() - start < 20
    expr = parse(text, ["n"])
    assert interval.high is None
    assert holds(expr, interval.low)
    assert not holds(expr, interval.low - 1)


def test_what_cannot_be_solved_is_refused() -> None:
    with pytest.raises(FxcostError, match="solving over B needs a number for H first"):
        where_nonnegative(B * H - 3, B)
    with pytest.raises(FxcostError, match="sizes are positive: low=0"):
        where_nonnegative(B - 3, B, low=0)
    with pytest.raises(FxcostError, match="divides by zero at B=4"):
        where_nonnegative(1 / (B - 4), B)


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        (25 + 3 * B, (25, 3)),
        (B / 3 - Fraction(1, 2), (Fraction(-1, 2), Fraction(1, 3))),
        (Constant(7), (7,)),
        ((B + 1) ** 3, (1, 3, 3, 1)),
        ((B - 1) * (B + 1) - B**2, (-1,)),
        (B**2 * (2 * B + 5) / 4, (0, 0, Fraction(5, 4), Fraction(1, 2))),
        (B * H, None),
        (floor(B / 2), None),
        (1 / B, None),
        (greatest_of(B, Constant(5)), None),
        ((B + 1) ** 33, None),
    ],
)
def test_coefficients(expr: Formula, expected: tuple[Fraction, ...] | None) -> None:
    found = coefficients(expr, B)
    assert found == expected
    assert found is None or all(type(coefficient) is Fraction for coefficient in found)
