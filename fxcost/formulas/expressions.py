"""Cost expressions over positive-integer symbols: the one place to import from, and how an expression is printed."""

# pyright: reportMissingTypeStubs=false
# sympy ships no type stubs: its own sources are its types.

from functools import lru_cache
from typing import NamedTuple, cast

from sympy import Add, Expr, Integer, Max, Min, Mod, Mul, Rational, Symbol, ceiling, floor

from fxcost.formulas.evaluation import (
    apply,
    as_quotient,
    assume_multiple,
    compile_expression,
    evaluate,
    split_coefficient,
    substitute,
    symbol_names,
    total,
)
from fxcost.formulas.parsing import MAX_DIGITS, MAX_EXPONENT, MAX_LENGTH, ExpressionError, parse, symbol
from fxcost.formulas.piecewise import coefficients

__all__ = [
    "ExpressionError",
    "apply",
    "assume_multiple",
    "coefficients",
    "compile_expression",
    "evaluate",
    "parse",
    "substitute",
    "symbol",
    "symbol_names",
    "to_pretty",
    "to_text",
    "total",
]

_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@lru_cache(maxsize=8192)
def to_text(expr: Expr) -> str:
    """The text that ``parse`` reads back as an equal expression; raises ExpressionError where there is none.

    Numbers stand first in a product and last in a sum; a floor prints as ``(H - 1)//32``; nothing is expanded.
    """
    text = _TextPrinter().sum(expr)
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"an expression of {len(text)} characters; at most {MAX_LENGTH} are read back")
    return text


def to_pretty(expr: Expr, ascii: bool = False) -> str:  # the word that users know
    """The expression for a reader: ``2·B·S²·⌊(H−1)/32⌋``, or ``2*B*S**2*floor((H - 1)/32)`` in ASCII."""
    return _AsciiPrinter().sum(expr) if ascii else _UnicodePrinter().sum(expr, space=" ")


class _Term(NamedTuple):
    """A term of a sum, in the order of printing; ``text`` leaves the sign out."""

    is_number: bool
    negative: bool
    factors: str
    text: str


class _AsciiPrinter:
    """Plain ASCII; the other printers differ in their signs, powers and floors."""

    times, minus, space = "*", "-", " "

    def sum(self, expr: Expr, space: str | None = None) -> str:
        """A sum or a single term, without parentheses around it."""
        gap = self.space if space is None else space
        first, *others = sorted(self._term(term) for term in Add.make_args(expr))
        signed = [f"{gap}{self.minus if term.negative else '+'}{gap}{term.text}" for term in others]
        return (self.minus if first.negative else "") + first.text + "".join(signed)

    def _term(self, term: Expr) -> _Term:
        coefficient, rest = split_coefficient(term)
        above, below = self._factors(rest)
        factors = "/".join([self.times.join(above), *below])
        p, q = _digits(abs(coefficient.p)), _digits(coefficient.q)
        numerator = above if above and p == "1" else [p, *above]
        denominator = below if q == "1" else [q, *below]
        text = "/".join([self.times.join(numerator), *denominator])
        return _Term(rest == 1, bool(coefficient.is_negative), factors, text)

    def _factors(self, product: Expr) -> tuple[list[str], list[str]]:
        """What stands above and below the fraction bar; symbols first, B before the others."""
        sides: tuple[list[tuple[bool, bool, str, int]], ...] = ([], [])
        for factor in () if product == 1 else Mul.make_args(product):
            base, exponent = factor.as_base_exp()
            if not isinstance(exponent, Integer):
                raise ExpressionError("a cost expression has whole exponents only")
            text = self._factor(base)
            key = (not isinstance(base, Symbol), text != "B", text, abs(int(exponent)))
            sides[bool(exponent.is_negative)].append(key)
        above, below = ([part for *_, text, n in sorted(side) for part in self._powers(text, n)] for side in sides)
        return above, below

    def _powers(self, base: str, exponent: int) -> list[str]:
        return [base if exponent == 1 else f"{base}**{exponent}"]

    def _factor(self, expr: Expr) -> str:
        if isinstance(expr, Symbol):
            return expr.name
        if isinstance(expr, Add | Mul | Rational):
            return f"({self.sum(expr)})"
        if isinstance(expr, floor):
            return self._floor(expr.args[0])
        if isinstance(expr, ceiling):
            return self._ceiling(expr.args[0])
        if isinstance(expr, Mod | Min | Max):
            arguments = [self.sum(argument) for argument in cast(tuple[Expr, ...], expr.args)]
            return f"{type(expr).__name__}({', '.join(arguments)})"
        raise ExpressionError(f"a cost expression cannot hold {type(expr).__name__}")

    def _floor(self, argument: Expr) -> str:
        return f"floor({self._quotient(argument) or self.sum(argument)})"

    def _ceiling(self, argument: Expr) -> str:
        return f"ceiling({self._quotient(argument) or self.sum(argument)})"

    def _quotient(self, expr: Expr, slash: str = "/") -> str:
        """``(H - 1)/32`` for ``H/32 - 1/32``, or nothing where there is no such number to divide by."""
        p, q = as_quotient(expr)
        if q == 1:
            return ""
        numerator = self._factor(p) if isinstance(p, Add | floor) else self.sum(p)
        return f"{numerator}{slash}{_digits(q)}"


class _TextPrinter(_AsciiPrinter):
    """The grammar of a saved file: ``p//q`` for a floor, and powers that the parser's limit allows."""

    def _term(self, term: Expr) -> _Term:
        quotient = self._quotient(term.args[0], "//") if isinstance(term, floor) else ""
        # Alone in its term a quotient needs no parentheses.
        return _Term(False, False, quotient, quotient) if quotient else super()._term(term)

    def _floor(self, argument: Expr) -> str:
        quotient = self._quotient(argument, "//")
        return f"({quotient})" if quotient else super()._floor(argument)

    def _powers(self, base: str, exponent: int) -> list[str]:
        whole, left = divmod(exponent, MAX_EXPONENT)
        parts = [MAX_EXPONENT] * whole + [left] * (left > 0)
        return [base if n == 1 else f"{base}**{n}" for n in parts]


class _UnicodePrinter(_AsciiPrinter):
    """Mathematical signs, close set."""

    times, minus, space = "·", "−", ""

    def _floor(self, argument: Expr) -> str:
        return f"⌊{self._quotient(argument) or self.sum(argument)}⌋"

    def _ceiling(self, argument: Expr) -> str:
        return f"⌈{self._quotient(argument) or self.sum(argument)}⌉"

    def _powers(self, base: str, exponent: int) -> list[str]:
        return [base if exponent == 1 else base + str(exponent).translate(_SUPERSCRIPTS)]


def _digits(value: int) -> str:
    if value >= 10**MAX_DIGITS:
        raise ExpressionError(f"an integer of {value.bit_length()} bits; at most {MAX_DIGITS} digits can be printed")
    return str(value)
