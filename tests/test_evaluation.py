"""Exact arithmetic on expressions, against a plain walk over the tree in Fractions."""

import math
import operator
import random
from collections.abc import Mapping
from fractions import Fraction

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from fxcost.errors import FxcostError
from fxcost.formulas.algebra import Constant, Formula, ceiling, floor, greatest_of, least_of
from fxcost.formulas.evaluation import symbol_names
from fxcost.formulas.expressions import (
    assume_multiple,
    compile_formula,
    evaluate,
    parse,
    substitute,
    symbol,
    to_text,
    total,
)
from fxcost.formulas.with_sympy import from_sympy

B, H, S, W = (symbol(name) for name in "BHSW")
NAMES = ["B", "H", "W"]


def brute(formula: Formula, sizes: Mapping[str, int]) -> Fraction:
    """The value by definition, one node of sympy's tree at a time."""
    return walked(formula.sympy(), sizes)


def walked(expr: sympy.Basic, sizes: Mapping[str, int]) -> Fraction:
    if isinstance(expr, sympy.Symbol):
        return Fraction(sizes[expr.name])
    if isinstance(expr, sympy.Rational):
        return Fraction(int(expr.p), int(expr.q))
    values = [walked(argument, sizes) for argument in expr.args]
    by_kind = {
        "Add": lambda: sum(values),
        "Mul": lambda: math.prod(values),
        "Pow": lambda: values[0] ** int(values[1]),
        "floor": lambda: math.floor(values[0]),
        "ceiling": lambda: math.ceil(values[0]),
        "Mod": lambda: values[0] - values[1] * math.floor(values[0] / values[1]),
        "Min": lambda: min(values),
        "Max": lambda: max(values),
    }
    return Fraction(by_kind[type(expr).__name__]())


def floored(a: Formula, n: int) -> Formula:
    return floor(a / n)


def raised(a: Formula, n: int) -> Formula:
    return ceiling(a / n)


def grown(parts: st.SearchStrategy[Formula]) -> st.SearchStrategy[Formula]:
    """Expressions one operation larger; the numbers share factors with the multiples that the tests declare."""
    numbers = st.sampled_from([2, 3, 4, 5, 16, 32])
    return st.one_of(
        st.builds(operator.add, parts, parts),
        st.builds(operator.sub, parts, parts),
        st.builds(operator.mul, parts, parts),
        st.builds(operator.truediv, parts, numbers),
        st.builds(operator.pow, parts, st.integers(2, 3)),
        st.builds(floored, parts, numbers),
        st.builds(raised, parts, numbers),
        st.builds(operator.mod, parts, numbers),
        st.builds(greatest_of, parts, parts),
        st.builds(least_of, parts, parts),
    )


trees = st.recursive(st.sampled_from([B, H, W]) | st.integers(-9, 40).map(Constant), grown, max_leaves=9)
sizes = st.fixed_dictionaries(dict.fromkeys(NAMES, st.integers(1, 300)))


@settings(max_examples=300, deadline=None)
@given(trees, sizes)
def test_evaluation_equals_the_definition(expr: Formula, at: dict[str, int]) -> None:
    value = evaluate(expr, at)
    assert value == brute(expr, at)
    assert type(value) is int or (type(value) is Fraction and value.denominator > 1)


@settings(max_examples=200, deadline=None)
@given(trees, sizes, st.sets(st.sampled_from(NAMES)))
def test_substituting_some_sizes_changes_no_value(expr: Formula, at: dict[str, int], some: set[str]) -> None:
    less = substitute(expr, {name: at[name] for name in some})
    assert not set(symbol_names(less)) & some
    assert evaluate(less, at) == brute(expr, at)


@settings(max_examples=300, deadline=None)
@given(trees, st.integers(1, 9), st.integers(1, 9), st.sampled_from([2, 6, 32]))
def test_declared_multiples_change_no_value_at_multiples(expr: Formula, h: int, b: int, multiple: int) -> None:
    declared = assume_multiple(expr, {"H": multiple, "B": 3})
    at = {"H": h * multiple, "B": 3 * b, "W": 7}
    assert evaluate(declared, at) == brute(expr, at)


@settings(max_examples=100, deadline=None)
@given(st.lists(trees, max_size=6), sizes, st.randoms(use_true_random=False))
def test_a_total_is_the_sum_in_any_order(exprs: list[Formula], at: dict[str, int], rng: random.Random) -> None:
    summed = total(exprs)
    assert evaluate(summed, at) == sum(brute(expr, at) for expr in exprs)
    rng.shuffle(exprs)
    assert total(exprs) == summed


def test_big_sizes_stay_exact() -> None:
    """⌊(10³⁰ − 1)/2⌋ is 5·10²⁹ − 1; floating point would answer 5·10²⁹."""
    assert evaluate(floor((B - 1) / 2), {"B": 10**30}) == 5 * 10**29 - 1
    assert evaluate(B / 3, {"B": 10**30}) == Fraction(10**30, 3)


def test_rounding_beside_whole_terms_stays_exact() -> None:
    """A number within 10⁻²⁰⁰ of an integer, where a numeric attempt at a floor gives up."""
    nearly_one = Fraction(10**200 - 1, 10**200)
    assert substitute(floor(B / 2 - nearly_one), {"B": 8}) == 3
    assert assume_multiple(floor(B / 2 - nearly_one), {"B": 2}) == B / 2 - 1
    assert assume_multiple(ceiling(B / 2 - nearly_one), {"B": 2}) == B / 2


def test_what_sympy_itself_gets_wrong_is_right() -> None:
    """By sympy 1.14, every y·(2x + 64)/6 is an integer, and the lesser of 1/(x·y) and 1 is 1."""
    assert evaluate(parse("H*(2*B + 64)//6", NAMES), {"B": 2, "H": 1}) == 11  # 68/6 = 11.3
    assert evaluate(parse("Min(1/(B*H), 1)", NAMES), {"B": 4, "H": 5}) == Fraction(1, 20)
    assert evaluate(parse("1//B + floor(H**-2)", NAMES), {"B": 4, "H": 5}) == 0


def test_a_whole_multiple_is_taken_out_only_where_proven() -> None:
    expr = parse("ceiling((B + 4)*(H//5)/6)", NAMES)
    declared = assume_multiple(expr, {"B": 16})
    assert evaluate(declared, {"B": 16, "H": 25}) == 17  # 20·5/6 = 16.7


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ({"B": 1}, "no size given for H, W"),
        ({"B": 1, "H": 2, "W": 2.0}, "W=2.0 is not a size"),
        ({"B": 0, "H": 2, "W": 2}, "B=0 is not a size"),
        ({"B": True, "H": 2, "W": 2}, "B=True is not a size"),
        ({"B": 1, "H": 1, "W": 2}, "divides by zero at B=1, H=1, W=2"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(at: dict[str, int], message: str) -> None:
    value = compile_formula(B * W / (H - 1))
    with pytest.raises(FxcostError, match=message):
        value(at)


@settings(max_examples=200, deadline=None)
@given(trees)
def test_sympy_and_back_is_the_same(formula: Formula) -> None:
    assert from_sympy(formula.sympy()) == formula


@pytest.mark.parametrize(
    "foreign",
    [sympy.Float(0.5), sympy.pi, sympy.sqrt(B.sympy()), 2 ** B.sympy(), sympy.zoo, sympy.exp(B.sympy()), sympy.nan],
)
def test_what_has_no_exact_value_is_refused(foreign: sympy.Expr) -> None:
    with pytest.raises(FxcostError, match="would not be exact"):
        from_sympy(foreign)


def test_substitution_refuses_a_wrong_size_and_a_zero_divisor() -> None:
    with pytest.raises(FxcostError, match="H='8' is not a size"):
        substitute(B * H, {"H": "8"})  # pyright: ignore[reportArgumentType]  # what a careless caller passes
    with pytest.raises(FxcostError, match="divides by zero at H=1"):
        substitute(B / (H - 1), {"H": 1})
    assert substitute(B * H, {"H": 8, "S": 3}) == 8 * B


@pytest.mark.parametrize(
    ("text", "multiples", "expected"),
    [
        ("2*B*((H - 1)//2 + 1)", {"H": 32}, "B*H"),
        ("(H - 1)//32 + 1", {"H": 32}, "H/32"),
        ("((H - 1)//2 + 1 - 1)//2 + 1", {"H": 32}, "H/4"),
        ("ceiling(H/32)*ceiling(W/32)", {"H": 32, "W": 64}, "H*W/1024"),
        ("(H + 5)//32", {"H": 32}, "H/32"),
        ("Mod(H + 5, 8)*B", {"H": 32}, "5*B"),
        ("Mod(H*W, 32)", {"H": 32}, "0"),
        ("(H//2 + W)//32", {"H": 64}, "H/64 + W//32"),
        ("H*(W + 1)//32 + B", {"H": 32}, "H*(W + 1)/32 + B"),
        ("(H + 1)*W//32", {"H": 32}, "H*W/32 + W//32"),
        ("(H - 1)//64 + 1", {"H": 32}, "(H - 1)//64 + 1"),
        ("B*((W - 1)//2)", {"H": 32}, "B*((W - 1)//2)"),
    ],
)
def test_floors_vanish_on_declared_multiples(text: str, multiples: dict[str, int], expected: str) -> None:
    """Each by hand: with H = 32h, (32h − 1)/32 rounds down to h − 1."""
    assert assume_multiple(parse(text, NAMES), multiples) == parse(expected, NAMES)


def test_a_total_gathers_equal_monomials_and_expands_nothing() -> None:
    rows = floor((H - 1) / 2) + 1
    summed = total([2 * B * rows * (W + 1), 3 * B * rows * (W + 1) + 5, B * W, Constant(7), -B * W, Fraction(1, 2) * S])
    assert to_text(summed) == "5*B*((H - 1)//2 + 1)*(W + 1) + S/2 + 12"
    assert total([]) == 0


def test_many_layers_are_summed_and_evaluated() -> None:
    """5,000 layers at six resolutions, as in a large model; then 1,000 evaluations."""
    layers = [
        (i % 700) * B * (floor((H - 1) / 2 ** (i % 6)) + 1) * (floor((W - 1) / 2 ** (i % 6)) + 1) + i % 7 * B
        for i in range(5_000)
    ]
    summed = total(layers)
    assert len(summed.children) == 7
    at = {"B": 3, "H": 223, "W": 97}
    values = [compile_formula(layer) for layer in layers[:1_000]]
    found = [value(at) for value in values]
    assert sum(found) == sum(brute(layer, at) for layer in layers[:1_000])
