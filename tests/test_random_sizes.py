"""Sizes drawn at random: where formulas hold, alike in every run, and as many as there are."""

from dataclasses import replace
from typing import Any

import pytest

import fxcost
from fxcost.errors import FxcostError
from fxcost.formulas.expressions import symbol
from fxcost.formulas.ranges.domain import Condition, SymbolRange
from fxcost.verify.random_sizes import drawn_sizes, sizes_near


@pytest.fixture
def costs(small_model: Any) -> Any:
    """Of images of any size from one pixel on; usually 33 by 35."""
    return fxcost.load(small_model)


def test_sizes_near_are_within_the_ranges_and_alike_in_every_run(costs: Any) -> None:
    sizes = sizes_near(costs, {"H": 12}, seed=3, many=4)
    assert sizes == sizes_near(costs, {"H": 12}, seed=3, many=4)
    assert sizes != sizes_near(costs, {"H": 12}, seed=4, many=4)
    assert sizes[0] == {"B": 1, "H": 12, "W": 35}
    assert len({tuple(point.values()) for point in sizes}) == 4
    for point in sizes:
        assert 1 <= point["B"] <= 3
        assert 6 <= point["H"] <= 12
        assert 17 <= point["W"] <= 35


def test_both_keep_to_ranges_multiples_and_conditions(costs: Any) -> None:
    symbols = {"B": SymbolRange(1, 2), "H": SymbolRange(32, None, 32), "W": SymbolRange(20, 40)}
    odd = Condition(symbol("W") % 2, "==", symbol("B") ** 0, "odd widths only")
    narrow = replace(costs, symbols=symbols, defaults={"B": 1, "H": 64, "W": 33}, conditions=(odd,))
    near = [point for seed in range(5) for point in sizes_near(narrow, {}, seed, 3)]
    drawn = [point for seed in "abcde" for point in drawn_sizes(narrow, seed, 2)]
    for point in near + drawn:
        assert all(symbols[name].refusal(name, size) is None for name, size in point.items())
        assert point["W"] % 2 == 1
    assert {point["B"] for point in near} == {point["B"] for point in drawn} == {1, 2}
    assert max(point["H"] for point in near) <= 96
    assert max(point["H"] for point in drawn) > 96


def test_fewer_where_there_are_fewer(costs: Any) -> None:
    one = replace(costs, symbols=dict.fromkeys("BHW", SymbolRange(1, 1)), defaults=dict.fromkeys("BHW", 1))
    assert sizes_near(one, {}, 0, 3) == (dict.fromkeys("BHW", 1),)
    assert drawn_sizes(one, "a", 3) == [dict.fromkeys("BHW", 1)]


def test_sizes_that_formulas_do_not_hold_for_are_refused(costs: Any) -> None:
    with pytest.raises(FxcostError, match="Q"):
        sizes_near(costs, {"Q": 3}, 0, 3)
