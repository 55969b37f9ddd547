"""From a model to a traced graph by one recorded run, checked by plain runs at the same sizes and at the lowest."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportPrivateUsage=false
# Torch's symbolic sizes are private and untyped; this folder is the border that keeps them from the rest.

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import sympy
import torch

from fxcost.errors import FxcostError
from fxcost.formulas.ranges.domain import Condition, Pinned, SymbolRange
from fxcost.formulas.ranges.interval_arithmetic import Ends
from fxcost.formulas.ranges.propagation import tighten
from fxcost.formulas.with_sympy import apply, condition, settled, symbol
from fxcost.graph import operations
from fxcost.tracing.environment.integers import Globals, MadeWhole
from fxcost.tracing.export.reading import Traced, squeezed
from fxcost.tracing.recording.graph_builder import Builder
from fxcost.tracing.recording.kernels import sizes_needed
from fxcost.tracing.recording.recorder import DataMissing, place_of_failure
from fxcost.tracing.recording.validation import ADVICE, Mismatch, Run, hold_against, unrecorded
from fxcost.tracing.sizes.low_ends import joint_low_end, raised
from fxcost.tracing.sizes.naming import EXACT_DENOMINATOR, TraceError, floor_of_quotient
from fxcost.tracing.sizes.polynomials import Answer, Atom, Place, Polynomial, Rounded, SizesHeld, TooManyAnswers
from fxcost.tracing.sizes.symbolic import Sizes


@dataclass(frozen=True)
class Manner:
    """How a model is run where a plain run does not get through."""

    exported: bool = False
    """It is told that it is exported, for it asks for values of data otherwise."""
    uncached: bool = False
    """It is told so for it looks sizes up in tables, which many then do not: what it does is still that of a plain run."""
    hashing: bool = False
    """The first size that it looks up in a table ends the run: it is to be a plain number."""

    whole: tuple[Globals, ...] | None = ()
    """The modules of Python's in which ``int`` keeps sizes; None where it makes plain numbers of them."""

    @property
    def with_numbers(self) -> "Manner":
        """How it is run where its sizes are plain numbers."""
        return replace(self, uncached=False, whole=None)


ModelRunner = Callable[[Mapping[str, Any], Sizes, Manner], Run]
"""Runs the model at sizes that are numbers, or carried, and records what it does."""


class Entangled(TraceError):
    """Formulas would hold under more conditions than anybody reads, or not be exact."""


class Held(TraceError):
    """Sizes that code looks up in tables, by their symbols: they are to be numbers."""

    def __init__(self, names: set[str], where: str) -> None:
        super().__init__(f"{where or 'the model'} looks up {', '.join(sorted(names))} in a table")
        self.held = dict.fromkeys(sorted(names), where)


MOST_CONDITIONS = 8
FIRST_CALL = "the model does otherwise in its first call than in later ones: a later one is counted"


def replayed(
    run: ModelRunner, sizes: Mapping[str, int], symbolic: Mapping[str, int], examples: Mapping[str, int]
) -> Traced:
    """Record a run with the sizes named in ``symbolic`` carried along, each a multiple; ``examples`` are their values.

    Raises `Mismatch` when a plain run, at the same sizes or at the lowest where the formulas hold, does otherwise.
    """
    try:
        return _replayed(run, sizes, symbolic, examples, holding=False)
    except Mismatch:
        # A model that keeps tables outside its modules fills them in its first run; from then on all are alike.
        traced = _replayed(run, sizes, symbolic, examples, holding=True)
    return replace(traced, assumptions=(*traced.assumptions, FIRST_CALL))


def _replayed(
    run: ModelRunner,
    sizes: Mapping[str, int],
    symbolic: Mapping[str, int],
    examples: Mapping[str, int],
    *,
    holding: bool,
) -> Traced:
    """As `replayed`, once; with ``holding`` sizes that are looked up in tables are held without trying how else it goes."""
    manner = Manner()
    while True:
        try:
            first, carried, manner = _recorded(run, sizes, symbolic, examples, manner, holding)
            return _built(run, first, carried, manner, sizes, symbolic, examples)
        except TraceError:
            if not manner.whole:
                raise
            manner = Manner(whole=None)


def _built(
    run: ModelRunner,
    first: Run,
    carried: Sizes,
    manner: Manner,
    sizes: Mapping[str, int],
    symbolic: Mapping[str, int],
    examples: Mapping[str, int],
) -> Traced:
    """The graph of a recording, once plain runs have done the same."""
    recording = first.recording
    at_traced = {name: examples[name] if name in symbolic else size for name, size in sizes.items()}
    second = run(at_traced, Sizes(), manner.with_numbers)
    hold_against(first, second, at_traced, spread=True)
    convert = _Converter()
    fixed = {name: Pinned(size, "not named in --symbolic") for name, size in sizes.items() if name not in symbolic}
    for answer in carried.relied.values():
        if answer.pins is not None:
            fixed[answer.pins] = Pinned(examples[answer.pins], _who_pins(answer.place))
    convert.pins = {name: pin.value for name, pin in fixed.items()}
    builder = Builder(first, convert, unrecorded(first, second))
    graph = builder.build()
    found = [
        condition
        for answer in carried.relied.values()
        if answer.pins is None
        for condition in _condition(answer, convert)
    ]
    for node in operations(graph):
        found += (*squeezed(node, convert), *sizes_needed(node, convert))
    ranges = {n: SymbolRange(low=m, multiple_of=m) for n, m in symbolic.items() if n not in fixed}
    ranges, conditions = tighten(ranges, list(dict.fromkeys(found)))
    if len(conditions) > MOST_CONDITIONS:
        raise _entangled(symbolic, conditions)
    held = {name: pin.value for name, pin in fixed.items()}

    def plain(at: Mapping[str, int]) -> Run:
        return run(at, Sizes(), manner.with_numbers)

    ranges = _lowest_checked(first, ranges, conditions, held, at_traced, plain)
    asked = {**sizes, **held}
    if recording.asks_layout and asked != at_traced and _is_within(asked, ranges, conditions):
        hold_against(first, plain(asked), asked, spread=False)
    convert.assume({name: each.ends for name, each in ranges.items()})
    builder.annotate()
    return Traced(
        graph,
        ranges,
        fixed,
        conditions,
        recording.modules,
        first,
        "replayed",
        recording.ended,
        tuple(recording.assumptions),
    )


def _recorded(
    run: ModelRunner,
    sizes: Mapping[str, int],
    symbolic: Mapping[str, int],
    examples: Mapping[str, int],
    manner: Manner,
    holding: bool,
) -> tuple[Run, Sizes, Manner]:
    """A run with sizes carried along, as plain as the model lets it be."""
    while True:
        carried = Sizes()
        given = {
            name: carried.symbol(name, examples[name], symbolic[name]) if name in symbolic else size
            for name, size in sizes.items()
        }
        try:
            return run(given, carried, manner), carried, manner
        except MadeWhole as made:
            manner = replace(manner, whole=(*(manner.whole or ()), made.names))
        except SizesHeld as held:
            raise Held(held.names, held.where) from None
        except Exception as error:  # noqa: BLE001  # whatever a model raises may be for how it is run
            manner, holding = _otherwise(error, manner, holding, symbolic)


def _otherwise(error: Exception, manner: Manner, holding: bool, symbolic: Mapping[str, int]) -> tuple[Manner, bool]:
    """How to run a model where it did not get through so. Raises what is to be told where there is no other way."""
    if isinstance(error, DataMissing) and not manner.exported:
        return replace(manner, exported=True), holding
    if isinstance(error, TypeError) and "unhashable" in str(error) and not manner.hashing:
        holding = holding or manner.uncached
        return replace(manner, uncached=not holding, hashing=holding), holding
    if manner.whole:
        return replace(manner, whole=None), holding
    if isinstance(error, TooManyAnswers):
        convert = _Converter()
        found = [condition for answer in error.answers for condition in _condition(answer, convert)]
        raise _entangled(symbolic, found) from None
    if isinstance(error, Rounded):
        raise Entangled("a size is computed with a rounded quotient, which no exact formula follows") from None
    raise error


def _is_within(sizes: Mapping[str, int], ranges: Mapping[str, SymbolRange], conditions: tuple[Condition, ...]) -> bool:
    inside = all(each.refusal(name, sizes[name]) is None for name, each in ranges.items())
    return inside and all(condition.holds(sizes) for condition in conditions)


def _lowest_checked(
    first: Run,
    ranges: Mapping[str, SymbolRange],
    conditions: tuple[Condition, ...],
    held: Mapping[str, int],
    traced: Mapping[str, int],
    plain: Callable[[Mapping[str, int]], Run],
) -> dict[str, SymbolRange]:
    """The ranges, raised to where the model runs. Raises `Mismatch` where it runs at their low end and does otherwise."""
    runs: dict[tuple[int, ...], Run] = {}

    def failure_at(point: Mapping[str, int]) -> str | None:
        try:
            runs[tuple(point.values())] = plain({**traced, **held, **point})
        except FxcostError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever a model, or torch, raises of sizes that it cannot take
            return place_of_failure(error)
        return None

    known = {name: traced[name] for name in ranges}
    low = joint_low_end(ranges, conditions, known)
    if low == known:
        return dict(ranges)
    if failure_at(low) is not None:
        ranges = raised(ranges, low, known, failure_at)
        low = joint_low_end(ranges, conditions, known)
        if low != known and tuple(low.values()) not in runs and (why := failure_at(low)) is not None:
            at = ", ".join(f"{name}={size}" for name, size in low.items())
            raise Mismatch(f"the model does not run at {at}, where its formulas should hold: {why}\n{ADVICE}")
    if low != known:
        hold_against(first, runs[tuple(low.values())], {**traced, **held, **low}, spread=False)
    return dict(ranges)


def _entangled(symbolic: Mapping[str, int], conditions: Sequence[Condition]) -> Entangled:
    """Too many conditions, told by the first two."""
    first = f", such as {' and '.join(map(str, conditions[:2]))}" * bool(conditions)
    return Entangled(f"what the model does depends on {', '.join(symbolic)} in too many ways to write down{first}")


def _who_pins(place: Place) -> str:
    if place.where and place.in_operator:
        return f"{place.where}, which takes it for a number"
    return place.where or "torch takes it for a number"


def _condition(answer: Answer, convert: "_Converter") -> Iterator[Condition]:
    left, right = convert.size(answer.left), convert.size(answer.right)
    if answer.place.of_layout and (answer.relation, answer.holds) == ("==", False):
        return  # A kernel that finds two sizes unlike lays out its result in the usual way; what runs is the same.
    if answer.place.of_layout and (answer.relation, answer.holds, right) == (">", True, 1):
        return  # As above: whether a size is 1 matters to strides.
    if answer.place.of_layout and (answer.relation, answer.holds, left) == (">", False, 2):
        return  # The same, asked as whether a size is below 2.
    where = answer.place.where
    if answer.relation == "==":
        whole = _whole_quotient(left - right)
        if whole is not None and answer.holds:
            left, right = sympy.Integer(0), whole
        yield condition(left, "==" if answer.holds else "!=", right, where)
    elif answer.holds:
        yield condition(left, answer.relation, right, where)
    else:
        yield condition(right, ">" if answer.relation == ">=" else ">=", left, where)


def _whole_quotient(difference: sympy.Expr) -> sympy.Expr | None:
    """``(a+r) mod n`` where the difference is a + r − n·⌊a/n⌋ and −n < r ≤ 0, either way round: both are 0 together."""
    for sign in (1, -1):
        for term in sympy.Add.make_args(sign * difference):
            count, floor = term.as_coeff_Mul()  # pyright: ignore[reportAttributeAccessIssue]
            if isinstance(floor, sympy.floor) and count.is_Integer and count < 0:
                above = floor.args[0] * -count  # pyright: ignore[reportOperatorIssue]
                rest = sign * difference - term - above
                if rest.is_Integer and count < rest <= 0:
                    number, sizes = (above + rest).as_coeff_Add()
                    return apply(sympy.Mod, sizes + number % -count, -count)
    return None


class _Converter:
    """Carried sizes as plain sympy in the user's symbols."""

    def __init__(self) -> None:
        self.pins: Mapping[str, int] = {}
        self.ends: Ends = {}
        self.known: dict[Polynomial, sympy.Expr] = {}
        self.atoms: dict[Atom, sympy.Expr] = {}

    def assume(self, ends: Ends) -> None:
        """From here on drop what these ends of the symbols make idle in a Min or Max."""
        if any(atom.kind in ("least", "greatest") for atom in self.atoms):
            self.known, self.atoms = {}, {}
        self.ends = ends

    def __call__(self, size: Any) -> sympy.Expr:
        return self.size(size.node) if isinstance(size, torch.SymInt) else sympy.Integer(size)

    def size(self, size: Polynomial) -> sympy.Expr:
        found = self.known.get(size)
        if found is None:
            terms = (
                _exact(c) * sympy.Mul(*(self._atom(size.sizes.atoms[a]) for a in atoms)) for atoms, c in size.terms
            )
            found = self.known[size] = sympy.Add(*terms)
        return found

    def _atom(self, atom: Atom) -> sympy.Expr:
        found = self.atoms.get(atom)
        if found is None:
            found = self.atoms[atom] = settled(self._plain(atom), self.ends)
        return found

    def _plain(self, atom: Atom) -> sympy.Expr:
        if atom.kind == "symbol":
            size = sympy.Integer(self.pins[atom.name]) if atom.name in self.pins else symbol(atom.name)
            return size / atom.multiple
        arguments = [self.size(argument) for argument in atom.arguments]
        match atom.kind:
            case "quotient":
                return floor_of_quotient(*arguments)
            case "ratio":
                return arguments[0] / arguments[1]
            case "floor":
                return apply(sympy.floor, *arguments)
            case "least":
                return apply(sympy.Min, *arguments)
            case _:
                return apply(sympy.Max, *arguments)


def _exact(coefficient: int | Fraction) -> sympy.Expr:
    if isinstance(coefficient, int):
        return sympy.Integer(coefficient)
    if coefficient.denominator > EXACT_DENOMINATOR:
        raise Entangled(
            f"a size of the model is computed with the factor {float(coefficient):g}, whose rounding no exact formula follows"
        )
    return sympy.Rational(coefficient.numerator, coefficient.denominator)
