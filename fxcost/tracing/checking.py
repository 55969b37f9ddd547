"""A recording held against a second run, at other sizes where its formulas hold: both must have done the same."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportPrivateUsage=false
# Torch's tensors and graphs are typed in part; this folder is the border that keeps them from the rest.

import operator
from collections.abc import Iterator, Mapping
from typing import Any

import sympy
import torch
from torch.fx import Graph, Node

from fxcost.evaluation import evaluate
from fxcost.graph import LAYER, WEIGHT, operations
from fxcost.tracing.polynomials import Polynomial, value_at
from fxcost.tracing.reading import Traced
from fxcost.tracing.sizes import TraceError

ADVICE = "Keep fewer symbols with --symbolic, or count the submodule that does so as unknown with --leaf PATH"
MOST_TRIES = 256


class Mismatch(TraceError):
    """A run at sizes held out did not do what the formulas say."""


def held_out(traced: Traced, examples: Mapping[str, int]) -> dict[str, int]:
    """Other sizes where the formulas hold: each symbol in turn moved on, as near as the conditions let it."""
    point = {name: examples[name] for name in traced.symbols}
    for name, allowed in traced.symbols.items():
        for count in range(1, MOST_TRIES):
            trial = {**point, name: point[name] + count * allowed.multiple_of}
            if allowed.refusal(name, trial[name]):
                break
            if all(condition.holds(trial) for condition in traced.conditions):
                point = trial
                break
    return point


def hold_against(first: Graph, second: Graph, sizes: Mapping[str, int], at: str) -> None:
    """Raise `Mismatch` unless the operators of both graphs, in their order, do the same at these sizes.

    The same is: in one layer, with equal numbers, to the same tensors, of equal shapes and dtypes.
    """
    ran, runs = _Side(first, sizes), _Side(second, sizes)
    if [node.target for node in ran.working] != [node.target for node in runs.working]:
        raise Mismatch(f"the model runs other operators at {at}, where its formulas should hold\n{ADVICE}")
    for mine, theirs in zip(ran.working, runs.working, strict=True):
        layer = LAYER[theirs].module
        called = f"at {at} {theirs.target} in {layer or 'the model'}"
        gives, says = list(runs.results(theirs)), list(ran.results(mine))
        if gives != says:
            raise Mismatch(f"{called} gives {_shapes(gives)}, where the formulas say {_shapes(says)}\n{ADVICE}")
        if LAYER[mine].module != layer or not _are_alike(ran.plain(mine), runs.plain(theirs)):
            raise Mismatch(f"{called} is called with other arguments than those that the formulas follow\n{ADVICE}")


class _Side:
    """One of two graphs that are compared, its sizes as numbers."""

    def __init__(self, graph: Graph, sizes: Mapping[str, int]) -> None:
        self.sizes = dict(sizes)
        self.known: dict[Polynomial, Any] = {}
        self.tensors: dict[int, Any] = {}
        self.working = [node for node in operations(graph) if _works(node)]
        self.places = {node: place for place, node in enumerate(self.working)}

    def plain(self, node: Node) -> Any:
        return self._value((node.args, dict(node.kwargs)))

    def results(self, node: Node) -> Iterator[Any]:
        value = node.meta["val"]
        values = value if isinstance(value, (list, tuple)) else (value,)
        return (self._tensor(each)[:2] for each in values if isinstance(each, torch.Tensor))

    def _value(self, value: Any) -> Any:
        if isinstance(value, Node):
            return self._origin(value), self._tensor(value.meta.get("val"))
        if isinstance(value, sympy.Expr):
            return evaluate(value, self.sizes)
        if isinstance(value, (list, tuple)):
            return [self._value(each) for each in value]
        return {name: self._value(each) for name, each in value.items()} if isinstance(value, dict) else value

    def _origin(self, node: Node) -> Any:
        """The operator that made a tensor, or what the run was given; slices, copies in order and writes in place are looked through."""
        item = None
        while node not in self.places or node.target._schema.is_mutable:  # pyright: ignore[reportAttributeAccessIssue, reportFunctionMemberAccess]
            if node.op == "placeholder":
                name = node.meta.get(WEIGHT.name) or node.name
                return "constant" if node.name.startswith("constant") else name
            if _is_part(node):
                item = node.args[1]
            node = next(iter(node.all_input_nodes))
        return self.places[node], item

    def _tensor(self, tensor: Any) -> Any:
        """Shape, dtype, and which dimensions one stored element stands for."""
        if not isinstance(tensor, torch.Tensor):
            return None
        if id(tensor) not in self.tensors:
            shape, strides = ([self._number(n) for n in each] for each in (tensor.shape, tensor.stride()))
            spread = [n == 0 for size, n in zip(shape, strides, strict=True) if size > 1]
            self.tensors[id(tensor)] = shape, tensor.dtype, spread
        return self.tensors[id(tensor)]

    def _number(self, size: Any) -> Any:
        return value_at(size.node, self.sizes, self.known) if isinstance(size, torch.SymInt) else size


def _is_part(node: Node) -> bool:
    return node.target is operator.getitem


LEFT_OUT = frozenset({torch.ops.aten.slice.Tensor, torch.ops.aten.alias.default, torch.ops.aten.contiguous.default})
"""What torch leaves out where it knows that a tensor is all of it already, or laid out so."""


def _works(node: Node) -> bool:
    return not _is_part(node) and node.target not in LEFT_OUT


def _are_alike(mine: Any, theirs: Any) -> bool:
    """Whether arguments are equal; a fraction of sizes that is still a formula is not compared."""
    if isinstance(mine, list) and isinstance(theirs, list):
        return len(mine) == len(theirs) and all(map(_are_alike, mine, theirs))
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return mine.keys() == theirs.keys() and all(_are_alike(mine[name], theirs[name]) for name in mine)
    return isinstance(mine, (torch.SymFloat, torch.SymBool)) or mine == theirs


def _shapes(results: list[Any]) -> str:
    return " and ".join(f"a {str(dtype).removeprefix('torch.')} tensor of {tuple(shape)}" for shape, dtype in results)
