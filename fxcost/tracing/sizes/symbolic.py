"""Sizes that a run carries along behind torch's own `torch.SymInt`.

Torch lets any object stand behind one that answers as its own ``SymNode`` does; these answer with polynomials.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
# Torch's symbolic sizes are private and untyped; this folder is the border that keeps them from the rest.

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, ClassVar

import sympy
import torch

from fxcost.tracing.sizes import arithmetic as rounding
from fxcost.tracing.sizes import polynomial_bounds as bounds
from fxcost.tracing.sizes import polynomials
from fxcost.tracing.sizes.comparisons import NO, YES, Node, Truth, compare, known
from fxcost.tracing.sizes.layouts import is_ordered, is_packed
from fxcost.tracing.sizes.polynomials import Number, Polynomial, Polynomials


class Size(Polynomial, Node):
    """A size of a tensor, or a fraction on the way to one; ``hint`` is its value in the run."""

    __slots__ = ()

    def is_int(self) -> bool:
        return self.kind is int

    def is_float(self) -> bool:
        return self.kind is float

    @property
    def shape_env(self) -> Polynomials:
        return self.sizes

    @property
    def pytype(self) -> type:
        return self.kind

    _hint = property(lambda self: self.hint)
    _expr = expr = property(lambda self: sympy.Integer(self.hint) if self.constant is not None else _UNNAMED)

    def maybe_as_int(self) -> int | None:
        return self.constant if self.kind is int else None

    def wrap_int(self, number: int) -> "Size":
        return self.sizes.number(number)

    def wrap_float(self, number: float) -> "Size":
        return self.sizes.number(Fraction(number), float)

    def wrap_bool(self, value: bool) -> "Truth":
        return YES if value else NO

    def guard_int(self, _file: str = "", _line: int = 0) -> int:
        return int(self._pinned())

    int_ = guard_int

    def guard_float(self, _file: str = "", _line: int = 0) -> float:
        return float(self._pinned())

    def _pinned(self) -> Number:
        if self.constant is None:
            self.eq(self.sizes.number(self.hint, self.kind)).guard_bool()
        return self.hint

    def add(self, other: "Size") -> "Size":
        return self.sizes.once("+", rounding.add, self, other)

    def sub(self, other: "Size") -> "Size":
        return self.sizes.once("-", rounding.subtract, self, other)

    def mul(self, other: "Size") -> "Size":
        return self.sizes.once("*", rounding.multiply, self, other)

    def neg(self) -> "Size":
        return self.sizes.once("negative", polynomials.negative, self)

    def pos(self) -> "Size":
        return self

    def int_floordiv(self, other: "Size") -> "Size":
        return self.sizes.once("//", rounding.floor_divide, self, other)

    floordiv = int_floordiv

    def mod(self, other: "Size") -> "Size":
        return self.sizes.once("%", rounding.modulo, self, other)

    def int_truediv(self, other: "Size") -> "Size":
        return self.sizes.once("/", rounding.divide, self, other)

    truediv = float_truediv = int_truediv

    def floor(self) -> "Size":
        return self.sizes.once("floor", polynomials.floor, self)

    def trunc(self) -> "Size":
        """Towards 0: whether the number is negative is a question that the run goes by."""
        if self.kind is int or self.ge(self.sizes.number(0)).guard_bool():
            return self.floor()
        return self.ceil()

    sym_int = trunc

    def ceil(self) -> "Size":
        return self.neg().floor().neg()

    def sym_float(self) -> "Size":
        return self.sizes.size(self.terms, float)

    def pow_by_natural(self, other: "Size") -> "Size":
        power = self.sizes.number(1)
        for _ in range(other.guard_int()):
            power = power.mul(self)
        return power

    # What no formula follows is worked out for the run's own size, which it holds fixed.

    def float_pow(self, other: "Size") -> "Size":
        return self.wrap_float(float(self._pinned()) ** float(other._pinned()))

    def pow(self, other: "Size") -> "Size":
        return self.float_pow(other) if float in (self.kind, other.kind) else self.pow_by_natural(other)

    def sqrt(self) -> "Size":
        return self.wrap_float(math.sqrt(self._pinned()))

    sym_sqrt = sqrt

    def round(self, digits: int | None = None) -> "Size":
        rounded = round(float(self._pinned()), digits)
        return self.wrap_int(rounded) if isinstance(rounded, int) else self.wrap_float(rounded)

    def lshift(self, other: "Size") -> "Size":
        return self.mul(self.wrap_int(2 ** other.guard_int()))

    def rshift(self, other: "Size") -> "Size":
        return self.int_floordiv(self.wrap_int(2 ** other.guard_int()))

    def bitwise_and(self, other: "Size") -> "Size":
        return self.wrap_int(self.guard_int() & other.guard_int())

    def bitwise_or(self, other: "Size") -> "Size":
        return self.wrap_int(self.guard_int() | other.guard_int())

    def bitwise_xor(self, other: "Size") -> "Size":
        return self.wrap_int(self.guard_int() ^ other.guard_int())

    def abs(self) -> "Size":
        return self.sym_max(self.neg())

    def sym_min(self, other: "Size") -> "Size":
        return self.sizes.once("min", bounds.least, self, other)

    def sym_max(self, other: "Size") -> "Size":
        return self.sizes.once("max", bounds.greatest, self, other)

    def sym_sum(self, sizes: "Iterable[Size]") -> "Size":
        total = self.sizes.number(0)
        for size in sizes:
            total = total.add(size)
        return total

    def eq(self, other: "Size") -> "Truth":
        return compare("==", self, other)

    def ne(self, other: "Size") -> "Truth":
        return compare("==", self, other).sym_not()

    def ge(self, other: "Size") -> "Truth":
        return compare(">=", self, other)

    def gt(self, other: "Size") -> "Truth":
        return compare(">", self, other)

    def le(self, other: "Size") -> "Truth":
        return compare(">=", other, self)

    def lt(self, other: "Size") -> "Truth":
        return compare(">", other, self)

    # Questions of layout are answered for sizes in general, and nothing is written down.

    def is_contiguous(self, sizes: "Sequence[Size]", strides: "Sequence[Size]") -> "Truth":
        return known(is_packed(sizes, strides, range(len(sizes) - 1, -1, -1)))

    def is_channels_last_contiguous_2d(self, sizes: "Sequence[Size]", strides: "Sequence[Size]") -> "Truth":
        return known(len(sizes) == 4 and is_packed(sizes, strides, (1, 3, 2, 0)))

    def is_channels_last_contiguous_3d(self, sizes: "Sequence[Size]", strides: "Sequence[Size]") -> "Truth":
        return known(len(sizes) == 5 and is_packed(sizes, strides, (1, 4, 3, 2, 0)))

    def is_channels_last_strides_2d(self, sizes: "Sequence[Size]", strides: "Sequence[Size]") -> "Truth":
        return known(len(sizes) == 4 and is_ordered(sizes, strides, (1, 3, 2, 0)))

    def is_channels_last_strides_3d(self, sizes: "Sequence[Size]", strides: "Sequence[Size]") -> "Truth":
        return known(len(sizes) == 5 and is_ordered(sizes, strides, (1, 4, 3, 2, 0)))

    def is_non_overlapping_and_dense(self, sizes: "Sequence[Size]", strides: "Sequence[Size]") -> "Truth":
        return known(is_packed(sizes, strides, sorted(range(len(sizes)), key=lambda axis: strides[axis].hint)))

    def __repr__(self) -> str:
        return f"a size of {self.hint}"

    str = _graph_repr = __repr__


_UNNAMED = sympy.Symbol("s0", integer=True, positive=True)
"""Stands for any size where torch looks whether an expression has symbols of data in it."""


class Sizes(Polynomials):
    """The sizes of one run, and what torch asks a shape environment."""

    form: ClassVar[type[Polynomial]] = Size

    def symbol(self, name: str, value: int, multiple: int = 1) -> torch.SymInt:
        """A size of the inputs: a multiple, so that what divides that divides the size."""
        times = self.atom("symbol", value // multiple, name=name, multiple=multiple)
        return torch.SymInt(self.number(multiple).mul(times))

    def evaluate_sym_node(
        self,
        node: "Truth",
        size_oblivious: bool = False,  # noqa: ARG002  # torch passes it by name
        fallback_value: bool | None = None,
    ) -> bool:
        """What torch asks a shape environment for a question that has a fallback."""
        return node.known if node.known is not None else bool(fallback_value)

    def _maybe_evaluate_static(self, node: "Truth", **_: Any) -> bool | None:
        return node.known
