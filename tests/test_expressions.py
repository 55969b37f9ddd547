"""Printing: every expression reads back equal from its text, and looks as a reader would write it."""

import operator
import re

import pytest
import sympy
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fxcost.formulas.expressions import ExpressionError, parse, symbol, to_pretty, to_text

B, H, S, W = (symbol(name) for name in "BHSW")
NAMES = ["B", "H", "S", "W"]
floor, ceiling = sympy.floor, sympy.ceiling


def over(a: sympy.Expr, n: int) -> sympy.Expr:
    return a / (B + n)


def floored(a: sympy.Expr, n: int) -> sympy.Expr:
    return floor(a / n)


def raised(a: sympy.Expr, n: int) -> sympy.Expr:
    return ceiling(a / n)


def grown(parts: st.SearchStrategy[sympy.Expr]) -> st.SearchStrategy[sympy.Expr]:
    """Expressions one operation larger, built by sympy's own constructors."""
    numbers = st.integers(1, 40)
    return st.one_of(
        st.builds(operator.add, parts, parts),
        st.builds(operator.sub, parts, parts),
        st.builds(operator.mul, parts, parts),
        st.builds(sympy.Mul, parts, parts, parts),
        st.builds(operator.truediv, parts, numbers),
        st.builds(over, parts, numbers),
        st.builds(operator.pow, parts, st.integers(2, 10)),
        st.builds(floored, parts, numbers),
        st.builds(raised, parts, numbers),
        st.builds(sympy.Mod, parts, numbers),
        st.builds(sympy.Max, parts, parts),
        st.builds(sympy.Min, parts, parts),
    )


trees = st.recursive(st.sampled_from([B, H, S, W]) | st.integers(-50, 50).map(sympy.Integer), grown, max_leaves=9)


def folded(expr: sympy.Expr) -> bool:
    """Whether every number is one number: sympy itself now and then leaves a ``Min(2, 3)`` inside a Max."""
    return all(isinstance(node, sympy.Rational) or node.free_symbols for node in sympy.preorder_traversal(expr))


@settings(max_examples=300, deadline=None)
@given(trees)
def test_every_expression_reads_back_equal(expr: sympy.Expr) -> None:
    assume(folded(expr))
    assert parse(to_text(expr), NAMES) == expr


@settings(max_examples=60, deadline=None)
@given(trees)
def test_ascii_reads_back_equal_too(expr: sympy.Expr) -> None:
    """The ASCII look uses floor() for //, which the grammar also has; only its powers may exceed the parser's limit."""
    text = to_pretty(expr, ascii=True)
    assume(folded(expr) and not re.search(r"\*\*(9|\d\d)", text))
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
        (sympy.Mod(H, 32) * B, "B*Mod(H, 32)", "B·Mod(H, 32)", "B*Mod(H, 32)"),
        (S**12, "S**8*S**4", "S¹²", "S**12"),
        (sympy.Integer(0), "0", "0", "0"),
    ],
)
def test_looks(expr: sympy.Expr, text: str, pretty: str, plain: str) -> None:
    assert (to_text(expr), to_pretty(expr), to_pretty(expr, ascii=True)) == (text, pretty, plain)
    assert parse(text, NAMES) == expr


def test_batch_comes_first_then_the_alphabet_then_floors() -> None:
    expr = 7 * floor(H / 3) * W * symbol("A") * B * (S + 1)
    assert to_pretty(expr) == "7·B·A·W·(S+1)·⌊H/3⌋"
    assert to_text(expr) == "7*B*A*W*(H//3)*(S + 1)"


@pytest.mark.parametrize("foreign", [sympy.sqrt(B), 2**B, sympy.Float(1.5) * B, sympy.pi, sympy.oo, sympy.nan])
def test_what_the_grammar_lacks_is_refused(foreign: sympy.Expr) -> None:
    with pytest.raises(ExpressionError, match="a cost expression"):
        to_text(foreign)


def test_an_integer_too_long_to_read_back_is_refused() -> None:
    assert parse(to_text(10**999 * B), "B") == 10**999 * B
    with pytest.raises(ExpressionError, match="3322 bits"):
        to_text(10**1000 * B)
