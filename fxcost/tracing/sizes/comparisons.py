"""Questions that are asked of carried sizes: settled by arithmetic, or answered as the run's own sizes have it.

An answer of the second kind is written down, for it says where the formulas hold.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
# Torch's symbolic sizes are private and untyped; this folder is the border that keeps them from the rest.

from typing import Any

from fxcost.tracing.sizes.polynomial_bounds import difference_of, primitive, settled
from fxcost.tracing.sizes.polynomials import AskedRelation, Polynomial, Polynomials


class Node:
    """What torch asks of every node."""

    __slots__ = ()
    is_float = is_int = is_bool = is_nested_int = is_constant = lambda _self: False
    has_hint = is_symbolic = lambda _self: True
    nested_int = maybe_as_int = maybe_as_float = maybe_as_bool = constant_int = constant_bool = lambda _self: None

    def clone(self) -> "Node":
        return self


class Truth(Node):
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

    def sym_ite(self, then: Any, otherwise: Any) -> Any:
        return then if self.guard_bool() else otherwise

    def guard_bool(self, file: str = "", _line: int = 0) -> bool:
        if self.known is not None:
            return self.known
        if "TensorIndexing" not in file:  # it asks whether a slice is all there is: a view, or none
            self._rely_on(self.hint, file.endswith("SymInt.h"))
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
        difference: Any = primitive(difference_of(*self.parts))  # pyright: ignore[reportArgumentType]
        if self.sizes.pins_decide(difference):
            return self.hint is answer
        return (self.relation, difference, answer) in self.sizes.relied  # pyright: ignore[reportArgumentType]

    def _rely_on(self, answer: bool, in_torch: bool = False) -> None:
        if self.known is not None or self.sizes is None:
            return
        if self.relation == "not":
            self.parts[0]._rely_on(not answer, in_torch)
        elif self.relation == "or":
            # Where one part is enough, keeping the first that held narrows where the formulas hold; it never widens it.
            for part in self.parts if not answer else [next(p for p in self.parts if p.hint)]:
                part._rely_on(answer, in_torch)
        else:
            self.sizes.rely(self.relation, primitive(difference_of(*self.parts)), answer, in_torch)  # pyright: ignore[reportArgumentType]

    def __repr__(self) -> str:
        return f"a question of sizes, here {self.hint}"

    str = _graph_repr = __repr__


YES = Truth(None, "known", (), True, True)
NO = Truth(None, "known", (), False, False)


def known(answer: bool) -> Truth:
    return YES if answer else NO


def compare(relation: AskedRelation, a: Polynomial, b: Polynomial) -> Truth:
    return a.sizes.once(relation, lambda a, b: _compared(relation, a, b), a, b)


def _compared(relation: AskedRelation, a: Polynomial, b: Polynomial) -> Truth:
    known = settled(relation, a, b)
    if known is not None:
        return YES if known else NO
    holds = {"==": a.hint == b.hint, ">=": a.hint >= b.hint, ">": a.hint > b.hint}[relation]
    return Truth(a.sizes, relation, (a, b), holds, None)
