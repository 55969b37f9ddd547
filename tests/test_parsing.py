"""Reading: Python's own arithmetic decides what a text means, and hostile texts are refused quickly."""

import math
import re
import sys
import time
from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxcost.errors import FxcostError
from fxcost.formulas.algebra import Formula
from fxcost.formulas.evaluation import evaluate
from fxcost.formulas.parsing import ExpressionError, parse, symbol

NAMES = ["x", "y", "z"]
SIZES = {"x": 5, "y": 12, "z": 7}


def python_value(text: str) -> Fraction:
    """What Python answers for the same text when every number in it is a Fraction."""
    exact = re.sub(r"\b(\d+)\b", r"F(\1)", text)
    functions: dict[str, Callable[..., object]] = {
        "F": Fraction, "floor": math.floor, "ceiling": math.ceil, "Mod": lambda a, b: a % b, "Min": min, "Max": max,
    }  # fmt: skip
    scope = {**functions, **{name: Fraction(size) for name, size in SIZES.items()}}
    return Fraction(eval(exact, scope))  # noqa: S307  # the text was made by this test


def longer(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Texts one operation longer, with and without parentheses, so that precedence matters."""
    operator = st.sampled_from(["+", "-", "*", " + ", " - ", " * "])
    divisor = st.sampled_from(["2", "3", "-5", "x", "(y + 1)", "z**2", "+7"])
    return st.one_of(
        st.builds("{}{}{}".format, parts, operator, parts),
        st.builds("({})".format, parts),
        st.builds("-{}".format, parts),
        st.builds("({})**{}".format, parts, st.integers(0, 3)),
        st.builds("{}/{}".format, parts, divisor),
        st.builds("{}//{}".format, parts, divisor),
        st.builds("{}({}/4)".format, st.sampled_from(["floor", "ceiling"]), parts),
        st.builds("Mod({}, {})".format, parts, st.sampled_from(["2", "7", "-3", "x", "5/2"])),
        st.builds("{}({}, {})".format, st.sampled_from(["Min", "Max"]), parts, parts),
    )


texts = st.recursive(
    st.sampled_from(["x", "y", "z", "0", "1", "2", "17", "x**2", "2**3", "y**-1"]), longer, max_leaves=10
)


@settings(max_examples=400, deadline=None)
@given(texts)
def test_a_text_means_what_python_makes_of_it(text: str) -> None:
    assert evaluate(parse(text, NAMES), SIZES) == python_value(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-x**2", -25),
        ("-x//2", -3),
        ("-(x//2)", -2),
        ("2**-1*4", 2),
        ("x - y - z", -14),
        ("y//5//2*3", 3),
        ("x*y//7", 8),
    ],
)
def test_precedence(text: str, value: int) -> None:
    """Worked by hand at x=5, y=12, z=7: -5//2 rounds down to -3, 12//5 is 2 and 2//2 is 1, 60//7 is 8."""
    assert evaluate(parse(text, NAMES), SIZES) == value


def test_a_factored_product_stays_factored() -> None:
    x, y = symbol("x"), symbol("y")
    assert parse("2*(x + 1)*y", NAMES) == 2 * y * (x + 1) != parse("(2*x + 2)*y", NAMES)


PRIMES = [n for n in range(10_001, 40_000, 2) if all(n % d for d in range(3, 200, 2))]
HOSTILE = {
    "import": ("__import__('os').system('true')", 'unexpected "\'" at position 12'),
    "undeclared": ("x + q", "unknown name 'q'; declared: x, y, z at position 5"),
    "builtin": ("open(x)", "unknown name 'open'"),
    "attribute": ("x.__class__", "unexpected '.' at position 2"),
    "index": ("x[0]", r"unexpected '\['"),
    "string": ('"x"', "unexpected '\"' at position 1"),
    "float": ("1.5*x", "unexpected '.' at position 2"),
    "scientific": ("1e9", "found 'e9' at position 2"),
    "keyword": ("Max(x, evaluate=False)", "unexpected '='"),
    "lambda": ("lambda: x", "unexpected ':'"),
    "wide digit": ("２*x", "unexpected '２'"),
    "control": ("x\x00", "unexpected '.x00' at position 2"),
    "two values": ("x y", "expected an operator or the end, found 'y' at position 3"),
    "call a symbol": ("x(2)", r"found '\('"),
    "comma": ("x, y", "found ','"),
    "empty": ("", "found 'the end' at position 1"),
    "unfinished": ("x*", "expected a number, a name or '.', found 'the end' at position 3"),
    "unclosed": ("(x", r"expected '\)', found 'the end'"),
    "too few": ("Mod(x)", "Mod takes 2 arguments, found 1 at position 1"),
    "too many": ("Mod(x, 2, 3)", r"expected '\)', found ','"),
    "zero": ("x/(y - y)", "division by zero at position 10"),
    "zero floor": ("x//0", "division by zero"),
    "zero power": ("0**-1", "division by zero"),
    "zero modulus": ("Mod(x, 0)", "division by zero"),
    "exponent": ("10**10**10", "expected a whole exponent up to 8, found '10' at position 5"),
    "power of power": ("8**8**8**8", "a power of a power needs parentheses at position 5"),
    "symbolic exponent": ("2**x", "expected a whole exponent"),
    "gigabyte": ("2**8589934592", "expected a whole exponent"),
    "tower": ("(" * 30 + "2" + "**8)" * 30, "integers of more than 262144 bits"),
    "symbol tower": ("(" * 30 + "x" + "**8)" * 30, "integers of more than 262144 bits"),
    "towers": ("*".join(["(((99**8)**8)**8)"] * 1500), "integers of more than 262144 bits"),
    "denominators": ("+".join(f"x/{p}" for p in PRIMES)[:32_700] + "1", "integers of more than 262144 bits"),
    "digits": ("9" * 1001, "an integer of 1001 digits .at most 1000. at position 1"),
    "parentheses": ("(" * 10_000_000, "an expression of 10000000 characters; at most 32768 are read"),
    "nesting": ("(" * 51 + "x" + ")" * 51, "parentheses nested deeper than 50 at position 51"),
    "floors": ("x" + "//2" * 5_000, "functions nested deeper than 50"),
    "mixed nesting": ("(" * 49 + "x" + "//2//2)" * 49, "functions nested deeper than 50"),
    "many maxima": ("Max(" + ",".join(f"x*y-{i}" for i in range(3_000)) + ")", r"expected '\)', found ','"),
    "spaces": ("x" + " " * 32_000 + "y", "expected an operator or the end"),
    "long name": ("a" * 32_000, "unknown name 'a{40}'"),
}


PROMPT_SECONDS = 10
"""What a refusal may take on a busy machine; without limits these texts take minutes or gigabytes."""


@pytest.mark.parametrize(("text", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_is_refused_at_once(text: str, message: str) -> None:
    start = time.process_time()
    with pytest.raises(ExpressionError, match=message) as refusal:
        parse(text, NAMES)
    assert time.process_time() - start < PROMPT_SECONDS
    assert len(str(refusal.value)) < 250


@pytest.mark.parametrize(
    "text",
    [
        "-" * 32_000 + "x",
        "Mod((x+y+z+1)**8*(x+y+3*z+2)**8*(x*y+z)**8, (x+z)**8*(x+y+z+1)**8)",
        "Max(" + ",".join(f"(x*y - {i})**8*(z + {i})" for i in range(16)) + ")",
        "(" * 49 + "x" + "+1)*(y+1)//2" * 49,
        "+".join(f"(x+{i})//{i % 30 + 2}" for i in range(1, 800)),
        "(" * 50 + "x" + ")" * 50,
    ],
    ids=["signs", "modulus of polynomials", "maximum of polynomials", "nested floors", "many floors", "parentheses"],
)
def test_demanding_but_honest_text_is_read_quickly(text: str) -> None:
    """Each of these takes seconds to hours where products are expanded or compared, or meets Python's recursion limit."""
    start = time.process_time()
    parse(text, NAMES)
    assert time.process_time() - start < PROMPT_SECONDS


def test_no_recursion_error_escapes_from_a_deep_caller() -> None:
    text = "(" * 50 + "x" + ")" * 50

    def deeper(levels: int) -> None:
        if levels:
            deeper(levels - 1)
        else:
            parse(text, ["x", "deep"])

    with pytest.raises(ExpressionError, match="nested too deeply for this call"):
        deeper(sys.getrecursionlimit() - len(__import__("inspect").stack()) - 60)


@settings(max_examples=300, deadline=2000)
@given(st.text("xyq0123456789+-*/(), .'_Modflr\n", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        expr = parse(text, NAMES)
    except ExpressionError:
        return
    assert isinstance(expr, Formula)


@pytest.mark.parametrize("name", ["", "2x", "a b", "floor", "Mod", "x.y", "é", "x\n"])
def test_a_bad_symbol_name_is_refused(name: str) -> None:
    with pytest.raises(FxcostError, match="cannot name a size"):
        symbol(name)


def test_a_symbol_is_a_positive_integer_and_always_the_same() -> None:
    assert symbol("H") is symbol("H")
    assert symbol("H") == parse("H", "H")
    assert (symbol("H").sympy().is_positive, symbol("H").sympy().is_integer) == (True, True)
