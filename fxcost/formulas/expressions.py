"""Cost formulas over positive whole sizes: the one place to import from, and how a formula is printed."""

from fxcost.formulas.algebra import LONGEST_BITS, Formula, Printer
from fxcost.formulas.evaluation import assume_multiple, compile_formula, evaluate, substitute, total
from fxcost.formulas.parsing import MAX_DIGITS, MAX_LENGTH, ExpressionError, parse, symbol

__all__ = [
    "ExpressionError",
    "assume_multiple",
    "compile_formula",
    "evaluate",
    "parse",
    "substitute",
    "symbol",
    "to_pretty",
    "to_text",
    "total",
]

_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def to_text(formula: Formula) -> str:
    """The text that ``parse`` reads back as an equal formula; raises ExpressionError where there is none.

    Numbers stand first in a product and last in a sum; a floor prints as ``(H - 1)//32``; nothing is expanded.
    """
    _refuse_long(formula)
    if len(formula.text) > MAX_LENGTH:
        raise ExpressionError(f"an expression of {len(formula.text)} characters; at most {MAX_LENGTH} are read back")
    return formula.text


def to_pretty(formula: Formula, ascii: bool = False) -> str:  # the word that users know
    """The formula for a reader: ``2·B·S²·⌊(H−1)/32⌋``, or ``2*B*S**2*floor((H - 1)/32)`` in ASCII."""
    _refuse_long(formula)
    return Printer().sum(formula) if ascii else _UnicodePrinter().sum(formula, space=" ")


def _refuse_long(formula: Formula) -> None:
    if formula.bits >= LONGEST_BITS:
        raise ExpressionError(f"an integer of {formula.bits} bits; at most {MAX_DIGITS} digits can be printed")


class _UnicodePrinter(Printer):
    """Mathematical signs, close set."""

    times, minus, space = "·", "−", ""

    def floor(self, argument: Formula) -> str:
        return f"⌊{self.quotient(argument) or self.sum(argument)}⌋"

    def ceiling(self, argument: Formula) -> str:
        return f"⌈{self.quotient(argument) or self.sum(argument)}⌉"

    def powers(self, base: str, exponent: int) -> list[str]:
        return [base if exponent == 1 else base + str(exponent).translate(_SUPERSCRIPTS)]
