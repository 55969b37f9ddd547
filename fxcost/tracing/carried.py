"""Sizes that a run carries along behind torch's own `torch.SymInt`, and the questions that are asked of them.

Torch lets any object stand behind one that answers as its own ``SymNode`` does; these answer with polynomials. A question
that arithmetic does not settle is answered as the run's own sizes have it, and written down.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
# Torch's symbolic sizes are private and untyped; this folder is the border that keeps them from the rest.

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, ClassVar

import sympy
import torch

from fxcost.tracing import bounds, polynomials, rounding
from fxcost.tracing.bounds import difference_of, primitive, settled
from fxcost.tracing.layouts import is_ordered, is_packed
from fxcost.tracing.polynomials import Number, Polynomial, Polynomials, Relation


class _Node:
    """What torch asks of every node."""

    __slots__ = ()
    is_float = is_int = is_bool = is_nested_int = is_constant = lambda _self: False
    has_hint = is_symbolic = lambda _self: True
    nested_int = maybe_as_int = maybe_as_float = maybe_as_bool = constant_int = constant_bool = lambda _self: None

    def clone(self) -> "_Node":
        return self


class Size(Polynomial, _Node):
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

    trunc = sym_int = floor

    def ceil(self) -> "Size":
        return self.neg().floor().neg()

    def sym_float(self) -> "Size":
        return self.sizes.size(self.terms, float)

    def pow_by_natural(self, other: "Size") -> "Size":
        power = self.sizes.number(1)
        for _ in range(other.guard_int()):
            power = power.mul(self)
        return power

    def float_pow(self, other: "Size") -> "Size":
        base, exponent = self.constant, other.constant
        if base is None or exponent is None:
            raise NotImplementedError("a power of a size that is not whole")
        return self.sizes.number(Fraction(float(base) ** float(exponent)), float)

    def pow(self, other: "Size") -> "Size":
        return self.float_pow(other) if float in (self.kind, other.kind) else self.pow_by_natural(other)

    def sqrt(self) -> "Size":
        return self.float_pow(self.sizes.number(Fraction(1, 2), float))

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
        return _compare("==", self, other)

    def ne(self, other: "Size") -> "Truth":
        return _compare("==", self, other).sym_not()

    def ge(self, other: "Size") -> "Truth":
        return _compare(">=", self, other)

    def gt(self, other: "Size") -> "Truth":
        return _compare(">", self, other)

    def le(self, other: "Size") -> "Truth":
        return _compare(">=", other, self)

    def lt(self, other: "Size") -> "Truth":
        return _compare(">", other, self)

    # Questions of layout are answered for sizes in general, and nothing is written down.

    def is_contiguous(self, sizes: "Sequence[Size]", strides: "Sequence[Size]") -> "Truth":
        return _settled(is_packed(sizes, strides, range(len(sizes) - 1, -1, -1)))

    def is_channels_last_contiguous_2d(self, sizes: "Sequence[Size]", strides: "Sequence[Size]") -> "Truth":
        return _settled(len(sizes) == 4 and is_packed(sizes, strides, (1, 3, 2, 0)))

    def is_channels_last_contiguous_3d(self, sizes: "Sequence[Size]", strides: "Sequence[Size]") -> "Truth":
        return _settled(len(sizes) == 5 and is_packed(sizes, strides, (1, 4, 3, 2, 0)))

    def is_channels_last_strides_2d(self, sizes: "Sequence[Size]", strides: "Sequence[Size]") -> "Truth":
        return _settled(len(sizes) == 4 and is_ordered(sizes, strides, (1, 3, 2, 0)))

    def is_channels_last_strides_3d(self, sizes: "Sequence[Size]", strides: "Sequence[Size]") -> "Truth":
        return _settled(len(sizes) == 5 and is_ordered(sizes, strides, (1, 4, 3, 2, 0)))

    def is_non_overlapping_and_dense(self, sizes: "Sequence[Size]", strides: "Sequence[Size]") -> "Truth":
        return _settled(is_packed(sizes, strides, sorted(range(len(sizes)), key=lambda axis: strides[axis].hint)))

    def __repr__(self) -> str:
        return f"a size of {self.hint}"

    str = _graph_repr = __repr__


_UNNAMED = sympy.Symbol("s0", integer=True, positive=True)
"""Stands for any size where torch looks whether an expression has symbols of data in it."""


class Truth(_Node):
    """A question about sizes: settled (``known``), or with the answer that the run's own sizes give (``hint``)."""

    __slots__ = ("hint", "known", "parts", "relation", "sizes")

    def __init__(
        self, sizes: Polynomials | None, relation: str, parts: tuple[Any, ...], hint: bool, known: bool | None
    ) -> None:
        self.sizes, self.relation, self.parts, self.hint, self.known = sizes, relation, parts, hint, known

    def is_bool(self) -> bool:
        return True

    pytype = bool
    shape_env = property(lambda self: self.sizes)
    expr = _expr = property(lambda self: self)
    _hint = property(lambda self: self.hint)
    constant = property(lambda self: self.known)

    def maybe_as_bool(self) -> bool | None:
        return self.known

    constant_bool = maybe_as_bool

    def wrap_bool(self, value: bool) -> "Truth":
        return YES if value else NO

    def wrap_int(self, number: int) -> Any:
        return self.sizes.number(number) if self.sizes else number

    def sym_not(self) -> "Truth":
        if self.known is not None:
            return NO if self.known else YES
        return Truth(self.sizes, "not", (self,), not self.hint, None)

    def sym_and(self, other: "Truth") -> "Truth":
        return self.sym_not().sym_or(other.sym_not()).sym_not()

    def sym_or(self, other: "Truth") -> "Truth":
        if self.known is not None:
            return YES if self.known else other
        if other.known is not None:
            return YES if other.known else self
        return Truth(self.sizes, "or", (self, other), self.hint or other.hint, None)

    and_ = bitwise_and = sym_and
    or_ = bitwise_or = sym_or

    def sym_ite(self, then: Size, otherwise: Size) -> Size:
        return then if self.guard_bool() else otherwise

    def guard_bool(self, file: str = "", _line: int = 0) -> bool:
        if self.known is not None:
            return self.known
        if "TensorIndexing" not in file:  # it asks whether a slice is all there is: a view, or none
            self._rely_on(self.hint)
        return self.hint

    bool_ = expect_true = guard_bool

    def statically_known_true(self, _file: str = "", _line: int = 0) -> bool:
        return self._relied_on(True)

    guard_size_oblivious = guard_or_false = statically_known_true

    def guard_or_true(self, _file: str = "", _line: int = 0) -> bool:
        return not self._relied_on(False)

    def _relied_on(self, answer: bool) -> bool:
        """Whether the answer is settled, or one that the run relies on already: torch asks again as it goes deeper."""
        if self.known is not None or self.sizes is None:
            return self.known is answer
        if self.relation == "not":
            return self.parts[0]._relied_on(not answer)
        if self.relation == "or":
            relied = [part._relied_on(answer) for part in self.parts]
            return any(relied) if answer else all(relied)
        return (self.relation, primitive(difference_of(*self.parts)), answer) in self.sizes.relied  # pyright: ignore[reportArgumentType]

    def _rely_on(self, answer: bool) -> None:
        if self.known is not None or self.sizes is None:
            return
        if self.relation == "not":
            self.parts[0]._rely_on(not answer)
        elif self.relation == "or":
            # Where one part is enough, keeping the first that held narrows where the formulas hold; it never widens it.
            for part in self.parts if not answer else [next(p for p in self.parts if p.hint)]:
                part._rely_on(answer)
        else:
            self.sizes.rely(self.relation, primitive(difference_of(*self.parts)), answer)  # pyright: ignore[reportArgumentType]

    def __repr__(self) -> str:
        return f"a question of sizes, here {self.hint}"

    str = _graph_repr = __repr__


YES = Truth(None, "known", (), True, True)
NO = Truth(None, "known", (), False, False)


def _settled(answer: bool) -> Truth:
    return YES if answer else NO


def _compare(relation: Relation, a: Size, b: Size) -> Truth:
    return a.sizes.once(relation, lambda a, b: _compared(relation, a, b), a, b)


def _compared(relation: Relation, a: Size, b: Size) -> Truth:
    known = settled(relation, a, b)
    if known is not None:
        return YES if known else NO
    holds = {"==": a.hint == b.hint, ">=": a.hint >= b.hint, ">": a.hint > b.hint}[relation]
    return Truth(a.sizes, relation, (a, b), holds, None)


class Sizes(Polynomials):
    """The sizes of one run, and what torch asks a shape environment."""

    form: ClassVar[type[Polynomial]] = Size

    def symbol(self, name: str, value: int) -> torch.SymInt:
        """A size of the inputs."""
        return torch.SymInt(self.atom("symbol", value, name=name))

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
