"""Sizes that a run carries along: polynomials of the inputs' sizes, with the value that each has in the run.

Torch lets any object stand behind a `torch.SymInt` that answers as its own ``SymNode`` does. These answer with a sum of
products, so that two sizes are equal for every input exactly when they are one object, and a question about sizes is
settled by arithmetic. A question that is not settled is answered as the run's own sizes have it, and written down.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
# Torch's symbolic sizes are private and untyped; this folder is the border that keeps them from the rest.

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import sympy
import torch

Number = int | Fraction
Terms = tuple[tuple[tuple[int, ...], Number], ...]
"""Products of atoms, each with its coefficient, in a fixed order."""
Kind = Literal["symbol", "quotient", "floor", "ratio", "least", "greatest"]
Relation = Literal["==", ">=", ">"]


@dataclass(frozen=True, eq=False)
class Atom:
    """What a polynomial cannot look into: a symbol, or a floor, least or greatest of other sizes."""

    kind: Kind
    name: str
    arguments: "tuple[Size, ...]"


class Sizes:
    """All sizes of one run, each distinct one kept once, and the answers that the run relied on."""

    def __init__(self) -> None:
        self.atoms: list[Atom] = []
        self.relied: dict[tuple[Relation, Size, bool], Answer] = {}
        self.where: Callable[[], str | None] = lambda: ""
        """The line of the model's code that is running; None inside an operator."""
        self.lows: dict[int, int] = {}
        """Of symbols, by their atoms: the smallest size that the run has relied on."""
        self._atom_of: dict[Any, Size] = {}
        self._known: dict[tuple[Terms, type], Size] = {}
        self._results: dict[Any, Any] = {}

    def symbol(self, name: str, value: int) -> torch.SymInt:
        """A size of the inputs."""
        return torch.SymInt(self.atom("symbol", value, name=name))

    def atom(self, kind: Kind, value: Number, *arguments: "Size", name: str = "") -> "Size":
        key = (kind, name, arguments)
        if key not in self._atom_of:
            self.atoms.append(Atom(kind, name, arguments))
            self._atom_of[key] = self.size((((len(self.atoms) - 1,), 1),), value)
        return self._atom_of[key]

    def size(self, terms: Terms, value: Number, kind: type = int) -> "Size":
        found = self._known.get((terms, kind))
        if found is None:
            found = self._known[terms, kind] = Size(self, terms, value, kind)
        return found

    def number(self, value: Number, kind: type = int) -> "Size":
        return self.size((((), value),) if value else (), value, kind)

    def rely(self, relation: Relation, difference: "Size", holds: bool) -> None:
        """Write down that the difference of two sizes was found to be 0, at least 0 or above 0, or not to be."""
        key = (relation, difference, holds)
        if key in self.relied:
            return
        above = self.size(tuple(term for term in difference.terms if term[1] > 0), 0)
        below = self.size(tuple((atoms, -c) for atoms, c in difference.terms if c < 0), 0)
        self.relied[key] = Answer(relation, difference, above, below, holds, self.where())
        if (
            holds
            and relation != "=="
            and len(above.terms) == 1
            and above.terms[0][1] == 1
            and below.constant is not None
        ):
            atoms = above.terms[0][0]
            if len(atoms) == 1 and self.atoms[atoms[0]].kind == "symbol":
                least = int(below.constant) + (relation == ">")
                self.lows[atoms[0]] = max(self.lows.get(atoms[0], 1), least)

    def once(self, name: str, function: "Callable[..., Any]", *sizes: "Size") -> Any:
        """The result of a function of sizes, worked out the first time it is asked for."""
        key = (name, *sizes)
        found = self._results.get(key)
        if found is None:
            found = self._results[key] = function(*sizes)
        return found

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


@dataclass(frozen=True, eq=False)
class Answer:
    """``left relation right`` was found true, or not true, and the run went on by it."""

    relation: Relation
    difference: "Size"
    left: "Size"
    right: "Size"
    holds: bool
    where: str | None
    """The line of the model's code; None where an operator asked."""


class _Node:
    """What torch asks of every node."""

    __slots__ = ()
    is_float = is_int = is_bool = is_nested_int = is_constant = lambda _self: False
    has_hint = is_symbolic = lambda _self: True
    nested_int = maybe_as_int = maybe_as_float = maybe_as_bool = constant_int = constant_bool = lambda _self: None

    def clone(self) -> "_Node":
        return self


class Size(_Node):
    """A size, or a fraction on the way to one, as a polynomial; ``hint`` is its value in the run."""

    __slots__ = ("hint", "kind", "low", "sizes", "terms")

    def __init__(self, sizes: Sizes, terms: Terms, hint: Number, kind: type) -> None:
        self.sizes, self.terms, self.hint, self.kind = sizes, terms, hint, kind
        self.low: tuple[Number | None] | None = None

    def is_int(self) -> bool:
        return self.kind is int

    def is_float(self) -> bool:
        return self.kind is float

    @property
    def shape_env(self) -> Sizes:
        return self.sizes

    @property
    def pytype(self) -> type:
        return self.kind

    _hint = property(lambda self: self.hint)
    _expr = expr = property(lambda self: sympy.Integer(self.hint) if self.constant is not None else _UNNAMED)

    @property
    def constant(self) -> Any:
        if not self.terms:
            return self.kind(0)
        return self.kind(self.terms[0][1]) if len(self.terms) == 1 and not self.terms[0][0] else None

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
        return self.sizes.once("+", _sum, self, other)

    def sub(self, other: "Size") -> "Size":
        return self.sizes.once("-", lambda a, b: _sum(a, b, -1), self, other)

    def mul(self, other: "Size") -> "Size":
        return self.sizes.once("*", _product, self, other)

    def neg(self) -> "Size":
        return self.mul(self.sizes.number(-1))

    def pos(self) -> "Size":
        return self

    def int_floordiv(self, other: "Size") -> "Size":
        return self.sizes.once("//", _quotient, self, other)

    floordiv = int_floordiv

    def mod(self, other: "Size") -> "Size":
        return self.sizes.once("%", _remainder, self, other)

    def int_truediv(self, other: "Size") -> "Size":
        return self.sizes.once("/", _ratio, self, other)

    truediv = float_truediv = int_truediv

    def floor(self) -> "Size":
        return self.sizes.once("floor", _floor, self)

    trunc = sym_int = floor

    def ceil(self) -> "Size":
        return self.neg().floor().neg()

    def sym_float(self) -> "Size":
        return self.sizes.size(self.terms, self.hint, float)

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
        return self.sizes.once("min", lambda a, b: _extreme("least", a, b), self, other)

    def sym_max(self, other: "Size") -> "Size":
        return self.sizes.once("max", lambda a, b: _extreme("greatest", a, b), self, other)

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
        return _packed(sizes, strides, range(len(sizes) - 1, -1, -1))

    def is_channels_last_contiguous_2d(self, sizes: "Sequence[Size]", strides: "Sequence[Size]") -> "Truth":
        return _packed(sizes, strides, (1, 3, 2, 0)) if len(sizes) == 4 else NO

    def is_channels_last_contiguous_3d(self, sizes: "Sequence[Size]", strides: "Sequence[Size]") -> "Truth":
        return _packed(sizes, strides, (1, 4, 3, 2, 0)) if len(sizes) == 5 else NO

    def is_channels_last_strides_2d(self, sizes: "Sequence[Size]", strides: "Sequence[Size]") -> "Truth":
        return _ordered(sizes, strides, (1, 3, 2, 0)) if len(sizes) == 4 else NO

    def is_channels_last_strides_3d(self, sizes: "Sequence[Size]", strides: "Sequence[Size]") -> "Truth":
        return _ordered(sizes, strides, (1, 4, 3, 2, 0)) if len(sizes) == 5 else NO

    def is_non_overlapping_and_dense(self, sizes: "Sequence[Size]", strides: "Sequence[Size]") -> "Truth":
        return _packed(sizes, strides, sorted(range(len(sizes)), key=lambda axis: strides[axis].hint))

    def __repr__(self) -> str:
        return f"a size of {self.hint}"

    str = _graph_repr = __repr__


_UNNAMED = sympy.Symbol("s0", integer=True, positive=True)
"""Stands for any size where torch looks whether an expression has symbols of data in it."""


class Truth(_Node):
    """A question about sizes: settled (``known``), or with the answer that the run's own sizes give (``hint``)."""

    __slots__ = ("hint", "known", "parts", "relation", "sizes")

    def __init__(
        self, sizes: Sizes | None, relation: str, parts: tuple[Any, ...], hint: bool, known: bool | None
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
        return self.known is True

    guard_size_oblivious = guard_or_false = statically_known_true

    def guard_or_true(self, _file: str = "", _line: int = 0) -> bool:
        return self.known is not False

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
            self.sizes.rely(self.relation, _primitive(self.parts[0].sub(self.parts[1])), answer)  # pyright: ignore[reportArgumentType]

    def __repr__(self) -> str:
        return f"a question of sizes, here {self.hint}"

    str = _graph_repr = __repr__


YES = Truth(None, "known", (), True, True)
NO = Truth(None, "known", (), False, False)


def _normal(terms: dict[tuple[int, ...], Number]) -> Terms:
    return tuple(sorted((atoms, c) for atoms, c in terms.items() if c))


def _kind(*sizes: Size) -> type:
    return float if any(size.kind is float for size in sizes) else int


def _sum(a: Size, b: Size, sign: int = 1) -> Size:
    terms = dict(a.terms)
    for atoms, coefficient in b.terms:
        terms[atoms] = terms.get(atoms, 0) + sign * coefficient
    return a.sizes.size(_normal(terms), a.hint + sign * b.hint, _kind(a, b))


def _product(a: Size, b: Size) -> Size:
    terms: dict[tuple[int, ...], Number] = {}
    for left, c in a.terms:
        for right, d in b.terms:
            atoms = tuple(sorted(left + right))
            terms[atoms] = terms.get(atoms, 0) + c * d
    return a.sizes.size(_normal(terms), a.hint * b.hint, _kind(a, b))


def _divided(a: Size, b: Size) -> dict[tuple[int, ...], Number] | None:
    """The terms of a/b where that is a polynomial again: long division, leading term by leading term."""
    by = _leading(dict(b.terms))
    left, found = dict(a.terms), dict[tuple[int, ...], Number]()
    while left:
        first = _leading(left)
        rest = _without(first, by)
        if rest is None:
            return None
        share = Fraction(left[first]) / dict(b.terms)[by]
        share = found[rest] = int(share) if share.denominator == 1 else share
        for atoms, coefficient in b.terms:
            product = tuple(sorted(rest + atoms))
            left[product] = left.get(product, 0) - share * coefficient
            if not left[product]:
                del left[product]
    return found


def _leading(terms: dict[tuple[int, ...], Number]) -> tuple[int, ...]:
    """The last product in the lexical order of monomials, which multiplication keeps."""
    return max(terms, key=lambda atoms: atoms[::-1])


def _without(product: tuple[int, ...], divisor: tuple[int, ...]) -> tuple[int, ...] | None:
    left = list(product)
    for atom in divisor:
        if atom not in left:
            return None
        left.remove(atom)
    return tuple(left)


def _whole(terms: dict[tuple[int, ...], Number]) -> bool:
    return all(isinstance(coefficient, int) for coefficient in terms.values())


def _quotient(a: Size, b: Size) -> Size:
    value = math.floor(a.hint / Fraction(b.hint))
    terms = _divided(a, b)
    if terms is not None and _whole(terms):
        return a.sizes.size(_normal(terms), value)
    if len(b.terms) == 1 and b.terms[0][0] and terms is not None:
        # What both sides have in common cancels: ⌊B·H / (B·2)⌋ = ⌊H/2⌋.
        common = a.sizes.number(b.terms[0][1])
        above = {atoms: c * b.terms[0][1] for atoms, c in terms.items()}
        return _quotient(a.sizes.size(_normal(above), a.hint * b.terms[0][1] // b.hint), common)
    divisor = b.constant
    return _quotient_by_number(a, divisor) if divisor and divisor > 0 else a.sizes.atom("quotient", value, a, b)


def _quotient_by_number(a: Size, divisor: int) -> Size:
    """⌊a/n⌋ in one form for all that are equal: whole parts outside, the number inside from 1−n to 0, floors folded."""
    whole: dict[tuple[int, ...], Number] = {}
    rest: dict[tuple[int, ...], Number] = {}
    for atoms, coefficient in a.terms:
        outside, inside = divmod(coefficient, divisor)
        if not atoms and inside:
            outside, inside = outside + 1, inside - divisor
        if atoms and inside:
            outside, inside = 0, coefficient
        whole[atoms], rest[atoms] = outside, inside
    sizes = a.sizes
    shift = rest.pop((), 0)
    inner = _normal(rest)
    if inner and inner[0][1] < 0 and all(isinstance(c, int) for _, c in inner):
        # ⌊−x/n⌋ = −⌊(x + n − 1)/n⌋ for a whole x
        turned = {atoms: -c for atoms, c in inner} | {(): divisor - 1 - shift}
        flipped = sizes.size(_normal(turned), _value(sizes, turned))
        return sizes.size(_normal(whole), _value(sizes, whole)).sub(_quotient_by_number(flipped, divisor))
    out = sizes.size(_normal(whole), _value(sizes, whole))
    if len(inner) == 1 and inner[0][1] == 1 and len(inner[0][0]) == 1:
        atom = sizes.atoms[inner[0][0][0]]
        below = atom.arguments[1].constant if atom.kind == "quotient" else None
        if below:
            # ⌊(⌊x/m⌋ + c)/n⌋ = ⌊(x + c·m)/(m·n)⌋
            folded = atom.arguments[0].add(sizes.number(shift * below))
            return out.add(_quotient(folded, sizes.number(below * divisor)))
    terms = _normal({**rest, (): shift})
    left = sizes.size(terms, _value(sizes, dict(terms)))
    return out.add(sizes.atom("quotient", left.hint // divisor, left, sizes.number(divisor)))


def _value(sizes: Sizes, terms: dict[tuple[int, ...], Number]) -> Number:
    return sum(c * math.prod(sizes.size((((atom,), 1),), 0).hint for atom in atoms) for atoms, c in terms.items())


def _remainder(a: Size, b: Size) -> Size:
    return a.sub(_quotient(a, b).mul(b))


def _ratio(a: Size, b: Size) -> Size:
    value, terms = Fraction(a.hint) / Fraction(b.hint), _divided(a, b)
    if terms is not None:
        return a.sizes.size(_normal(terms), value, float)
    return a.sizes.atom("ratio", value, a, b).sym_float()


def _floor(a: Size) -> Size:
    if all(isinstance(c, int) or c.denominator == 1 for _, c in a.terms) and not _has_ratio(a):
        return a.sizes.size(tuple((atoms, int(c)) for atoms, c in a.terms), int(a.hint))
    return a.sizes.atom("floor", math.floor(a.hint), a)


def _has_ratio(a: Size) -> bool:
    return any(a.sizes.atoms[atom].kind == "ratio" for atoms, _ in a.terms for atom in atoms)


def _extreme(kind: Literal["least", "greatest"], a: Size, b: Size) -> Size:
    for first, second in ((a, b), (b, a)):
        if _compare(">=", first, second).known is True:
            return first if kind == "greatest" else second
    value = max(a.hint, b.hint) if kind == "greatest" else min(a.hint, b.hint)
    return a.sizes.atom(kind, value, *sorted((a, b), key=lambda size: (size.terms, id(size))))


def _compare(relation: Relation, a: Size, b: Size) -> Truth:
    return a.sizes.once(relation, lambda a, b: _compared(relation, a, b), a, b)


def _compared(relation: Relation, a: Size, b: Size) -> Truth:
    difference = a.sub(b)
    low, high = low_of(difference), low_of(difference.neg())
    high = None if high is None else -high
    holds = {"==": difference.hint == 0, ">=": difference.hint >= 0, ">": difference.hint > 0}[relation]
    if not difference.terms:
        return YES if holds else NO
    if relation == "==" and ((low is not None and low > 0) or (high is not None and high < 0)):
        return NO
    if relation == ">=" and ((low is not None and low >= 0) or (high is not None and high < 0)):
        return YES if holds else NO
    if relation == ">" and ((low is not None and low > 0) or (high is not None and high <= 0)):
        return YES if holds else NO
    return Truth(a.sizes, relation, (a, b), holds, None)


def low_of(size: Size) -> Number | None:
    """A number that the size never falls below, each symbol being at least 1; None when none is found."""
    if size.low is None:
        size.low = (None,)  # while it is looked for
        found = _low_of_sum(size)
        if found is None and (real := _without_floors(size)) is not None:
            found = low_of(real)
            found = None if found is None else math.ceil(found)
        size.low = (found,)
    return size.low[0]


def _without_floors(size: Size) -> Size | None:
    """A fraction that is at most the size: ⌊a/n⌋ is at most a/n, and at least (a − n + 1)/n."""
    sizes, total, changed = size.sizes, size.sizes.number(0), False
    if size.kind is float:
        return None
    for atoms, coefficient in size.terms:
        term = sizes.number(coefficient)
        for atom in atoms:
            found = sizes.atoms[atom]
            below = found.arguments[1].constant if found.kind == "quotient" else None
            if below and not changed | (len(atoms) > 1 and coefficient > 0):
                shift = sizes.number(0 if coefficient < 0 else 1 - below)
                term = term.mul(found.arguments[0].add(shift)).mul(sizes.number(Fraction(1, below)))
                changed = True
            else:
                term = term.mul(sizes.size((((atom,), 1),), sizes.size((((atom,), 1),), 0).hint))
        total = total.add(term)
    return total if changed else None


def _low_of_sum(size: Size) -> Number | None:
    if any(atoms and coefficient < 0 for atoms, coefficient in size.terms):
        return None
    total: Number = 0
    for atoms, coefficient in size.terms:
        product: Number = coefficient
        for atom in atoms:
            low = _low_of_atom(size.sizes, atom)
            if low is None or low < 0:
                return None
            product *= low
        total += product
    return total


def _low_of_atom(sizes: Sizes, index: int) -> Number | None:
    atom = sizes.atoms[index]
    if atom.kind == "symbol":
        return sizes.lows.get(index, 1)
    lows = [low_of(argument) for argument in atom.arguments]
    if atom.kind == "greatest":
        return max((low for low in lows if low is not None), default=None)
    if lows[0] is None or (atom.kind == "least" and lows[1] is None):
        return None
    if atom.kind == "least":
        return min(low for low in lows if low is not None)
    if atom.kind == "floor":
        return math.floor(lows[0])
    if lows[1] is None or lows[1] <= 0:
        return None
    divisor = atom.arguments[1].constant
    if divisor:
        return math.floor(Fraction(lows[0]) / divisor) if atom.kind == "quotient" else Fraction(lows[0]) / divisor
    return 0 if lows[0] >= 0 else None


def _primitive(difference: Size) -> Size:
    """The same difference without what all its terms have in common, a number or sizes that are at least 1."""
    sizes, terms = difference.sizes, difference.terms
    if difference.kind is float or any(not isinstance(c, int) for _, c in terms):
        return difference
    common = [atom for atom in dict.fromkeys(terms[0][0]) if (_low_of_atom(sizes, atom) or 0) >= 1]
    for atom in common:
        if all(atom in atoms for atoms, _ in terms):
            return _primitive(
                sizes.size(tuple((_without(atoms, (atom,)) or (), c) for atoms, c in terms), difference.hint)
            )
    number = math.gcd(*(int(c) for _, c in terms))
    return sizes.size(tuple((atoms, int(c) // number) for atoms, c in terms), difference.hint)


def _packed(sizes: Sequence[Size], strides: Sequence[Size], order: Iterable[int]) -> Truth:
    """Whether axes in this order, the fastest first, lie side by side without gaps."""
    expected: Size | None = None
    for axis in order:
        size, stride = sizes[axis], strides[axis]
        expected = size.sizes.number(1) if expected is None else expected
        if size.constant == 1:
            continue
        if stride is not expected:
            return NO
        expected = expected.mul(size)
    return YES


def _ordered(sizes: Sequence[Size], strides: Sequence[Size], order: Sequence[int]) -> Truth:
    """Whether strides grow in this order, as torch tells a channels-last layout."""
    if strides[1].hint == 0:
        return NO
    reached: Number = 0
    for axis in order:
        if sizes[axis].hint == 0 or strides[axis].hint < reached or (axis == 0 and reached == strides[1].hint):
            return NO
        reached = strides[axis].hint * max(sizes[axis].hint, 1)
    return YES


def value_at(size: Any, symbols: dict[str, int], known: dict[Size, Number]) -> Number:
    """The size when the symbols have these values; ``known`` keeps what was worked out before."""
    if not isinstance(size, Size):
        return size
    if size not in known:
        known[size] = sum(
            coefficient * math.prod(_atom_at(size.sizes.atoms[atom], symbols, known) for atom in atoms)
            for atoms, coefficient in size.terms
        )
    return known[size]


def _atom_at(atom: Atom, symbols: dict[str, int], known: dict[Size, Number]) -> Number:
    if atom.kind == "symbol":
        return symbols[atom.name]
    values = [value_at(argument, symbols, known) for argument in atom.arguments]
    match atom.kind:
        case "quotient":
            return math.floor(Fraction(values[0]) / Fraction(values[1]))
        case "ratio":
            return Fraction(values[0]) / Fraction(values[1])
        case "floor":
            return math.floor(values[0])
        case "least":
            return min(values)
        case _:
            return max(values)
