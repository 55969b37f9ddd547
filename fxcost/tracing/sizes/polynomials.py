"""Polynomials of the inputs' sizes, each distinct one kept once, with the value that it has at one example of them.

Floors and the least or greatest of several are atoms that a polynomial cannot look into. All that are equal for every
input take one form, so that equal ones are one object and a result is looked up when it is asked for again.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownVariableType=false
# The table makes polynomials of the kind that it is told to, which these functions cannot know.

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, ClassVar, Literal

Number = int | Fraction
Terms = tuple[tuple[tuple[int, ...], Number], ...]
"""Products of atoms, each with its coefficient, in a fixed order."""
Kind = Literal["symbol", "quotient", "floor", "ratio", "rounded", "least", "greatest"]
AskedRelation = Literal["==", ">=", ">"]


MOST_ANSWERS = 64
"""Answers that a run may rely on, most of which ranges imply; windowed models come to hundreds."""


class TooManyAnswers(Exception):
    """What the run does depends on sizes in more ways than can be kept: in these, and others."""

    def __init__(self, answers: "Iterable[Answer]") -> None:
        super().__init__()
        self.answers = tuple(answers)


class SizesHeld(BaseException):  # no `Exception`, so that the model cannot swallow it
    """Code looks a size up in a table: the symbols that it is of are to be plain numbers, in a run of their own."""

    def __init__(self, names: set[str], where: str) -> None:
        super().__init__(f"{', '.join(sorted(names))}: {where}")
        self.names, self.where = names, where


class Rounded(Exception):
    """A whole size is made of numbers that were rounded on the way."""


@dataclass(frozen=True, eq=False)
class Atom:
    """What a polynomial cannot look into: a symbol, or a floor, ratio, least, greatest or twice rounded float of other sizes."""

    kind: Kind
    name: str
    arguments: "tuple[Polynomial, ...]"
    multiple: int = 1
    """How many times a symbol's atom the symbol is."""


class Polynomial:
    """A sum of products, whole (``kind`` int) or on the way to a whole one (float); ``hint`` is its value in the example."""

    __slots__ = ("hint", "kind", "low", "sizes", "terms")

    def __init__(self, sizes: "Polynomials", terms: Terms, hint: Number, kind: type) -> None:
        self.sizes, self.terms, self.hint, self.kind = sizes, terms, hint, kind
        self.low: tuple[Number | None] | None = None

    @property
    def constant(self) -> Any:
        if not self.terms:
            return self.kind(0)
        return self.kind(self.terms[0][1]) if len(self.terms) == 1 and not self.terms[0][0] else None

    @property
    def symbol(self) -> int | None:
        """The atom of the one symbol that this is, if it is nothing else."""
        if len(self.terms) != 1 or self.terms[0][1] != 1 or len(self.terms[0][0]) != 1:
            return None
        (atom,) = self.terms[0][0]
        return atom if self.sizes.atoms[atom].kind == "symbol" else None


@dataclass(frozen=True)
class Place:
    """Who asked about a size: a line of the model's code, or an operator in one of its layers."""

    where: str
    in_operator: bool = False
    of_layout: bool = False
    """Whether it was asked for the layout of a result alone."""


@dataclass(frozen=True, eq=False)
class Answer:
    """``left relation right`` was found true, or not true, and the run went on by it."""

    relation: AskedRelation
    difference: Polynomial
    left: Polynomial
    right: Polynomial
    holds: bool
    place: Place

    @property
    def pins(self) -> str | None:
        """The symbol that it takes for a number."""
        atoms = [atom for product, _ in self.difference.terms for atom in product]
        if self.relation != "==" or not self.holds or len(atoms) != 1:
            return None
        atom = self.difference.sizes.atoms[atoms[0]]
        return atom.name if atom.kind == "symbol" else None


class Polynomials:
    """All sizes of one run, each distinct one kept once, and the answers that the run relied on."""

    form: ClassVar[type[Polynomial]] = Polynomial

    def __init__(self) -> None:
        self.atoms: list[Atom] = []
        self.relied: dict[tuple[AskedRelation, Polynomial, bool], Answer] = {}
        self.place: Callable[[], Place] = lambda: Place("")
        """Tells who is asking."""
        self.asked: list[tuple[AskedRelation, Polynomial, bool]] = []
        """What was asked since an operator began."""
        self.pinned: set[str] = set()
        """Symbols that the run takes for numbers."""
        self.lows: dict[int, int] = {}
        """Of symbols, by their atoms: the smallest size that the run has relied on."""
        self._atom_of: dict[Any, Any] = {}
        self._alone: list[Any] = []
        self._known: dict[tuple[Terms, type], Any] = {}
        self._results: dict[Any, Any] = {}

    def atom(self, kind: Kind, value: Number, *arguments: Polynomial, name: str = "", multiple: int = 1) -> Any:
        """What no polynomial looks into, with its value in the example."""
        key = (kind, name, arguments)
        if key not in self._atom_of:
            terms: Terms = (((len(self.atoms),), 1),)
            self.atoms.append(Atom(kind, name, arguments, multiple))
            self._alone.append(self.form(self, terms, value, int))
            self._atom_of[key] = self._known[terms, int] = self._alone[-1]
        return self._atom_of[key]

    def size(self, terms: Terms, kind: type = int) -> Any:
        """The polynomial of these terms; its value in the example follows from those of its atoms."""
        found = self._known.get((terms, kind))
        if found is None:
            value = sum(c * math.prod(self._alone[atom].hint for atom in atoms) for atoms, c in terms)
            found = self._known[terms, kind] = self.form(self, terms, value, kind)
        return found

    def alone(self, atom: int) -> Any:
        """The polynomial that is this atom and nothing else."""
        return self._alone[atom]

    def number(self, value: Number, kind: type = int) -> Any:
        return self.size((((), value),) if value else (), kind)

    def rely(self, relation: AskedRelation, difference: Polynomial, holds: bool, in_torch: bool = False) -> None:
        """Write down that the difference of two sizes was found to be 0, at least 0 or above 0, or not to be.

        With ``in_torch`` it is torch's own code that asks; before an operator begins that is for how a tensor lies.
        """
        key = (relation, difference, holds)
        if key in self.relied:
            self.asked.append(key)
            return
        if self.pins_decide(difference):
            return
        above: Polynomial = self.size(tuple(term for term in difference.terms if term[1] > 0))
        below: Polynomial = self.size(tuple((atoms, -c) for atoms, c in difference.terms if c < 0))
        if len(self.relied) == MOST_ANSWERS:
            raise TooManyAnswers(self.relied.values())
        place = self.place()
        if in_torch and not place.in_operator:
            place = replace(place, of_layout=True)
        answer = self.relied[key] = Answer(relation, difference, above, below, holds, place)
        self.asked.append(key)
        if answer.pins is not None:
            self.pinned.add(answer.pins)
        if holds and relation != "==" and below.constant is not None and (atom := above.symbol) is not None:
            self.lows[atom] = max(self.lows.get(atom, 1), int(below.constant) + (relation == ">"))

    def pins_decide(self, difference: Polynomial) -> bool:
        """Whether the run relies on the value of each symbol that a difference is of, so that this has one value too."""
        return bool(self.pinned) and symbols_of(difference) <= self.pinned

    def decided(self) -> None:
        """What the operator that runs has asked decides more than a layout: it fails."""
        for key in self.asked:
            answer = self.relied[key]
            self.relied[key] = replace(answer, place=replace(answer.place, of_layout=False))

    def once(self, name: str, function: Callable[..., Any], *sizes: Polynomial) -> Any:
        """The result of a function of sizes, worked out the first time it is asked for."""
        key = (name, *sizes)
        found = self._results.get(key)
        if found is None:
            found = self._results[key] = function(*sizes)
        return found


def _normal(terms: dict[tuple[int, ...], Number]) -> Terms:
    return tuple(sorted((atoms, c) for atoms, c in terms.items() if c))


def _kind(*sizes: Polynomial) -> type:
    return float if any(size.kind is float for size in sizes) else int


def plus(a: Polynomial, b: Polynomial) -> Polynomial:
    terms = dict(a.terms)
    for atoms, coefficient in b.terms:
        terms[atoms] = terms.get(atoms, 0) + coefficient
    return a.sizes.size(_normal(terms), _kind(a, b))


def minus(a: Polynomial, b: Polynomial) -> Polynomial:
    return plus(a, negative(b))


def negative(a: Polynomial) -> Polynomial:
    return times(a, a.sizes.number(-1))


def times(a: Polynomial, b: Polynomial) -> Polynomial:
    terms: dict[tuple[int, ...], Number] = {}
    for left, c in a.terms:
        for right, d in b.terms:
            atoms = tuple(sorted(left + right))
            terms[atoms] = terms.get(atoms, 0) + c * d
    return a.sizes.size(_normal(terms), _kind(a, b))


def _divided(a: Polynomial, b: Polynomial) -> dict[tuple[int, ...], Number] | None:
    """The terms of a/b where that is a polynomial again: long division, leading term by leading term."""
    by = _leading(dict(b.terms))
    left, found = dict(a.terms), dict[tuple[int, ...], Number]()
    while left:
        first = _leading(left)
        rest = without(first, by)
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


def without(product: tuple[int, ...], divisor: tuple[int, ...]) -> tuple[int, ...] | None:
    left = list(product)
    for atom in divisor:
        if atom not in left:
            return None
        left.remove(atom)
    return tuple(left)


def _whole(terms: dict[tuple[int, ...], Number]) -> bool:
    return all(isinstance(coefficient, int) for coefficient in terms.values())


def quotient(a: Polynomial, b: Polynomial) -> Polynomial:
    value = math.floor(a.hint / Fraction(b.hint))
    if a.constant is not None and b.constant is not None:
        return a.sizes.number(value)
    terms = _divided(a, b)
    if terms is not None and _whole(terms):
        return a.sizes.size(_normal(terms))
    if len(b.terms) == 1 and b.terms[0][0] and terms is not None:
        # What both sides have in common cancels: ⌊B·H / (B·2)⌋ = ⌊H/2⌋.
        common = a.sizes.number(b.terms[0][1])
        above = {atoms: c * b.terms[0][1] for atoms, c in terms.items()}
        return quotient(a.sizes.size(_normal(above)), common)
    divisor = b.constant
    if divisor and divisor > 0:
        return _quotient_by_number(a, divisor)
    next_up = _divided(plus(a, a.sizes.number(1)), b)
    if next_up is not None and _whole(next_up):  # ⌊(n·b − 1)/b⌋ = n − 1, sizes being 1 or more
        return minus(a.sizes.size(_normal(next_up)), a.sizes.number(1))
    return a.sizes.atom("quotient", value, a, b)


def _quotient_by_number(a: Polynomial, divisor: int) -> Polynomial:
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
        flipped = sizes.size(_normal(turned))
        return minus(sizes.size(_normal(whole)), _quotient_by_number(flipped, divisor))
    out = sizes.size(_normal(whole))
    if not inner:
        return plus(out, sizes.number(shift // divisor))
    if len(inner) == 1 and inner[0][1] == 1 and len(inner[0][0]) == 1:
        atom = sizes.atoms[inner[0][0][0]]
        below = atom.arguments[1].constant if atom.kind == "quotient" else None
        if below:
            # ⌊(⌊x/m⌋ + c)/n⌋ = ⌊(x + c·m)/(m·n)⌋
            folded = plus(atom.arguments[0], sizes.number(shift * below))
            return plus(out, quotient(folded, sizes.number(below * divisor)))
    terms = _normal({**rest, (): shift})
    left = sizes.size(terms)
    return plus(out, sizes.atom("quotient", left.hint // divisor, left, sizes.number(divisor)))


def ratio(a: Polynomial, b: Polynomial) -> Polynomial:
    value, terms = Fraction(a.hint) / Fraction(b.hint), _divided(a, b)
    if terms is not None:
        return a.sizes.size(_normal(terms), float)
    return a.sizes.size(a.sizes.atom("ratio", value, a, b).terms, float)


def floor(a: Polynomial) -> Polynomial:
    if has(a, "rounded"):
        raise Rounded
    if is_whole(a):
        return a.sizes.size(tuple((atoms, int(c)) for atoms, c in a.terms))
    value = math.floor(a.hint)
    return a.sizes.number(value) if a.constant is not None else a.sizes.atom("floor", value, a)


def is_whole(a: Polynomial) -> bool:
    """Whether it is a whole number at every size."""
    return all(Fraction(c).denominator == 1 for _, c in a.terms) and all(
        _is_whole_atom(a.sizes.atoms[atom]) for atoms, _ in a.terms for atom in atoms
    )


def _is_whole_atom(atom: Atom) -> bool:
    if atom.kind in ("least", "greatest"):
        return all(map(is_whole, atom.arguments))
    return atom.kind in ("symbol", "quotient", "floor")


def has(a: Polynomial, *kinds: Kind) -> bool:
    return any(a.sizes.atoms[atom].kind in kinds for atoms, _ in a.terms for atom in atoms)


def symbols_of(size: Polynomial) -> set[str]:
    """The names of the symbols that a size is of."""
    atoms = [size.sizes.atoms[atom] for product, _ in size.terms for atom in product]
    inside = (symbols_of(argument) for atom in atoms for argument in atom.arguments)
    return {atom.name for atom in atoms if atom.kind == "symbol"}.union(*inside)


def value_at(size: Any, symbols: dict[str, int], known: dict[Polynomial, Number]) -> Number:
    """The size when the symbols have these values; ``known`` keeps what was worked out before."""
    if not isinstance(size, Polynomial):
        return size
    if size not in known:
        known[size] = sum(
            coefficient * math.prod(_atom_at(size.sizes.atoms[atom], symbols, known) for atom in atoms)
            for atoms, coefficient in size.terms
        )
    return known[size]


def _atom_at(atom: Atom, symbols: dict[str, int], known: dict[Polynomial, Number]) -> Number:
    if atom.kind == "symbol":
        return symbols[atom.name] // atom.multiple
    values = [value_at(argument, symbols, known) for argument in atom.arguments]
    match atom.kind:
        case "quotient":
            return math.floor(Fraction(values[0]) / Fraction(values[1]))
        case "ratio":
            return Fraction(values[0]) / Fraction(values[1])
        case "rounded":
            raise Rounded
        case "floor":
            return math.floor(values[0])
        case "least":
            return min(values)
        case _:
            return max(values)
