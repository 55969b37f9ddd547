"""Rows that a model picks by position: tables of positions, learned or computed, end somewhere, and so do the sizes.

On tensors without memory a row beyond a table's end is picked like any other. What is told of the values of index tensors
is how far they reach when masks hide nothing; of values that depend on data nothing is told.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownLambdaType=false, reportPrivateUsage=false
# sympy and torch are typed in part.

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import sympy
from torch._ops import OpOverload
from torch.fx import Node

from fxcost.building import Source
from fxcost.conditions import Condition
from fxcost.costs import operator_name
from fxcost.errors import FxcostError
from fxcost.expressions import symbol
from fxcost.graph import LAYER, OUTPUTS, SIZE, operations, placeholders
from fxcost.inputs import children
from fxcost.quantities import as_expr
from fxcost.tightening import tighten
from fxcost.tracing import Traced

Reach = tuple[sympy.Expr, sympy.Expr]
"""The least and the greatest value in a tensor of whole numbers."""
Given = Mapping[str, Any]
"""The arguments of a call by the names of its schema; tensors as nodes, sizes as expressions."""

TRUTH: Reach = (sympy.Integer(0), sympy.Integer(1))


def within_tables(source: Source, traced: Traced) -> Traced:
    """The trace with its sizes held to those at which no row is picked beyond the end of what it is picked from.

    Raises `FxcostError` when no size is left.
    """
    reaches = _of_inputs(source, traced)
    found: list[Condition] = []
    for node in operations(traced.graph):
        given = _given(node)
        found += (
            _within(source.ref, node, size, reaches[index][1])
            for size, index in _picks(node, given)
            if index in reaches
        )
        reach = _reach(node, given, reaches)
        if changed := _written(node, given):
            reaches = {each: known for each, known in reaches.items() if OUTPUTS[each][0].storage not in changed}
        if reach is not None:
            reaches[node] = reach
            if changed and isinstance(node.args[0], Node):
                reaches[node.args[0]] = reach
    ranges, conditions = tighten(dict(traced.symbols), [*traced.conditions, *found])
    return replace(traced, symbols=ranges, conditions=conditions)


def _of_inputs(source: Source, traced: Traced) -> dict[Node, Reach]:
    """What is known of the values of inputs, which stand first in the graph of a run that was recorded."""
    if traced.rung != "replayed":
        return {}

    def end(value: int | str) -> sympy.Expr:
        fixed = traced.fixed.get(value) if isinstance(value, str) else None
        return (
            symbol(value)
            if isinstance(value, str) and fixed is None
            else sympy.Integer(fixed.value if fixed else value)
        )

    pairs = zip(placeholders(traced.graph), source.arguments.specs(), strict=False)
    named = {node: source.reaches[spec.name] for node, spec in pairs if spec.name in source.reaches}
    return {node: (end(low), end(high)) for node, (low, high) in named.items()}


def _within(ref: str, node: Node, size: sympy.Expr, last: sympy.Expr) -> Condition:
    place = LAYER[node].module or "the model"
    if (size - last).is_nonpositive:
        raise FxcostError(
            f"{ref}: {place} picks row {last} of {size} rows, counted from 0: the sizes are beyond its table of positions\n"
            "Give shorter sizes with --at"
        )
    return Condition(size, ">", last, f"{place}, which picks a row for each position")


def _given(node: Node) -> Given:
    if not isinstance(node.target, OpOverload):
        return {}
    schema = node.target._schema.arguments  # the only way to argument names
    named = dict(zip((each.name for each in schema), node.args, strict=False)) | dict(node.kwargs)
    defaults = {each.name: each.default_value for each in schema if each.name not in named}
    return {name: SIZE[v] if isinstance(v, Node) and v in SIZE else v for name, v in {**defaults, **named}.items()}


def _written(node: Node, given: Given) -> set[int]:
    """The storages that an operation changes in place."""
    if not isinstance(node.target, OpOverload):
        return set()
    names = (each.name for each in node.target._schema.arguments if each.alias_info and each.alias_info.is_write)
    return {tensor.storage for name in names if isinstance(given[name], Node) for tensor in OUTPUTS[given[name]]}


def _picks(node: Node, given: Given) -> Iterator[tuple[sympy.Expr, Node]]:
    """Each dimension that an operation picks from, by its size, with the tensor of the places that it picks."""
    match operator_name(str(node.target)):
        case "embedding":
            yield OUTPUTS[given["weight"]][0].shape[0], given["indices"]
        case "index_select" | "gather":
            yield OUTPUTS[given["self"]][0].shape[given["dim"]], given["index"]
        case "index":
            shape = OUTPUTS[given["self"]][0].shape
            each = list(children(given["indices"]))
            if all(index is None or OUTPUTS[index][0].dtype != "bool" for index in each):
                yield from ((size, index) for size, index in zip(shape, each, strict=False) if index is not None)
        case _:
            pass


def _reach(node: Node, given: Given, known: Mapping[Node, Reach]) -> Reach | None:
    """How far the values of a result reach, where it is a tensor of whole numbers and that is known."""
    tensors = OUTPUTS[node]
    if not tensors or not tensors[0].dtype.startswith(("int", "uint", "bool")):
        return None
    name = operator_name(str(node.target)).rstrip("_")
    if name == "ne":  # that tokens are no padding, which all of them may be
        return None if isinstance(given["self"], Node) and given["self"] in known else TRUTH
    if name in MADE:
        return _made(name, given)
    if name in SAME:
        return _side(node.args[0], known)
    if name in ARITHMETIC:
        sides = [_side(given.get(key), known) for key in ("self", "other")]
        if sides[0] is None or sides[1] is None:
            return None
        if given.get("alpha", 1) != 1 or not (any(map(_is_one, sides)) or _are_apart(given) or TRUTH in sides):
            return None  # the greatest of each need not be in the same place
        return ARITHMETIC[name](sides[0], sides[1])
    if name == "cumsum" and given["self"] in known:
        return _summed(known[given["self"]], OUTPUTS[given["self"]][0].shape[given["dim"]])
    if name == "slice" and _is_whole(given):
        return known.get(given["self"])
    return None


MADE = frozenset({"arange", "zeros", "ones", "zeros_like", "ones_like", "new_zeros", "new_ones", "full", "full_like"})
SAME = frozenset(
    {"to", "_to_copy", "clone", "contiguous", "detach", "lift_fresh", "expand", "expand_as", "view", "reshape", "unsqueeze"}
    | {"squeeze", "repeat", "repeat_interleave", "flatten", "transpose", "permute", "t", "broadcast_to", "type_as"}
)  # fmt: skip
"""Operators whose result has the values of their input."""


def _made(name: str, given: Given) -> Reach | None:
    if name == "arange":
        start, step = given.get("start", 0), given.get("step", 1)
        first, last = _side(start, {}), _side(given["end"], {})
        return (first[0], last[0] - 1) if first and last and step == 1 else None
    return _side(given["fill_value"] if "full" in name else int("ones" in name), {})


def _side(value: Any, known: Mapping[Node, Reach]) -> Reach | None:
    if isinstance(value, Node):
        return known.get(value)
    return (as_expr(value), as_expr(value)) if isinstance(value, (int, sympy.Expr)) else None


def _is_one(reach: Reach | None) -> bool:
    return reach is not None and reach[0] == reach[1]


def _are_apart(given: Given) -> bool:
    """Whether each value of one tensor meets each of the other, as a column meets a row."""
    shapes = (OUTPUTS[given[key]][0].shape for key in ("self", "other"))
    return all(1 in sizes for sizes in zip_longest(*(shape[::-1] for shape in shapes), fillvalue=1))


def _product(a: Reach, b: Reach) -> Reach | None:
    return (a[0] * b[0], a[1] * b[1]) if a[0].is_nonnegative and b[0].is_nonnegative else None


def _summed(each: Reach, many: sympy.Expr) -> Reach | None:
    return (each[0], each[1] * many) if each[0].is_nonnegative and (_is_one(each) or each == TRUTH) else None


ARITHMETIC: Mapping[str, Callable[[Reach, Reach], Reach | None]] = {
    "add": lambda a, b: (a[0] + b[0], a[1] + b[1]),
    "sub": lambda a, b: (a[0] - b[1], a[1] - b[0]),
    "rsub": lambda a, b: (b[0] - a[1], b[1] - a[0]),
    "mul": _product,
}


def _is_whole(given: Given) -> bool:
    return (given["start"] or 0) == 0 and given["end"] == 2**63 - 1 and given["step"] == 1
