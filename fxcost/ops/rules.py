"""What an operator costs: the form of a rule, and the table of all rules."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, cast

import sympy
from torch._ops import HigherOrderOperator, OpOverload, OpOverloadPacket
from torch.fx import Node

from fxcost.errors import FxcostError
from fxcost.graph import LAYER, OUTPUTS, SIZE, TensorSpec
from fxcost.inputs import children
from fxcost.work import Coverage

COMPLEX_PRODUCT = 4
"""Real multiply-adds of one complex multiply-add."""

Numbers = Literal["real", "complex"]
Amount = Callable[["Call"], sympy.Expr]
Amounts = Callable[["Call"], Mapping[str, sympy.Expr]]


@dataclass(frozen=True)
class Call:
    """One call of an operator: arguments by their schema names, tensors as `TensorSpec`, sizes as expressions."""

    operator: str
    """With its overload: ``aten.conv2d.default``."""
    arguments: Mapping[str, Any]
    outputs: tuple[TensorSpec, ...]
    writes_to: frozenset[str]
    """Names of arguments that the call changes in place."""
    node: Node | None = field(default=None, compare=False, repr=False)
    """Where it stands in its graph, for a rule that asks what comes before it."""

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    @property
    def output(self) -> TensorSpec:
        """The first output."""
        return self.outputs[0]

    @cached_property
    def tensors(self) -> tuple[tuple[str, TensorSpec], ...]:
        """Every tensor argument with the name it came under; a list's tensors share the list's name."""
        return tuple((name, t) for name, value in self.arguments.items() for t in _tensors(value))

    @property
    def is_complex(self) -> bool:
        """Whether any tensor holds complex numbers."""
        return any(t.is_complex for t in (*self.outputs, *(t for _, t in self.tensors)))

    @property
    def is_view(self) -> bool:
        """Whether every output aliases an input that the call leaves as it was: nothing moves."""
        storages = {tensor.storage for _, tensor in self.tensors}
        return not self.writes_to and bool(self.outputs) and all(o.storage in storages for o in self.outputs)


def _tensors(value: Any) -> Iterator[TensorSpec]:
    if isinstance(value, TensorSpec):
        yield value
    for each in children(value):
        yield from _tensors(each)


def _operator_of(node: Node) -> tuple[object, tuple[Any, ...]]:
    """What a node runs, and the arguments: of ``out_dtype(operator, dtype, …)`` the operator, whose result is widened."""
    target: Any = node.target
    if isinstance(target, HigherOrderOperator) and target.name() == "out_dtype":
        return node.args[0], node.args[2:]
    return target, node.args


def call_of(node: Node) -> Call | None:
    """The call a node makes, or None for plain Python such as ``getitem`` and arithmetic on sizes."""
    found, given = _operator_of(node)
    if not isinstance(found, OpOverload):
        return None
    operator = cast("OpOverload[..., Any]", found)
    return Call(
        operator=str(operator),
        arguments={name: _value(value) for name, value in named_arguments(operator, given, node.kwargs).items()},
        outputs=OUTPUTS[node],
        writes_to=written_arguments(operator),
        node=node,
    )


def named_arguments(operator: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What an operator is called with by the names of its schema, defaults where nothing is given."""
    schema = operator._schema.arguments  # pyright: ignore[reportPrivateUsage]  # the only way to argument names
    given = {**{each.name: value for each, value in zip(schema, args, strict=False)}, **kwargs}
    return {each.name: given.get(each.name, each.default_value) for each in schema}


def written_arguments(operator: OpOverload) -> frozenset[str]:
    """The names of the arguments that an operator changes in place."""
    schema = operator._schema.arguments  # pyright: ignore[reportPrivateUsage]
    return frozenset(each.name for each in schema if each.alias_info is not None and each.alias_info.is_write)


def _value(argument: Any) -> Any:
    if isinstance(argument, Node):
        if argument in SIZE:
            return SIZE[argument]
        return OUTPUTS[argument][0] if len(OUTPUTS[argument]) == 1 else OUTPUTS[argument]
    if isinstance(argument, (list, tuple)):
        return tuple(map(_value, children(argument)))
    return argument


def nothing(_call: Call) -> sympy.Expr:
    """Zero."""
    return sympy.Integer(0)


def no_override(_call: Call) -> Mapping[str, sympy.Expr]:
    """Every tensor moves at its stored size."""
    return {}


def never(_call: Call) -> bool:
    """Not in this call."""
    return False


@dataclass(frozen=True)
class Rule:
    """What every call of an operator costs.

    ``macs`` are multiply-adds of contractions, which run on the matrix unit; ``vector`` are the FLOPs of all else. One
    call may do both: a recurrent cell's products are contractions, its gates are not. ``reads`` and ``writes`` give the
    elements moved of the arguments (or, for ``writes``, of ``"output"``) that do not move at their stored size.
    """

    name: str
    reason: str
    """Why the factor is what it is, or where it is published."""
    macs: Amount = nothing
    vector: Amount = nothing
    reads: Amounts = no_override
    writes: Amounts = no_override
    scores: Amount | None = None
    """Elements of attention's score matrix, which only an unfused kernel writes to memory."""
    unknown_when: Callable[[Call], bool] = never
    """Calls that the rule has no exact formula for."""
    unknown_why: str = "no exact formula for this call: its arithmetic is unknown, not zero"
    free_when: Callable[[Call], bool] = never
    """Calls that by their arguments do nothing, such as dropout outside training."""
    opaque: bool = False
    """Whether a call is unknown even where it gives nothing, or its own inputs."""
    numbers: Numbers = "real"
    """Whether ``vector`` counts calls on complex numbers; one operator may have a rule for each."""


def amount_of(rule: Rule, call: Call, amount: Amount, what: str) -> sympy.Expr:
    """What a rule gives for a call. Raises `FxcostError`, naming the rule, where that is no number and no formula."""
    try:
        found: Any = amount(call)
    except FxcostError:
        raise
    except Exception as error:
        raise FxcostError(f"{_rule_for_call(rule, call)} raised {type(error).__name__}: {error}") from error
    return _as_amount(found, rule, call, what)


def amounts_of(rule: Rule, call: Call, side: Literal["reads", "writes"]) -> Mapping[str, sympy.Expr]:
    """The elements that a rule says of arguments, or of the output; errors as `amount_of`, also for a name that is none."""
    amounts: Amounts = getattr(rule, side)
    try:
        found: Any = dict(amounts(call))
    except FxcostError:
        raise
    except Exception as error:
        raise FxcostError(f"{_rule_for_call(rule, call)} raised {type(error).__name__}: {error}") from error
    for name in found:
        if name not in call.arguments and (side, name) != ("writes", "output"):
            raise FxcostError(f"{_rule_for_call(rule, call)} says what it {side} of {name!r}, which is no argument")
    return {name: _as_amount(value, rule, call, f"{side} of {name}") for name, value in found.items()}


@contextmanager
def telling_layer(node: Node) -> Generator[None]:
    """Have errors about a rule say which layer it was asked for."""
    try:
        yield
    except FxcostError as error:
        raise FxcostError(f"{error}, in layer {LAYER[node].module or 'the model'}") from error


def _as_amount(found: object, rule: Rule, call: Call, what: str) -> sympy.Expr:
    if isinstance(found, sympy.Expr):
        return found
    if isinstance(found, int) and not isinstance(found, bool):
        return sympy.Integer(found)
    said = "no value" if found is None else f"{found!r}, which is no whole number and no formula of sizes"
    raise FxcostError(f"{_rule_for_call(rule, call)} gives {said}, for its {what}")


def _rule_for_call(rule: Rule, call: Call) -> str:
    return f"the rule {rule.name!r} of {call.operator}"


FREE = Rule("free", "moves and computes nothing: a view, a size, or an assertion")

_RULES: dict[str, Rule] = {}
_COMPLEX_RULES: dict[str, Rule] = {}


def register(rule: Rule, *operators: OpOverload | OpOverloadPacket | str) -> None:
    """Make ``rule`` the rule of the operators; a second rule for one, on the same numbers, is an error."""
    table = _COMPLEX_RULES if rule.numbers == "complex" else _RULES
    for name in map(str, operators):
        if name in table:
            raise FxcostError(
                f"operator {name} has the rule {table[name].name!r} already; {rule.name!r} cannot replace it"
            )
        table[name] = rule


def rule_of(operator: str, numbers: Numbers = "real") -> Rule | None:
    """The rule of ``aten.relu_.default``: its own, its operator's, or that of the form which is not in place."""
    table = _COMPLEX_RULES if numbers == "complex" else _RULES
    packet = operator.rpartition(".")[0]
    out_of_place = packet if packet.endswith("__") else packet.removesuffix("_")
    return next((table[name] for name in (operator, packet, out_of_place) if name in table), None)


def op(*operators: OpOverload | OpOverloadPacket | str, reason: str, **parts: Any) -> Callable[[Amount], Amount]:
    """Register the function of a `Call` that gives an operator's FLOPs, none of them a contraction's."""

    def wrap(flops: Amount) -> Amount:
        register(Rule(flops.__name__.strip("_"), reason, vector=flops, **parts), *operators)
        return flops

    return wrap


def contraction(
    *operators: OpOverload | OpOverloadPacket | str, reason: str, **parts: Any
) -> Callable[[Amount], Amount]:
    """Register the function of a `Call` that gives the multiply-adds of an operator that contracts."""

    def wrap(real: Amount) -> Amount:
        def macs(call: Call) -> sympy.Expr:
            return (COMPLEX_PRODUCT if call.is_complex else 1) * real(call)

        register(Rule(real.__name__.strip("_"), reason, macs=macs, **parts), *operators)
        return real

    return wrap


def per_output(factor: int, *operators: OpOverload | OpOverloadPacket | str, reason: str) -> None:
    """Register operators that do ``factor`` arithmetic operations for each element of their first output."""
    register(Rule(f"{factor} per output", reason, vector=lambda call: factor * call.output.elements), *operators)


def per_input(factor: int, *operators: OpOverload | OpOverloadPacket | str, reason: str) -> None:
    """Register operators that do ``factor`` arithmetic operations for each element of their first input."""
    register(Rule(f"{factor} per input", reason, vector=lambda call: factor * call.tensors[0][1].elements), *operators)


def movement(name: str, *operators: OpOverload | OpOverloadPacket | str, reason: str, **parts: Any) -> None:
    """Register operators that only move data: no arithmetic, but traffic wherever the result is no view."""
    register(Rule(name, reason, **parts), *operators)


def unknown(*operators: OpOverload | OpOverloadPacket | str, reason: str, **parts: Any) -> None:
    """Register operators whose arithmetic no formula of sizes tells, and why."""
    why = f"unknown: {reason}"
    register(Rule("unknown", reason, unknown_when=lambda _: True, unknown_why=why, **parts), *operators)


def free(*operators: OpOverload | OpOverloadPacket | str) -> None:
    """Register operators that move and compute nothing."""
    register(FREE, *operators)


@dataclass(frozen=True)
class Verdict:
    """Which of the three answers a node gets, and by which rule; an unknown call has a reason, and a rule or none."""

    coverage: Coverage
    rule: Rule | None
    call: Call | None
    unknown_why: str = ""


def judge(node: Node) -> Verdict:
    """Counted by a rule, free by what its tensors are or by declaration, or unknown."""
    call = call_of(node)
    if isinstance(node.target, HigherOrderOperator) and call is None:
        # It runs a graph of its own, as torch.cond and torch.autocast do.
        return Verdict("unknown", None, None, "an operator that runs a graph of its own, which is not looked into")
    rule = _rule_for(call) if call else None
    if call is None or (_gives_nothing(call, rule) and not (rule and rule.opaque)):
        return Verdict("free", FREE, call)
    if rule is None:
        return Verdict("unknown", None, call, "no rule for this operator: its arithmetic is unknown, not zero")
    if rule.unknown_when(call):
        return Verdict("unknown", rule, call, rule.unknown_why)
    if call.is_complex and rule.numbers == "real" and _counts_real_numbers(rule):
        return Verdict("unknown", rule, call, "no rule for this operator on complex numbers: unknown, not zero")
    return Verdict("counted", rule, call)


def _gives_nothing(call: Call, rule: Rule | None) -> bool:
    """Whether a call has no result of its own: a view, an assertion, or what its rule says does nothing."""
    if not call.outputs and not call.writes_to:
        # An operator from elsewhere that gives no tensor may still do work; torch's own that do so check something.
        return call.operator.startswith("aten.")
    return call.is_view or rule is FREE or (rule is not None and rule.free_when(call))


def _rule_for(call: Call) -> Rule | None:
    on_complex = rule_of(call.operator, "complex") if call.is_complex else None
    return on_complex or rule_of(call.operator)


def _counts_real_numbers(rule: Rule) -> bool:
    return rule.vector is not nothing and rule.macs is nothing
