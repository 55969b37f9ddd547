"""Formulas on arrays of sizes, against Python's own integers and Fractions at each point."""

import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fxcost.errors import FxcostError
from fxcost.formulas.arrays.tables import CHUNK, SizeArrays, Table
from fxcost.formulas.evaluation import evaluate
from fxcost.formulas.expressions import to_text
from fxcost.formulas.parsing import ExpressionError, parse

NAMES = ["x", "y", "z"]
ROOT = math.isqrt(2**63)


def python_values(text: str, points: list[dict[str, int]]) -> list[Fraction]:
    """What Python answers for the same text when every number in it is a Fraction."""
    code = compile(re.sub(r"\b(\d+)\b", r"F(\1)", text), "it", "eval")
    functions: dict[str, Callable[..., object]] = {
        "F": Fraction, "floor": math.floor, "ceiling": math.ceil, "Mod": lambda a, b: a % b, "Min": min, "Max": max,
    }  # fmt: skip
    scopes = ({**functions, **{name: Fraction(size) for name, size in point.items()}} for point in points)
    return [Fraction(eval(code, scope)) for scope in scopes]  # noqa: S307  # the text was made by this test


def longer(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Texts one operation longer; of the divisors some are negative, and some zero at some sizes."""
    divisor = st.sampled_from(["2", "3", "-5", "x", "(y + 1)", "z**2", "(x - 3*y)", "(1/x - y/2)"])
    return st.one_of(
        st.builds("({}{}{})".format, parts, st.sampled_from(["+", "-", "*"]), parts),
        st.builds("({})**{}".format, parts, st.integers(0, 3)),
        st.builds("({})/{}".format, parts, divisor),
        st.builds("({})//{}".format, parts, divisor),
        st.builds("{}({}/4)".format, st.sampled_from(["floor", "ceiling"]), parts),
        st.builds("Mod({}, {})".format, parts, st.sampled_from(["2", "7", "-3", "x", "5/2", "(y - z)", "1/z"])),
        st.builds("{}({}, {})".format, st.sampled_from(["Min", "Max"]), parts, parts),
    )


texts = st.recursive(
    st.sampled_from(["x", "y", "z", "0", "1", "17", "x**2", "2**62", "10**8*x", "y**-1", "1/3"]), longer, max_leaves=8
)
edges = st.sampled_from([2**31, ROOT, 2**62, 2**63]).flatmap(lambda n: st.integers(n - 2, n + 2))
sizes = st.one_of(st.integers(1, 40), edges, st.integers(1, 10**30))
points = st.lists(st.fixed_dictionaries(dict.fromkeys(NAMES, sizes)), min_size=1, max_size=5)


def columns(points: list[dict[str, int]]) -> dict[str, Any]:
    """An array of Python's integers for each size; numpy's own would not hold all."""
    return {name: np.array([point[name] for point in points], dtype=object) for name in points[0]}


def the_error(call: Callable[[], object]) -> str:
    try:
        call()
    except FxcostError as error:
        return str(error)
    return ""


@settings(max_examples=1000, deadline=None)
@given(st.lists(texts, min_size=1, max_size=4), points)
def test_every_value_is_what_python_makes_of_it(several: list[str], points: list[dict[str, int]]) -> None:
    """Where Python divides by zero, the error is that of the first such point."""
    try:
        formulas = {parse(text, NAMES): text for text in several}
    except ExpressionError:
        assume(False)  # a divisor or an integer that no file may hold
        raise
    wrong = [told for point in points for formula in formulas if (told := the_error(lambda: evaluate(formula, point)))]  # noqa: B023
    if wrong:
        assert the_error(lambda: Table.of(formulas).exact(columns(points))) == wrong[0]
        return
    found = Table.of(formulas).exact(columns(points))
    for formula, text in formulas.items():
        # What is divided by zero and then raised to 0 is 1 to us.
        with suppress(ZeroDivisionError):
            assert_python_s(found[formula], python_values(text, points))


def assert_python_s(found: np.ndarray, values: list[Fraction]) -> None:
    assert [Fraction(each) for each in found.tolist()] == values
    assert {type(each) for each in found.tolist()} <= {int, Fraction}


@pytest.mark.parametrize("size", [1, 2**31, ROOT, ROOT + 1, 2**62, 2**63 - 1, 2**63, 2**64, 10**30])
@pytest.mark.parametrize(
    "text",
    [
        "x", "-x", "2*x", "x + 1", "x**2", "x**3 - x**3 // 2", "Mod(x**4, 7)", f"Mod(x, -{10**19})", f"x // {10**19}",
        f"-x // {10**25}", f"Max(x, {2**63})", "Min(1 - x, 5, 7)", "Max(7, 5)*x", "(x**2 + 1)/(x + 1)",
        "floor((x**2 + 1)/(x + 1))", f"{10**20}*(Mod(x, 1))",
        f"{2**62}*(-x//5) + {2**62}*(-x//7) - 1", "Max(1/(2*x - 7), -1)",
    ],
)  # fmt: skip
def test_nothing_wraps_at_the_end_of_int64(text: str, size: int) -> None:
    formula = parse(text, NAMES)
    sizes = [size, max(1, size - 1), 1]
    found = Table.of([formula]).exact(columns([{"x": each} for each in sizes]))[formula]
    assert_python_s(found, python_values(text, [{"x": each} for each in sizes]))


def test_a_large_model_is_exact_beyond_int64() -> None:
    """By hand: what Llama-3-405B multiplies, 126 layers of width 16384; int64 ends at 9.2e18."""
    dense = 126 * (2 * 16384 * 16384 + 2 * 16384 * 1024 + 3 * 16384 * 53248) + 16384 * 128256
    attention = 126 * 2 * 128 * 128
    total = parse(f"2*({dense}*B*S + {attention}*B*S**2)", ["B", "S"])
    batches, lengths = np.array([1, 64]), np.array([[1], [131072]])
    found = Table.of([total]).exact({"B": batches, "S": lengths})[total]
    by_hand = [[2 * (dense * b * s + attention * b * s * s) for b in (1, 64)] for s in (1, 131072)]
    assert found.tolist() == by_hand
    assert by_hand[1][1] == 2 * 64 * 131072 * (dense + attention * 131072) > 2**63


def test_int64_is_left_only_where_it_must_be() -> None:
    """Of three formulas one is beyond int64 in the end, and one on the way."""
    whole, beyond, between = (parse(text, NAMES) for text in ("x*y", "x**2", "x**2//y"))
    found = Table.of([whole, beyond, between]).exact({"x": np.array([2**40]), "y": np.array([2**20])})
    assert [found[each].dtype for each in (whole, beyond, between)] == [np.int64, object, object]
    found = Table.of([parse(f"x**2//{2**60}", NAMES)]).exact({"x": np.array([2**40])})
    assert [(each.dtype, each.tolist()) for each in found.values()] == [(np.dtype(np.int64), [2**20])]


def test_points_fill_several_chunks_in_their_order() -> None:
    lengths = np.arange(1, 2 * CHUNK + 8)
    formula = parse("3*x*y - x//2 + 1", NAMES)
    found = Table.of([formula]).exact({"x": lengths, "y": np.array([[2], [5]])})[formula]
    assert np.array_equal(found, 3 * lengths * np.array([[2], [5]]) - lengths // 2 + 1)


def test_a_number_has_the_shape_of_all_sizes() -> None:
    formulas = [parse(text, NAMES) for text in ("7", "1/2", "x")]
    found = Table.of(formulas).exact({"x": 3, "y": np.array([[1, 2]], dtype=np.uint8)})
    assert [found[each].tolist() for each in formulas] == [[[7, 7]], [[Fraction(1, 2)] * 2], [[3, 3]]]
    assert Table.of(formulas).exact({"x": np.zeros((0, 4), np.int64)})[formulas[0]].shape == (0, 4)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"x": np.array([3, 0])}, "x=0 is not a size: sizes are positive integers"),
        ({"x": np.array([-(2**63)])}, "x=-9223372036854775808 is not a size"),
        ({"x": np.array([2.0])}, "x=2.0 is not a size"),
        ({"x": np.array([True])}, "x=True is not a size"),
        ({"x": np.array([1, "2", None], dtype=object)}, "x='2' is not a size"),
        ({"x": np.array([1, True], dtype=object)}, "x=True is not a size"),
        ({"z": 5}, "no size given for x, y; give one such as x=8"),
        ({"x": np.arange(1, 3), "y": np.arange(1, 4)}, r"arrays of sizes do not go together: y of \(3,\), x of \(2,\)"),
    ],
)  # fmt: skip
def test_what_is_no_size_is_refused(sizes: Mapping[str, Any], message: str) -> None:
    with pytest.raises(FxcostError, match=message):
        Table.of([parse("x + y", NAMES)]).exact({"y": 4, **sizes} if "x" in sizes else sizes)


@pytest.mark.parametrize("text", ["x/(x - y)", "Mod(x, x - y)", "x + floor(y/(x - y))", "0*z + 1/(x - y)"])
@pytest.mark.parametrize("scale", [1, 10**20])
def test_a_divisor_of_zero_is_told_with_its_point(text: str, scale: int) -> None:
    sizes = {"x": scale * np.arange(1, 10_001).astype(object), "y": scale * np.array([9_000], dtype=object)}
    with pytest.raises(FxcostError, match=f"^a cost expression divides by zero at x={9000 * scale}, y={9000 * scale}$"):
        Table.of([parse("x + y", NAMES), parse(text, NAMES)]).exact(sizes)


def test_sizes_given_are_left_as_they_are() -> None:
    given_sizes = np.arange(1, 5)
    Table.of([parse("x", NAMES), parse("2*x", NAMES)]).exact({"x": given_sizes})
    assert SizeArrays.of({"x": given_sizes}).point(3) == {"x": 4}
    assert given_sizes.tolist() == [1, 2, 3, 4]


def test_what_formulas_share_is_done_once() -> None:
    """Two products of x·y, and two floors of (x + 1)/2, differ in their coefficients alone."""
    texts = ("3*x*y", "5*x*y + 1", "x*y*((x + 1)//2)", "((x + 1)//2)**2")
    names = [type(item).__name__ for item, _ in Table.of(parse(text, NAMES) for text in texts).program]
    assert (names.count("Multiplication"), names.count("FloorByNumber")) == (3, 1), to_text(parse(texts[2], NAMES))
