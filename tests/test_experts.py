"""Experts that are read: an expectation under uniform routing, solved exactly, or as many as there can be."""

import random
from fractions import Fraction

import numpy as np
import pytest

from fxcost.costs.experts import with_experts
from fxcost.errors import FxcostError
from fxcost.formulas.algebra import Constant, Formula, Touched, touched
from fxcost.formulas.arrays.tables import SizeArrays, Table
from fxcost.formulas.evaluation import evaluate
from fxcost.formulas.expressions import parse, symbol, to_text
from fxcost.formulas.ranges.extrema import where_nonnegative
from fxcost.formulas.ranges.interval_arithmetic import span


@pytest.mark.parametrize(("things", "picked", "rows"), [(4, 1, 3), (5, 2, 2), (6, 3, 2)])
def test_the_expectation_is_that_of_all_choices(things: int, picked: int, rows: int) -> None:
    """Counted over every way in which rows can pick, all alike."""
    from itertools import combinations, product

    ways = list(product(combinations(range(things), picked), repeat=rows))
    mean = Fraction(sum(len({each for row in way for each in row}) for way in ways), len(ways))
    found = Fraction(evaluate(touched(Constant(things), Constant(picked), symbol("B")), {"B": rows}))
    assert 0 <= mean - found <= Fraction(1, 2**32)


def test_experts_of_deepseek_v3() -> None:
    """163 of 256 at 32 tokens that pick 8 each, where 164 were measured; never more than there are."""
    formula = parse("Touched(256, 8, B)", ["B"])
    assert 163 <= evaluate(formula, {"B": 32}) < 164
    assert evaluate(formula, {"B": 1}) == 8
    assert 255.99 < evaluate(formula, {"B": 10**9}) <= 256
    assert to_text(formula) == "Touched(256, 8, B)"
    assert parse(to_text(formula), ["B"]) == formula


def test_broken_expectations_are_refused() -> None:
    for text in ("Touched(256, 0, B)", "Touched(256, 1/2, B)", "Touched(256, 8)"):
        with pytest.raises(FxcostError):
            parse(text, ["B"])


def drawn(random_numbers: random.Random) -> Formula:
    a, b = random_numbers.randint(-3000, 3000), random_numbers.randint(-200, 200)
    sign = random_numbers.choice([-1, 1])
    things, picked = random_numbers.randint(2, 60), random_numbers.randint(1, 6)
    text = f"{sign * random_numbers.randint(1, 90)}*Touched({things}, {min(picked, things)}, {random_numbers.randint(1, 4)}*B)"
    return parse(f"{text} + {b}*B + {a}", ["B"])


def test_solved_as_each_size_says() -> None:
    numbers = random.Random(7)  # noqa: S311  # drawn, and drawn again the same
    for _ in range(150):
        formula = drawn(numbers)
        low, step = numbers.randint(1, 40), numbers.choice([1, 1, 3])
        high = numbers.choice([None, low + numbers.randint(0, 400)])
        found = where_nonnegative(formula, symbol("B"), low, high, step)
        assert found.checked_up_to is None, formula
        for size in range(-(-low // step) * step, (high or 900) + 1, step):
            holds = any(i.low <= size and (i.high is None or size <= i.high) for i in found.intervals)
            assert holds == (evaluate(formula, {"B": size}) >= 0), (formula, size)


def test_arrays_have_the_same_values() -> None:
    formula = parse("7*Touched(256, 8, B)*S/3 + B", ["B", "S"])
    sizes = {"B": [1, 5, 32, 4096], "S": [3, 1, 7, 2]}
    points = SizeArrays.of({name: np.array(each) for name, each in sizes.items()})
    (found,) = Table.of([formula]).exact(points.columns).values()
    assert [Fraction(each) for each in found] == [
        Fraction(evaluate(formula, {"B": b, "S": s})) for b, s in zip(sizes["B"], sizes["S"], strict=True)
    ]


def test_ends_between_which_it_lies() -> None:
    formula = parse("Touched(256, 8, B)", ["B"])
    low, high = span(formula, {"B": (2, 64)})
    assert (low, high) == (evaluate(formula, {"B": 2}), evaluate(formula, {"B": 64}))
    assert span(formula, {})[1] == 256
    assert isinstance(formula, Touched)


def test_most_are_all_that_there_can_be() -> None:
    from tests.test_roofline import layer, model

    costs = model(layer("B", "0", "5*Touched(256, 8, B)"))
    most = with_experts(costs, "most")
    assert with_experts(costs, "expected") is costs
    assert "Min(256, 8*B)" in str(most.layers[0].cost.reads)
    assert "Touched" not in str(most.layers[0].cost.reads)
