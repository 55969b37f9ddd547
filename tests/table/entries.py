"""The form of an entry: a call of an operator at tiny shapes, and what a count that owes nothing to its rule gives."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, partial
from types import ModuleType
from typing import Any, Literal
from unittest import mock

import pytest
import sympy
import torch
from torch._ops import HigherOrderOperator, OpOverload
from torch.fx import Graph, Node
from torch.utils._pytree import tree_leaves, tree_map

from fxcost.formulas.evaluation import evaluate
from fxcost.formulas.with_sympy import TOUCHED, from_sympy
from fxcost.graph import OUTPUTS, TensorSpec
from fxcost.ops import Call
from fxcost.ops import rules as own_rules
from tests.table.counting import Number, work

Operator = OpOverload[..., Any] | HigherOrderOperator | str
OUT_DTYPE = torch.ops.higher_order.out_dtype
"""Runs the operator that it is given, and widens the result."""
Size = Callable[[int], sympy.Expr]
SEED = 7
"""Of torch's random numbers in every call."""
Moved = Mapping[str, int | Fraction]
"""Elements by the name of the argument, or ``output``."""
Reads = Moved | Literal["nothing"]
AS_STORED: Moved = {}
"""Every tensor moves as it is stored."""
NOTHING: Literal["nothing"] = "nothing"
"""What a call reads of its arguments, all of them."""


@dataclass(frozen=True)
class Cost:
    """What a call does: work, and the elements it moves of what does not move as it is stored."""

    coverage: str = "counted"
    macs: int | Fraction = 0
    vector: int | Fraction = 0
    reads: Reads = field(default_factory=dict)
    writes: Moved = field(default_factory=dict)
    scores: int | Fraction | None = None


@dataclass(frozen=True)
class Entry:
    """A call, and its cost by an independent count."""

    operator: Operator
    """A string where torch does not have the operator here; ``given`` is empty then, and ``gives`` is said."""
    cost: Callable[[], Cost]
    given: tuple[Any, ...] = ()
    named: Mapping[str, Any] = field(default_factory=dict)
    gives: Any = None
    """The output, of an operator that cannot run here."""
    case: str = ""

    def __str__(self) -> str:
        return f"{self.operator} {self.case}".strip()

    @cached_property
    def result(self) -> Any:
        """What torch gives for the call."""
        return self._run[2]

    @cached_property
    def call(self) -> Call:
        """The call as fxcost sees it."""
        return self._call_by(own_rules, self._node, sympy.Integer)

    def _call_by(self, rules: ModuleType, node: Node, size: Size) -> Call:
        if not isinstance(self.operator, str):
            return rules.call_of(node)
        arguments = {name: tree_map(partial(_spec, size=size), value) for name, value in self._run[1].items()}
        return rules.Call(self.operator, arguments, OUTPUTS[node], frozenset())

    @cached_property
    def _node(self) -> Node:
        return self._node_of(sympy.Integer)

    def _node_of(self, size: Size) -> Node:
        given, named, result = self._run
        graph = Graph()

        def placed(value: Any) -> Any:
            if not isinstance(value, torch.Tensor):
                return value
            node = graph.placeholder("tensor")
            node.meta[OUTPUTS.name] = (_spec(value, size),)
            return node

        operator = len if isinstance(self.operator, str) else self.operator
        node = graph.call_function(operator, *tree_map(placed, (tuple(given), dict(named))))
        node.meta[OUTPUTS.name] = tuple(_spec(tensor, size) for tensor in _tensors(result))
        return node

    @cached_property
    def expected(self) -> Cost:
        """The independent count, with all that it says nothing of moving as it is stored."""
        cost, (given, named, result) = self.cost(), self._run
        if cost.coverage == "free":
            return cost
        arguments = dict(named)
        if not isinstance(self.operator, str):
            runs: Any = self.operator
            runs, inner = (given[0], given[2:]) if runs is OUT_DTYPE else (runs, given)
            arguments |= {a.name: value for a, value in zip(runs._schema.arguments, inner, strict=False)}
        reads = {name: _cells(value) for name, value in arguments.items() if _tensors(value)}
        own = dict.fromkeys(reads, 0) if cost.reads == NOTHING else cost.reads
        writes = {"output": _cells(result)} | dict(cost.writes)
        return Cost(cost.coverage, cost.macs, cost.vector, reads | dict(own), writes, cost.scores)

    @cached_property
    def _run(self) -> tuple[tuple[Any, ...], Mapping[str, Any], Any]:
        given, named = deepcopy((self.given, dict(self.named)))
        if self.gives is not None:
            return given, named, self.gives
        assert not isinstance(self.operator, str)
        torch.manual_seed(SEED)
        with torch.no_grad():
            return given, named, self.operator(*given, **named)

    def found(self, rules: ModuleType = own_rules) -> Cost:
        """What the rules say, be they fxcost's or changed ones."""
        return self._found(rules, self._node, sympy.Integer)

    def found_by_formulas(self) -> Cost:
        """What the rules say where each size but 0 and 1 is a symbol, at the sizes that the symbols stand for."""
        return self._found(own_rules, self._node_of(_symbol), _symbol)

    def _found(self, rules: ModuleType, node: Node, size: Size) -> Cost:
        call = self._call_by(rules, node, size)
        with mock.patch.object(rules, "call_of", return_value=call):
            verdict = rules.judge(node)
        rule = verdict.rule
        if verdict.coverage == "free":
            return Cost("free")
        counted = verdict.coverage == "counted"
        macs, vector = (
            _value(rules.amount_of(rule, call, amount, "work")) if counted else 0 for amount in (rule.macs, rule.vector)
        )
        own_reads, own_writes = (rules.amounts_of(rule, call, side) for side in ("reads", "writes"))
        reads: dict[str, int | Fraction] = {}
        for name, tensor in call.tensors:
            reads[name] = reads.get(name, 0) + _value(own_reads.get(name, tensor.stored))
        writes = {"output": sum(_value(own_writes.get("output", output.stored)) for output in call.outputs)}
        scores = _value(rule.scores(call)) if counted and rule.scores is not None else None
        return Cost(verdict.coverage, macs, vector, reads, writes, scores)


def _tensors(value: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def _cells(value: Any) -> int:
    """Stored elements of all tensors, told apart by where each index leads."""
    return sum(len(_addresses(tensor)) for tensor in _tensors(value))


def _addresses(tensor: torch.Tensor) -> set[int]:
    reached = {0}
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        reached = {address + i * stride for address in reached for i in range(size)}
    return reached


def _symbol(size: int) -> sympy.Expr:
    return sympy.Symbol(f"n{size}", integer=True, positive=True) if size > 1 else sympy.Integer(size)


def _value(amount: sympy.Expr) -> int | Fraction:
    """A whole number that a formula gives is one, but for an expectation."""
    found: int | Fraction = (
        int(amount)
        if amount.is_Integer
        else evaluate(from_sympy(amount), {str(symbol): int(str(symbol)[1:]) for symbol in amount.free_symbols})
    )
    assert found == int(found) or amount.has(TOUCHED)  # an expectation
    return found


def _spec(value: Any, size: Size) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    return TensorSpec(
        tuple(map(size, value.shape)),
        tuple(map(sympy.Integer, value.stride())),
        str(value.dtype).removeprefix("torch."),
        value.untyped_storage()._cdata,
        sympy.Integer(value.storage_offset()),
    )


def counted(
    operator: Operator,
    definition: Callable[..., Any],
    *given: Any,
    case: str = "",
    cost: Mapping[str, Any] | None = None,
    gives: Any = None,
    compared: Callable[[Any], Any] = lambda result: result,
    **named: Any,
) -> Entry:
    """An entry whose cost is what its definition does to find torch's own value, with the arguments that torch takes.

    ``cost`` says the rest: elements moved, or the size of the score matrix. ``compared`` picks of the result what is compared.
    """

    def count() -> Cost:
        result, macs, vector = work(lambda: definition(*given, **named))
        if gives is None:
            theirs = compared(entry.result)
            theirs = theirs[0] if isinstance(theirs, (tuple, list)) else theirs
            assert flat(result) == pytest.approx(flat(theirs), rel=1e-4, abs=1e-6, nan_ok=True)
        return Cost(macs=macs, vector=vector, **(cost or {}))

    entry = Entry(operator, count, given, named, gives, case)
    return entry


def flat(value: Any) -> list[float]:
    """All numbers of nested ones, of a complex one its two parts."""
    if isinstance(value, torch.Tensor):
        value = value.resolve_conj()
        value = torch.view_as_real(value) if value.is_complex() else value
        return value.double().flatten().tolist()
    if isinstance(value, (list, tuple)):
        return [x for each in value for x in flat(each)]
    return [float(value)]


def pointwise(operator: Operator, formula: Callable[..., Any], *given: Any, case: str = "", **named: Any) -> Entry:
    """An entry whose definition takes one element of each tensor, broadcast, in turn; a complex one as its two parts."""

    def definition(*arguments: Any, **others: Any) -> Any:
        tensors = [a for a in (*arguments, *others.values()) if isinstance(a, torch.Tensor)]
        parts: list[list[float]] = []
        for tensor in torch.broadcast_tensors(*tensors):
            values = tensor.resolve_conj().flatten()
            split = [values.real, values.imag] if tensor.is_complex() else [values]
            parts += [part.double().tolist() for part in split]
        return [formula(*map(Number, each)) for each in zip(*parts, strict=True)]

    return counted(operator, definition, *given, case=case, **named)


def moves(operator: Operator, *given: Any, reads: Reads = AS_STORED, writes: Moved = AS_STORED, **more: Any) -> Entry:
    """An entry of an operator that computes nothing."""
    return _entry(operator, Cost(reads=reads, writes=writes), given, more)


def unknown(operator: Operator, *given: Any, reads: Reads = AS_STORED, **more: Any) -> Entry:
    """An entry of a call that no rule counts; what it moves is compared all the same."""
    return _entry(operator, Cost("unknown", reads=reads), given, more)


def free(operator: Operator, *given: Any, **more: Any) -> Entry:
    """An entry of a call that does nothing."""
    return _entry(operator, Cost("free"), given, more)


def _entry(operator: Operator, cost: Cost, given: tuple[Any, ...], more: Mapping[str, Any]) -> Entry:
    named = {name: value for name, value in more.items() if name not in ("case", "gives")}
    return Entry(operator, lambda: cost, given, named, more.get("gives"), more.get("case", ""))
