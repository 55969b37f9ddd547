"""Where formulas hold: ranges read off conditions, and sizes refused outside them."""

from itertools import pairwise
from typing import Any

import pytest
import sympy

from fxcost.conditions import Condition, SymbolRange, check_sizes, direction, lower_bound, settle, tighten
from fxcost.errors import FxcostError
from fxcost.expressions import evaluate, parse

NAMES = ("B", "H", "W", "S")


def condition(left: str, relation: Any, right: str) -> Condition:
    return Condition(parse(left, NAMES), relation, parse(right, NAMES), "model.py:1")


def holds_up_to(range_: SymbolRange, top: int) -> set[int]:
    return {n for n in range(1, top) if range_.refusal("S", n) is None}


@pytest.mark.parametrize(
    ("left", "relation", "right"),
    [
        ("S", ">", "1"),
        ("S", "!=", "1"),
        ("512", ">=", "S"),
        ("S//32", ">=", "2"),
        ("(S - 1)//4 - 3", ">", "0"),
        ("Mod(S, 14)", "==", "0"),
        ("S", "==", "Min(512, S)"),
        ("100 - 3*S", ">=", "1"),
    ],
)
def test_a_condition_on_one_symbol_becomes_its_range(left: str, relation: Any, right: str) -> None:
    """By trying every size up to 600."""
    given = condition(left, relation, right)
    ranges, kept = tighten({"S": SymbolRange()}, [given])
    assert kept == ()
    assert holds_up_to(ranges["S"], 600) == {n for n in range(1, 600) if given.holds({"S": n})}


def test_what_a_range_cannot_say_is_kept() -> None:
    for given in (condition("S", "!=", "7"), condition("H", ">=", "W"), condition("Mod(S, 3)", "==", "1")):
        _, kept = tighten({"S": SymbolRange(), "H": SymbolRange(), "W": SymbolRange()}, [given])
        assert kept == (given,)


def test_what_ranges_imply_is_dropped() -> None:
    implied = [condition("128*B*((H - 5)//8 + 1)", "!=", "0"), condition("H*W", ">=", "25")]
    _, kept = tighten({"B": SymbolRange(), "H": SymbolRange(5), "W": SymbolRange(5)}, implied)
    assert kept == ()
    _, kept = tighten({"B": SymbolRange(), "H": SymbolRange(4), "W": SymbolRange(5)}, implied)
    assert set(kept) == set(implied)


@pytest.mark.parametrize(
    "text", ["S//3 + 2", "Max(S, 7)*2", "S**2 - 3", "Min(5, S)", "ceiling(S/4)*S", "5 - S", "Mod(S, 3)"]
)
def test_bounds_are_never_passed(text: str) -> None:
    expr = parse(text, NAMES)
    for low in (1, 3, 9):
        bound = lower_bound(expr, {"S": low})
        assert bound is None or all(evaluate(expr, {"S": n}) >= bound for n in range(low, 60))


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


def test_settled_sizes_are_the_same_sizes() -> None:
    expr = parse("Max(0, S - Min(2, S))", NAMES)
    assert settle(expr, {"S": 3}) == parse("S - 2", NAMES)
    assert settle(parse("Min(8, 2*B*S)", NAMES), {"B": 1, "S": 2}).has(sympy.Min)
    assert settle(parse("Min(8, 2*B*S)", NAMES), {"B": 1, "S": 4}) == 8


def test_sizes_outside_are_refused_by_name() -> None:
    symbols = {"B": SymbolRange(), "S": SymbolRange(2, 512)}
    relation = condition("B", ">=", "S")
    for sizes, words in (
        ({"B": 1, "S": 513}, "S=513 is above 512"),
        ({"B": 1, "S": 1}, "S=1 is below 2"),
        ({"B": 1}, "no size is given for S"),
        ({"B": 1, "S": 4, "Q": 2}, "no symbol Q; they have B, S, H"),
        ({"B": 1, "S": 4, "H": 2}, "H is fixed at 224"),
        ({"B": 3, "S": 4}, "they were traced where B ≥ S (asked for by model.py:1)"),
    ):
        with pytest.raises(FxcostError) as refused:
            check_sizes(sizes, symbols, (relation,), {"H": 224})
        assert words in str(refused.value)
    check_sizes({"B": 4, "S": 4, "H": 224}, symbols, (relation,), {"H": 224})
