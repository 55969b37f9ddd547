"""Cost expressions from untrusted text: a hand-written parser that runs nothing as code and bounds everything."""

import re
from collections.abc import Callable, Collection
from functools import cache, lru_cache
from typing import NamedTuple

from fxcost.errors import FxcostError, near_matches
from fxcost.formulas.algebra import (
    MAX_EXPONENT,
    MINUS_ONE,
    Constant,
    Formula,
    Symbol,
    add,
    ceiling,
    floor,
    greatest_of,
    least_of,
    mod,
    multiply,
    power,
    touched,
)

MAX_LENGTH = 32_768  # characters in one text
MAX_NESTING = 50  # parentheses and `//` inside one another; every walk over a tree stays far from Python's own limit
MAX_DIGITS = 1_000  # in one written integer
MAX_BITS = 1 << 18  # of the integers in one text when every power is multiplied out
SYMBOL_BITS = 4  # so that a power of a power of a symbol is bounded too
DIVISOR_WEIGHT = 16  # a sum over many different denominators costs a long gcd per term

FUNCTIONS: dict[str, Callable[..., Formula]] = {
    "floor": floor, "ceiling": ceiling, "Mod": mod, "Min": least_of, "Max": greatest_of, "Touched": touched,
}  # fmt: skip
_ARITY = {"floor": (1, 1), "ceiling": (1, 1), "Mod": (2, 2), "Min": (1, 16), "Max": (1, 16), "Touched": (3, 3)}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TOKEN = re.compile(r"([0-9]+|[A-Za-z_][A-Za-z0-9_]*|\*\*|//|[-+*/(),])|[ \t\r\n]+|(.)", re.DOTALL)


class ExpressionError(FxcostError):
    """A text is not a cost expression, or an expression has no text; the message says where."""


@cache
def symbol(name: str) -> Symbol:
    """The positive-integer symbol of this name; raises FxcostError unless the name is a plain ASCII identifier."""
    if not _NAME.fullmatch(name) or name in FUNCTIONS:
        raise FxcostError(
            f"{name!r} cannot name a size: use letters, digits and '_', not one of {', '.join(sorted(FUNCTIONS))}"
        )
    return Symbol(name)


def parse(text: str, names: Collection[str]) -> Formula:
    """The expression that a text in the grammar of a saved file stands for.

    The grammar is Python's arithmetic on integers and the declared names: ``+ - * / // ** ( )`` and
    ``floor ceiling Mod Min Max Touched``. Nothing runs as code. Raises ExpressionError for anything else, for a division by
    zero, and for a text, nesting, integer or power beyond the limits of this module.
    """
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"an expression of {len(text)} characters; at most {MAX_LENGTH} are read")
    return _parse(text, frozenset(names))


@lru_cache(maxsize=8192)
def _parse(text: str, names: frozenset[str]) -> Formula:
    try:
        return _Parser(text, names).read()
    except RecursionError:
        raise ExpressionError(f"an expression nested too deeply for this call: {_excerpt(text, 0)}") from None


def _excerpt(text: str, position: int) -> str:
    start, end = max(position - 20, 0), position + 20
    return f"{'…' if start else ''}{text[start:end]!r}{'…' if end < len(text) else ''}"


class _Part(NamedTuple):
    """A piece already read: its value, how deep it nests, and a bound on the bits of the integers in it."""

    formula: Formula
    height: int
    bits: int


_NEGATED = _Part(MINUS_ONE, 0, 1)


class _Parser:
    """Precedence climbing over the tokens of one text; every limit is checked before anything is computed."""

    def __init__(self, text: str, names: frozenset[str]) -> None:
        self._text = text
        self._names = names
        self._tokens: list[tuple[str, int]] = []
        for match in _TOKEN.finditer(text):
            if match[2]:
                raise self._error(f"unexpected {match[2]!r}", match.start(2))
            if match[1]:
                self._tokens.append((match[1], match.start(1)))
        self._tokens.append(("", len(text)))
        self._next = 0
        self._open = 0

    def read(self) -> Formula:
        part = self._sum()
        if self._peek():
            raise self._unexpected("an operator or the end")
        return part.formula

    def _peek(self) -> str:
        return self._tokens[self._next][0]

    def _take(self, *wanted: str) -> str:
        found = self._peek()
        if found not in wanted:
            return ""
        self._next += 1
        return found

    def _expect(self, wanted: str) -> None:
        if not self._take(wanted):
            raise self._unexpected(repr(wanted))

    def _error(self, problem: str, position: int | None = None) -> ExpressionError:
        at = self._tokens[self._next][1] if position is None else position
        return ExpressionError(f"{problem} at position {at + 1} of the expression {_excerpt(self._text, at)}")

    def _unexpected(self, wanted: str) -> ExpressionError:
        return self._error(f"expected {wanted}, found {self._peek()[:40] or 'the end'!r}")

    def _sum(self) -> _Part:
        terms = [self._product()]
        while sign := self._take("+", "-"):
            term = self._product()
            terms.append(term if sign == "+" else term._replace(formula=-term.formula))
        return self._join(add, terms)

    def _product(self) -> _Part:
        # All factors of a product meet at once: two by two, 2*(H + 1)*B would come back as B*(2*H + 2).
        factors = self._signed()
        while operator := self._take("*", "/", "//"):
            operand = self._signed()
            if operator == "*":
                factors += operand
                continue
            factors.append(self._power_of(self._join(multiply, operand), -1))
            if operator == "//":
                factors = [self._call(floor, [self._join(multiply, factors)])]
        return self._join(multiply, factors)

    def _signed(self) -> list[_Part]:
        negative = False
        while sign := self._take("+", "-"):
            negative ^= sign == "-"
        raised = self._power()
        return [_NEGATED, raised] if negative else [raised]

    def _power(self) -> _Part:
        base = self._atom()
        if not self._take("**"):
            return base
        negative = bool(self._take("-"))
        digits = self._peek()
        if not digits.isdecimal() or len(digits) > 2 or int(digits) > MAX_EXPONENT:
            raise self._unexpected(f"a whole exponent up to {MAX_EXPONENT}")
        self._next += 1
        if self._peek() == "**":
            raise self._error("a power of a power needs parentheses")
        return self._power_of(base, -int(digits) if negative else int(digits))

    def _power_of(self, base: _Part, exponent: int) -> _Part:
        bits = self._bounded(base.bits * (exponent if exponent > 0 else DIVISOR_WEIGHT * -exponent))
        try:
            return _Part(power(base.formula, exponent), base.height, bits)
        except ZeroDivisionError:
            raise self._error("division by zero") from None

    def _atom(self) -> _Part:
        word, position = self._tokens[self._next]
        if word.isdecimal():
            if len(word) > MAX_DIGITS:
                raise self._error(f"an integer of {len(word)} digits (at most {MAX_DIGITS})")
            self._next += 1
            value = int(word)
            return _Part(Constant(value), 0, value.bit_length())
        if word == "(":
            return self._group(1)[0]
        if not _NAME.fullmatch(word):
            raise self._unexpected("a number, a name or '('")
        self._next += 1
        if word in FUNCTIONS:
            return self._function(word, position)
        if word not in self._names:
            known = near_matches(word[:40], self._names) or f"; declared: {', '.join(sorted(self._names)) or 'none'}"
            raise self._error(f"unknown name {word[:40]!r}{known}", position)
        return _Part(symbol(word), 0, SYMBOL_BITS)

    def _function(self, name: str, position: int) -> _Part:
        least, most = _ARITY[name]
        arguments = self._group(most)
        if len(arguments) < least:
            raise self._error(f"{name} takes {least} arguments, found {len(arguments)}", position)
        return self._call(FUNCTIONS[name], arguments)

    def _group(self, most: int) -> list[_Part]:
        """One to ``most`` expressions in parentheses."""
        if self._open == MAX_NESTING:
            raise self._error(f"parentheses nested deeper than {MAX_NESTING}")
        self._expect("(")
        self._open += 1
        parts = [self._sum()]
        while len(parts) < most and self._take(","):
            parts.append(self._sum())
        self._expect(")")
        self._open -= 1
        return parts

    def _call(self, function: Callable[..., Formula], arguments: list[_Part]) -> _Part:
        height = 1 + max(part.height for part in arguments)
        if height > MAX_NESTING:
            raise self._error(f"functions nested deeper than {MAX_NESTING}")
        bits = self._bounded(sum(part.bits for part in arguments))
        try:
            return _Part(function(*(part.formula for part in arguments)), height, bits)
        except ZeroDivisionError:
            raise self._error("division by zero") from None
        except ValueError as error:
            raise self._error(str(error)) from None

    def _join(self, function: Callable[..., Formula], parts: list[_Part]) -> _Part:
        if len(parts) == 1:
            return parts[0]
        bits = self._bounded(sum(part.bits for part in parts))
        return _Part(function(*(part.formula for part in parts)), max(part.height for part in parts), bits)

    def _bounded(self, bits: int) -> int:
        if bits > MAX_BITS:
            raise self._error(f"integers of more than {MAX_BITS} bits when multiplied out")
        return bits
