"""Where formulas hold: ranges read off conditions, and sizes refused outside them."""

from itertools import product
from typing import Any

import pytest

from fxcost.costs.files.records import to_model, to_record
from fxcost.costs.model import CostModel
from fxcost.errors import FxcostError
from fxcost.formulas.expressions import parse
from fxcost.formulas.ranges.domain import Condition, SymbolRange, check_sizes
from fxcost.formulas.ranges.propagation import tighten
from fxcost.reports.parts.numbers import symbol_lines

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
        ("(S - 1)//32", "==", "6"),
        ("7 - S//5", "==", "0"),
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
    of_both = condition("(H//14)*(W//14)", "==", "256")
    _, kept = tighten({"H": SymbolRange(224, 237), "W": SymbolRange(224, 237)}, [of_both])
    assert kept == ()
    _, kept = tighten({"H": SymbolRange(224, 238), "W": SymbolRange(224, 237)}, [of_both])
    assert kept == (of_both,)


def test_an_equality_said_both_ways_is_kept_once() -> None:
    given = condition("H//4", "==", "(H - 2)//4")
    _, kept = tighten({"H": SymbolRange(5)}, [given, condition("(H - 2)//4", "==", "H//4")])
    assert kept == (given,)


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


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        # 1 more than nothing, or more: −5·S/8 is below 0, and so is its floor
        ([("1", ">", "B*((-5*S)//8)")], []),
        # B·(S − 1) is never negative
        ([("B*S + 1", ">", "B")], []),
        ([("B*S", ">", "B")], [0]),
        ([("H", ">", "W"), ("H + 1", ">=", "W"), ("H", ">=", "W")], [0]),
        ([("H + 1", ">=", "W"), ("H", ">", "W")], [1]),
        ([("H", ">", "W"), ("H", "!=", "W"), ("W", "!=", "H")], [0]),
        ([("H", "==", "W + 2"), ("H", ">", "W"), ("W", "!=", "H")], [0]),
        ([("H", ">", "W"), ("H", ">=", "W + 1")], [0]),
        ([("H", ">=", "W"), ("H", ">", "W")], [1]),
        ([("H", ">", "W"), ("H", ">=", "2*W")], [1]),
        ([("H", ">", "W"), ("W", "!=", "2*H")], [0]),
        ([("H", ">", "W"), ("2*W", "!=", "H")], [0, 1]),
        ([("H", ">", "W/3"), ("2*H", ">", "W")], [0, 1]),
    ],
)
def test_what_follows_from_the_rest_is_dropped(given: list[tuple[str, Any, str]], kept: list[int]) -> None:
    """And what is left refuses the same sizes, of all up to 12."""
    conditions = [condition(*each) for each in given]
    _, left = tighten({name: SymbolRange() for name in NAMES}, list(conditions))
    assert list(left) == [conditions[index] for index in kept]
    for h, w in product(range(1, 13), repeat=2):
        sizes = {"B": h, "S": w, "H": h, "W": w}
        assert all(c.holds(sizes) for c in left) == all(c.holds(sizes) for c in conditions)


def test_what_multiples_imply_is_dropped() -> None:
    """Where H is a multiple of 8, H/8 rows of 8 are all of it."""
    ranges, kept = tighten(
        {"H": SymbolRange(8)},
        [
            condition("Mod(H, 8)", "==", "0"),
            condition("H//(H//8)", "==", "8"),
            condition("H", "==", "(H//8)*(H//(H//8))"),
        ],
    )
    assert (ranges["H"], kept) == (SymbolRange(8, None, 8), ())


def test_a_range_of_an_equality_names_the_line_that_asked_for_it() -> None:
    ranges, _ = tighten({"S": SymbolRange(), "H": SymbolRange()}, [condition("S//8", "==", "16")])
    assert (ranges["S"].where, ranges["H"].where) == ("model.py:1", "")
    assert ranges["S"].refusal("S", 136) == (
        "S=136 is above 135, the largest S these formulas hold for (asked for by model.py:1)"
    )
    costs = CostModel("m", (), symbols=ranges)
    assert symbol_lines(costs)[1:] == ("only where S is 128 to 135 (model.py:1)",)
    assert to_model(to_record(costs), "here").symbols["S"].where == "model.py:1"
