"""Printing: every expression reads back equal from its text, and looks as a reader would write it."""

import operator
import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fxcost.formulas.algebra import Constant, Formula, ceiling, floor, greatest_of, least_of, multiply
from fxcost.formulas.expressions import ExpressionError, parse, symbol, to_pretty, to_text

B, H, S, W = (symbol(name) for name in "BHSW")
NAMES = ["B", "H", "S", "W"]


def over(a: Formula, n: int) -> Formula:
    return a / (B + n)


def floored(a: Formula, n: int) -> Formula:
    return floor(a / n)


def raised(a: Formula, n: int) -> Formula:
    return ceiling(a / n)


def grown(parts: st.SearchStrategy[Formula]) -> st.SearchStrategy[Formula]:
    """Expressions one operation larger, built by operators and constructors."""
    numbers = st.integers(1, 40)
    return st.one_of(
        st.builds(operator.add, parts, parts),
        st.builds(operator.sub, parts, parts),
        st.builds(operator.mul, parts, parts),
        st.builds(multiply, parts, parts, parts),
        st.builds(operator.truediv, parts, numbers),
        st.builds(over, parts, numbers),
        st.builds(operator.pow, parts, st.integers(2, 10)),
        st.builds(floored, parts, numbers),
        st.builds(raised, parts, numbers),
        st.builds(operator.mod, parts, numbers),
        st.builds(greatest_of, parts, parts),
        st.builds(least_of, parts, parts),
    )


trees = st.recursive(st.sampled_from([B, H, S, W]) | st.integers(-50, 50).map(Constant), grown, max_leaves=9)


@settings(max_examples=300, deadline=None)
@given(trees)
def test_every_expression_reads_back_equal(expr: Formula) -> None:
    assert parse(to_text(expr), NAMES) == expr


@settings(max_examples=60, deadline=None)
@given(trees)
def test_ascii_reads_back_equal_too(expr: Formula) -> None:
    """The ASCII look uses floor() for //, which the grammar also has; only its powers may exceed the parser's limit."""
    text = to_pretty(expr, ascii=True)
    assume(not re.search(r"\*\*(9|\d\d)", text))
    assert parse(text, NAMES) == expr


@pytest.mark.parametrize(
    ("expr", "text", "pretty", "plain"),
    [
        (
            118013952 * B * (floor((H - 1) / 2) + 1) * (floor((W - 1) / 2) + 1),
            "118013952*B*((H - 1)//2 + 1)*((W - 1)//2 + 1)",
            "118013952·B·(⌊(H−1)/2⌋+1)·(⌊(W−1)/2⌋+1)",
            "118013952*B*(floor((H - 1)/2) + 1)*(floor((W - 1)/2) + 1)",
        ),
        (2 * B * S**2 * 768, "1536*B*S**2", "1536·B·S²", "1536*B*S**2"),
        (B * floor((H - 1) / 32), "B*((H - 1)//32)", "B·⌊(H−1)/32⌋", "B*floor((H - 1)/32)"),
        (floor((H - 1) / 32), "(H - 1)//32", "⌊(H−1)/32⌋", "floor((H - 1)/32)"),
        (3 - floor(H / 2), "-(H//2) + 3", "−⌊H/2⌋ + 3", "-floor(H/2) + 3"),
        (floor(-H / 2), "-H//2", "⌊−H/2⌋", "floor(-H/2)"),
        (floor(floor(H / 2) / 2), "(H//2)//2", "⌊⌊H/2⌋/2⌋", "floor(floor(H/2)/2)"),
        (H * B / 32, "B*H/32", "B·H/32", "B*H/32"),
        (-5 - B * H / 3 / W**2, "-B*H/3/W**2 - 5", "−B·H/3/W² − 5", "-B*H/3/W**2 - 5"),
        (floor(H / W), "floor(H/W)", "⌊H/W⌋", "floor(H/W)"),
        (ceiling((H - 1) / 2) * 4, "4*ceiling((H - 1)/2)", "4·⌈(H−1)/2⌉", "4*ceiling((H - 1)/2)"),
        (H % 32 * B, "B*Mod(H, 32)", "B·Mod(H, 32)", "B*Mod(H, 32)"),
        (S**12, "S**8*S**4", "S¹²", "S**12"),
        (Constant(0), "0", "0", "0"),
    ],
)
def test_looks(expr: Formula, text: str, pretty: str, plain: str) -> None:
    assert (to_text(expr), to_pretty(expr), to_pretty(expr, ascii=True)) == (text, pretty, plain)
    assert parse(text, NAMES) == expr


def test_batch_comes_first_then_the_alphabet_then_floors() -> None:
    expr = 7 * floor(H / 3) * W * symbol("A") * B * (S + 1)
    assert to_pretty(expr) == "7·B·A·W·(S+1)·⌊H/3⌋"
    assert to_text(expr) == "7*B*A*W*(H//3)*(S + 1)"


def test_an_integer_too_long_to_read_back_is_refused() -> None:
    assert parse(to_text(10**999 * B), "B") == 10**999 * B
    with pytest.raises(ExpressionError, match="3322 bits"):
        to_text(10**1000 * B)
