"""Interval arithmetic on sizes, and the direction in which they grow."""

from itertools import pairwise

import pytest

from fxcost.formulas.expressions import evaluate, parse
from fxcost.formulas.ranges.interval_arithmetic import direction, least, settle, span

NAMES = ("B", "H", "W", "S")


@pytest.mark.parametrize(
    "text", ["S//3 + 2", "Max(S, 7)*2", "S**2 - 3", "Min(5, S)", "ceiling(S/4)*S", "5 - S", "Mod(S, 3)", "-2*S*(S + 1)"]
)
def test_sizes_stay_between_the_ends_of_their_span(text: str) -> None:
    expr = parse(text, NAMES)
    for low, high in ((1, 60), (3, 4), (9, 9), (5, None)):
        least, greatest = span(expr, {"S": (low, high)})
        values = [evaluate(expr, {"S": n}) for n in range(low, (high or 60) + 1)]
        assert least is None or least <= min(values)
        assert greatest is None or greatest >= max(values)
        if low == high and "Mod" not in text:
            assert least == greatest == values[0]


@pytest.mark.parametrize("text", ["S//3 + 2", "-S + S//2", "3 - S**2", "Max(4, S)", "Mod(S, 5)", "S*(S - 9)", "7"])
def test_directions_are_never_wrong(text: str) -> None:
    expr = parse(text, NAMES)
    values = [evaluate(expr, {"S": n}) for n in range(9, 80)]
    steps = {(b > a) - (b < a) for a, b in pairwise(values)}
    way = direction(expr)
    if way is not None:
        assert -way not in steps or way == 0
    if text in ("S//3 + 2", "Max(4, S)", "3 - S**2"):
        assert way in (1, -1)


@pytest.mark.parametrize(
    "text", ["Mod(32/B, 3)", "Mod(1, -2*B**2)", "Mod(B, 7)", "Mod(B, H)", "Mod(-B, 5)", "Mod(B, H - 4)"]
)
def test_remainders_stay_between_the_ends_of_their_span(text: str) -> None:
    expr = parse(text, NAMES)
    low, high = span(expr, {"H": (1, 3), "B": (1, 20)})
    values = [evaluate(expr, {"B": b, "H": h}) for b in range(1, 21) for h in range(1, 4)]
    assert low is None or low <= min(values)
    assert high is None or high >= max(values)


def test_what_divides_by_zero_once_settled_is_left() -> None:
    expr = parse("1/Min(0, B)", NAMES)
    assert settle(expr, {"B": (1, None)}) == expr


def test_settled_sizes_are_the_same_sizes() -> None:
    expr = parse("Max(0, S - Min(2, S))", NAMES)
    assert settle(expr, {"S": (3, None)}) == parse("S - 2", NAMES)
    assert settle(parse("Min(8, 2*B*S)", NAMES), {"B": (1, None), "S": (2, None)}) == parse("Min(8, 2*B*S)", NAMES)
    assert settle(parse("Min(8, 2*B*S)", NAMES), {"B": (1, None), "S": (4, None)}) == 8
    assert settle(parse("Min(8, S)", NAMES), {"S": (1, 8)}) == parse("S", NAMES)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("B*S - B", 0),
        ("B*(S - 1) + 1", 1),
        ("1 - B*((-5*S)//8)", 2),
        ("(H - 2)*(W - 3) + H*W - 6", None),
        ("H*W - B", None),
        ("S - 8*(S//8)", None),
    ],
)
def test_least_is_a_lower_bound(text: str, found: int | None) -> None:
    """At sizes from 1; a term that falls, or two of which one falls below 0, is not settled."""
    expr = parse(text, NAMES)
    low = least(expr, {})
    assert low == found
    if low is not None:
        values = [evaluate(expr, {"B": b, "S": s, "H": 1, "W": 1}) for b in range(1, 9) for s in range(1, 9)]
        assert min(values) == low
    assert least(parse("(H - 2)*(W - 3)", NAMES), {"H": (2, None), "W": (3, 9)}) == 0
