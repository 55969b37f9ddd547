"""From a model to a traced graph by one recorded run, checked by running the model again at sizes held out."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportPrivateUsage=false
# Torch's symbolic sizes are private and untyped; this folder is the border that keeps them from the rest.

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any

import sympy
import torch

from fxcost.conditions import Condition, Pinned, SymbolRange
from fxcost.errors import FxcostError
from fxcost.expressions import apply, symbol
from fxcost.spans import Ends, settle
from fxcost.tightening import tighten
from fxcost.tracing.building import Builder
from fxcost.tracing.carried import Sizes
from fxcost.tracing.checking import Mismatch, held_out, hold_against
from fxcost.tracing.polynomials import Answer, Atom, Polynomial, Rounded, TooManyAnswers
from fxcost.tracing.reading import Traced, squeezed
from fxcost.tracing.sizes import EXACT_DENOMINATOR, TraceError, floor_of_quotient
from fxcost.tracing.steps import Recording

Run = Callable[[Mapping[str, Any], Sizes, bool], tuple[Recording, list[torch.Tensor]]]
"""Records a run at sizes that are numbers, or carried, and gives the tensors that it was called with.

Whether of blocks that are alike only the first runs is the third argument.
"""


class Entangled(TraceError):
    """Formulas would hold under more conditions than anybody reads, or not be exact."""


MOST_CONDITIONS = 8


def replayed(
    model: torch.nn.Module, run: Run, sizes: Mapping[str, int], symbolic: tuple[str, ...], examples: Mapping[str, int]
) -> Traced:
    """Record a run with the sizes named in ``symbolic`` carried along, ``examples`` being their values.

    Raises `Mismatch` when a second run, at other sizes where the formulas hold, does otherwise.
    """
    try:
        return _replayed(model, run, sizes, symbolic, examples, repeating=True)
    except (
        Exception
    ) as error:  # a model's code may look at its own tables of attributes, which comparing blocks changes
        if isinstance(error, FxcostError) and not isinstance(error, Mismatch):
            raise
    return _replayed(model, run, sizes, symbolic, examples, repeating=False)


def _replayed(
    model: torch.nn.Module,
    run: Run,
    sizes: Mapping[str, int],
    symbolic: tuple[str, ...],
    examples: Mapping[str, int],
    repeating: bool,
) -> Traced:
    carried = Sizes()
    given = {name: carried.symbol(name, examples[name]) if name in symbolic else size for name, size in sizes.items()}
    try:
        recording, inputs = run(given, carried, repeating)
    except TooManyAnswers:
        raise _entangled(symbolic) from None
    except Rounded:
        raise Entangled(
            "a size of the model is computed with a rounded quotient, which no exact formula follows"
        ) from None
    convert = _Converter(carried)
    fixed = {name: Pinned(size, "not named in --symbolic") for name, size in sizes.items() if name not in symbolic}
    for answer in carried.relied.values():
        if (name := _pinned(answer)) is not None:
            where = answer.where or "an operator takes it for a number"
            fixed[name] = Pinned(examples[name], where)
    convert.pins = {name: pin.value for name, pin in fixed.items()}
    builder = Builder(model, inputs, convert)
    graph = builder.build(recording)
    found = [
        condition
        for answer in carried.relied.values()
        if _pinned(answer) is None
        for condition in _condition(answer, convert)
    ]
    found += [condition for node in graph.nodes if node.op == "call_function" for condition in squeezed(node, convert)]
    ranges = {name: SymbolRange() for name in symbolic if name not in fixed}
    ranges, conditions = tighten(ranges, list(dict.fromkeys(found)))
    if len(conditions) > MOST_CONDITIONS:
        raise _entangled(symbolic)
    convert.assume({name: each.ends for name, each in ranges.items()})
    builder.annotate()
    traced = Traced(graph, ranges, fixed, conditions, recording.modules, recording, "replayed", recording.ended)
    _check(model, run, traced, examples)
    return traced


def _check(model: torch.nn.Module, run: Run, traced: Traced, examples: Mapping[str, int]) -> None:
    """Run all of the model at sizes held out, or at the same ones where there are no others."""
    other = held_out(traced, examples)
    sizes = {name: pin.value for name, pin in traced.fixed.items()} | other
    second, inputs = run(sizes, Sizes(), False)
    at = ", ".join(f"{name}={size}" for name, size in (other or sizes).items()) or "the model's own sizes"
    hold_against(traced.graph, Builder(model, inputs, int).build(second), sizes, at)


def _entangled(symbolic: tuple[str, ...]) -> Entangled:
    return Entangled(f"what the model does depends on {', '.join(symbolic)} in too many ways to write down")


def _pinned(answer: Answer) -> str | None:
    """The symbol that an answer takes for a number."""
    atoms = [atom for product, _ in answer.difference.terms for atom in product]
    if answer.relation != "==" or not answer.holds or len(atoms) != 1:
        return None
    atom = answer.difference.sizes.atoms[atoms[0]]
    return atom.name if atom.kind == "symbol" else None


def _condition(answer: Answer, convert: "_Converter") -> Iterator[Condition]:
    if answer.where is None and not answer.holds and answer.relation == "==":
        return  # A kernel that finds two sizes unlike lays out its result in the usual way; what runs is the same.
    left, right = convert.size(answer.left), convert.size(answer.right)
    if answer.where is None and (answer.holds, answer.relation) == (True, ">") and right == 1:
        return  # As above: whether a size is 1 matters to strides.
    if answer.where is None and (answer.holds, answer.relation) == (False, ">") and left == 2:
        return  # The same, asked as whether a size is below 2.
    where = answer.where or ""
    if answer.relation == "==":
        whole = _whole_quotient(left - right)
        if whole is not None and answer.holds:
            left, right = sympy.Integer(0), whole
        yield Condition(left, "==" if answer.holds else "!=", right, where)
    elif answer.holds:
        yield Condition(left, answer.relation, right, where)
    else:
        yield Condition(right, ">" if answer.relation == ">=" else ">=", left, where)


def _whole_quotient(difference: sympy.Expr) -> sympy.Expr | None:
    """``a mod n`` where the difference is a − n·⌊a/n⌋, either way round: both are 0 together."""
    for sign in (1, -1):
        for term in sympy.Add.make_args(sign * difference):
            count, floor = term.as_coeff_Mul()  # pyright: ignore[reportAttributeAccessIssue]
            if isinstance(floor, sympy.floor) and count.is_Integer and count < 0:
                above = floor.args[0] * -count  # pyright: ignore[reportOperatorIssue]
                if sign * difference - term == above:
                    return apply(sympy.Mod, above, -count)
    return None


class _Converter:
    """Carried sizes as plain sympy in the user's symbols."""

    def __init__(self, carried: Sizes) -> None:
        self.carried = carried
        self.pins: Mapping[str, int] = {}
        self.ends: Ends = {}
        self.known: dict[Polynomial, sympy.Expr] = {}
        self.atoms: dict[Atom, sympy.Expr] = {}

    def assume(self, ends: Ends) -> None:
        """From here on drop what these ends of the symbols make idle in a Min or Max."""
        if any(atom.kind in ("least", "greatest") for atom in self.carried.atoms):
            self.known, self.atoms = {}, {}
        self.ends = ends

    def __call__(self, size: Any) -> sympy.Expr:
        return self.size(size.node) if isinstance(size, torch.SymInt) else sympy.Integer(size)

    def size(self, size: Polynomial) -> sympy.Expr:
        found = self.known.get(size)
        if found is None:
            terms = (
                _exact(c) * sympy.Mul(*(self._atom(self.carried.atoms[a]) for a in atoms)) for atoms, c in size.terms
            )
            found = self.known[size] = sympy.Add(*terms)
        return found

    def _atom(self, atom: Atom) -> sympy.Expr:
        found = self.atoms.get(atom)
        if found is None:
            found = self.atoms[atom] = settle(self._plain(atom), self.ends)
        return found

    def _plain(self, atom: Atom) -> sympy.Expr:
        if atom.kind == "symbol":
            return sympy.Integer(self.pins[atom.name]) if atom.name in self.pins else symbol(atom.name)
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
