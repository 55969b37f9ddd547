"""Sets of sizes of expressions with a least or greatest of two lines in them, against trying every size."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxcost.formulas.algebra import Constant, Formula, greatest_of, least_of
from fxcost.formulas.evaluation import evaluate
from fxcost.formulas.parsing import parse, symbol
from fxcost.formulas.ranges.extrema import stretches, where_nonnegative
from fxcost.formulas.ranges.piecewise import Interval

n = symbol("n")

lines = st.builds(lambda a, b: a * n + b, st.integers(-4, 4), st.integers(-40, 40))
bent = st.builds(lambda kind, a, b: kind(a, b), st.sampled_from([least_of, greatest_of]), lines, lines)
sums = st.builds(
    lambda first, second, weight, line: first + Constant(weight) * second + line, bent, bent, st.integers(-3, 3), lines
)
nested = st.builds(lambda kind, inner, line: kind(inner, line), st.sampled_from([least_of, greatest_of]), bent, lines)


@settings(max_examples=200, deadline=None)
@given(
    expr=sums | nested,
    low=st.integers(1, 20),
    length=st.none() | st.integers(0, 80),
    step=st.integers(1, 4),
)
def test_the_set_is_that_of_trying_every_size(expr: Formula, low: int, length: int | None, step: int) -> None:
    high = None if length is None else low + length
    found = where_nonnegative(expr, n, low, high, step)
    assert found.checked_up_to is None
    for size in range(low, (high or 120) + 1):
        inside = any(i.low <= size and (i.high is None or size <= i.high) for i in found.intervals)
        if size % step == 0:
            assert inside == (evaluate(expr, {"n": size}) >= 0), size
    gaps = zip(found.intervals, found.intervals[1:], strict=False)
    assert all(a.high is not None and a.high + step < b.low for a, b in gaps)


def test_beyond_every_size_that_could_be_tried() -> None:
    """A window of 2³⁰: the expression turns at 2³⁰ − 1 and comes back to zero at 3·2³⁰ − 3."""
    found = where_nonnegative(parse("3*Min(n + 1, 1073741824) - n - 3", ["n"]), n)
    assert found.intervals == (Interval(1, 3 * 2**30 - 3),)
    assert found.checked_up_to is None


def test_stretches_meet_without_gap_or_overlap() -> None:
    found = list(stretches(parse("Min(n + 1, 8) + Max(n, 20)", ["n"]), n))
    assert [(low, high) for low, high, _ in found] == [(1, 7), (8, 20), (21, None)]
    assert [expr for _, _, expr in found] == [n + 21, Constant(28), n + 8]


@pytest.mark.parametrize("text", ["Min(n, 3, n**2) - 2", "Min(floor(n/3), 4) - 3", "Min(n**2, 30) - 10"])
def test_other_extremes_are_tried_one_by_one(text: str) -> None:
    expr = parse(text, ["n"])
    found = where_nonnegative(expr, n, 1, 100)
    assert found.intervals == (Interval(next(s for s in range(1, 101) if evaluate(expr, {"n": s}) >= 0), 100),)
