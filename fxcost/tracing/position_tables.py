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

from fxcost.errors import FxcostError
from fxcost.formulas.ranges.domain import Condition
from fxcost.formulas.ranges.propagation import tighten
from fxcost.formulas.with_sympy import condition, symbol
from fxcost.graph import LAYER, OUTPUTS, REACH, SIZE, operations, placeholders
from fxcost.inputs import children
from fxcost.ops.rules import named_arguments, written_arguments
from fxcost.tracing import Traced
from fxcost.tracing.sizes.tensors import name_of
from fxcost.tracing.source import Source

Reach = tuple[sympy.Expr, sympy.Expr]
"""The least and the greatest value in a tensor of whole numbers."""
Given = Mapping[str, Any]
"""The arguments of a call by the names of its schema; tensors as nodes, sizes as expressions."""

TRUTH: Reach = (sympy.Integer(0), sympy.Integer(1))
"""Of masks, which may be all ones. It is known by identity: numbers that are 0 and 1 by place are no mask."""


class HeldPositions(tuple[sympy.Expr, sympy.Expr]):
    """The reach of numbers that the model holds: both ends are among them at any sizes."""

    __slots__ = ()


class Floored(tuple[sympy.Expr, sympy.Expr]):
    """The reach of quotients that are rounded down, before the greatest is: the same whole numbers are above both."""

    __slots__ = ()


def within_tables(source: Source, traced: Traced) -> Traced:
    """The trace with its sizes held to those at which no row is picked beyond the end of what it is picked from.

    Raises `FxcostError` when no size is left.
    """
    reaches = _of_inputs(source, traced) | _of_constants(traced)
    found: list[Condition] = []
    for node in operations(traced.graph):
        given = _given(node)
        for size, index in _picks(node, given):
            if (known := reaches.get(index)) is not None:
                found += _within(source.ref, node, size, known)
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
    ends = {node: (end(low), end(high)) for node, (low, high) in named.items()}
    return {node: TRUTH if reach == TRUTH else reach for node, reach in ends.items()}


def _of_constants(traced: Traced) -> dict[Node, Reach]:
    return {
        node: HeldPositions(map(sympy.Integer, REACH[node])) for node in placeholders(traced.graph) if node in REACH
    }


def _within(ref: str, node: Node, size: sympy.Expr, reach: Reach) -> Iterator[Condition]:
    """That the rows are there which are picked, of a number of rows."""
    counted_back = isinstance(reach, HeldPositions) and name_of(node.target).rstrip("_") in COUNTING_BACK
    for last in (*sympy.Max.make_args(reach[1]), *([-1 - reach[0]] if counted_back else [])):
        if not (size - last).is_positive:
            yield _beyond(ref, node, size, last)


COUNTING_BACK = frozenset({"index", "index_put", "index_fill"})
"""Operators to which -1 is the last row."""


def _beyond(ref: str, node: Node, size: sympy.Expr, last: sympy.Expr) -> Condition:
    place = LAYER[node].module or "the model"
    if (size - last).is_nonpositive:
        raise FxcostError(
            f"{ref}: {place} picks row {sympy.floor(last)} of {size} rows, counted from 0: the sizes are beyond its table of positions\n"
            "Give shorter sizes with --at"
        )
    return condition(size, ">", last, f"{place}, which picks a row for each position")


def _expr(value: int | sympy.Expr) -> sympy.Expr:
    return sympy.Integer(value) if isinstance(value, int) else value


def _given(node: Node) -> Given:
    if not isinstance(node.target, OpOverload):
        return {}
    given = named_arguments(node.target, node.args, node.kwargs)
    return {name: SIZE[v] if isinstance(v, Node) and v in SIZE else v for name, v in given.items()}


def _written(node: Node, given: Given) -> set[int]:
    """The storages that an operation changes in place."""
    if not isinstance(node.target, OpOverload):
        return set()
    names = written_arguments(node.target)
    return {tensor.storage for name in names if isinstance(given[name], Node) for tensor in OUTPUTS[given[name]]}


def _picks(node: Node, given: Given) -> Iterator[tuple[sympy.Expr, Node]]:
    """Each dimension that an operation picks from, by its size, with the tensor of the places that it picks."""
    match name_of(node.target).rstrip("_"):
        case "embedding":
            yield OUTPUTS[given["weight"]][0].shape[0], given["indices"]
        case (
            "index_select" | "index_add" | "index_copy" | "index_fill"
            | "gather" | "scatter" | "scatter_add" | "scatter_reduce"
        ) if OUTPUTS[given["self"]][0].shape:  # fmt: skip
            yield OUTPUTS[given["self"]][0].shape[given["dim"]], given["index"]
        case "one_hot" if given["num_classes"] != -1:
            yield _expr(given["num_classes"]), given["self"]
        case "index" | "index_put":
            shape = OUTPUTS[given["self"]][0].shape
            each = list(children(given["indices"]))
            if all(index is None or OUTPUTS[index][0].dtype not in {"bool", "uint8"} for index in each):
                yield from ((size, index) for size, index in zip(shape, each, strict=False) if index is not None)
        case _:
            pass


def _reach(node: Node, given: Given, known: Mapping[Node, Reach]) -> Reach | None:
    """How far the values of a result reach, where it is a tensor of whole numbers and that is known."""
    tensors = OUTPUTS[node]
    if not tensors or not tensors[0].dtype.startswith(("int", "uint", "bool", "float32", "float64")):
        return None
    name = name_of(node.target).rstrip("_")
    if name == "ne":  # that tokens are no padding, which all of them may be
        return None if isinstance(given["self"], Node) and given["self"] in known else TRUTH
    if name in MADE:
        return _made(name, given)
    if name in SAME:
        of = given.get("self")
        truth = isinstance(of, Node) and OUTPUTS[of][0].dtype != "bool" and tensors[0].dtype == "bool"
        return None if truth else _side(of, known)
    if name in ARITHMETIC:
        return _combined(name, given, known)
    if name == "cumsum" and given["self"] in known:
        return _summed(known[given["self"]], OUTPUTS[given["self"]][0].shape[given["dim"]])
    if name == "slice":
        return known.get(given["self"]) if _is_whole(given) else _part(node, given, known)
    if name in {"cat", "concat", "stack"}:
        return _together([_side(each, known) for each in children(given["tensors"])])
    if name in OF_ONE:
        of = _side(given["self"], known)
        return None if of is None or isinstance(of, Floored) else OF_ONE[name](of, given)
    return None


def _combined(name: str, given: Given, known: Mapping[Node, Reach]) -> Reach | None:
    """How far sums, differences and products reach."""
    sides = [_side(given.get(key), known) for key in ("self", "other")]
    if sides[0] is None or sides[1] is None:
        return None
    if given.get("alpha", 1) != 1 or not (
        any(map(_is_one, sides)) or _are_apart(given) or any(side is TRUTH for side in sides)
    ):
        return None  # the greatest of each need not be in the same place
    if any(isinstance(side, Floored) for side in sides):
        return Floored(ARITHMETIC["add"](sides[0], sides[1]) or ()) if _is_moved(name, sides) else None
    return ARITHMETIC[name](sides[0], sides[1])


def _is_moved(name: str, sides: list[Reach | None]) -> bool:
    """Whether one number is added to all."""
    return name == "add" and any(map(_is_one, sides))


def _part(node: Node, given: Given, known: Mapping[Node, Reach]) -> Reach | None:
    """How far a part reaches of numbers that count up by one."""
    of, start = given["self"], given["start"] or 0
    if name_of(of.target) != "arange" or not isinstance(start, int) or start < 0:
        return None
    counted = _given(of)
    if of not in known or known[of] != _made("arange", counted) or counted.get("step", 1) != 1:
        return None  # not counted by one, or changed since
    low = known[of][0] + start
    return low, low + (OUTPUTS[node][0].shape[0] - 1) * given["step"]


def _together(reaches: list[Reach | None]) -> Reach | None:
    ends = [reach for reach in reaches if reach is not None and not isinstance(reach, Floored)]
    if not ends or len(ends) < len(reaches):
        return None
    return sympy.Min(*(low for low, _ in ends)), sympy.Max(*(high for _, high in ends))


def _absolute(of: Reach, _given: Given) -> Reach | None:
    if of[0].is_nonnegative:
        return of
    return (sympy.Integer(0), of[1]) if sympy.expand(of[0] + of[1]) == 0 else None


def _clamped(of: Reach, given: Given) -> Reach | None:
    low = _side(given["min"], {})
    return (sympy.Max(of[0], low[0]), sympy.Max(of[1], low[0])) if low and given.get("max") is None else None


def _divided(of: Reach, given: Given) -> Reach | None:
    by = given["other"]
    if not isinstance(by, int) or by < 1 or not of[0].is_Integer or of[0] < 0:
        return None
    return Floored((of[0] // by, of[1] / by)) if given.get("rounding_mode", "floor") in {"floor", "trunc"} else None


OF_ONE: Mapping[str, Callable[[Reach, Given], Reach | None]] = {
    "abs": _absolute,
    "clamp": _clamped,
    "clamp_min": _clamped,
    "floor_divide": _divided,
    "div": _divided,
    "divide": _divided,
}


MADE = frozenset({"arange", "zeros", "ones", "zeros_like", "ones_like", "new_zeros", "new_ones", "full", "full_like"})
SAME = frozenset(
    {"to", "_to_copy", "clone", "contiguous", "detach", "lift_fresh", "expand", "expand_as", "view", "reshape", "unsqueeze"}
    | {"flip", "roll", "lift_fresh_copy", "squeeze", "repeat", "repeat_interleave", "flatten", "transpose", "permute", "t", "broadcast_to", "type_as"}
)  # fmt: skip
"""Operators whose result has the values of their input."""


def _made(name: str, given: Given) -> Reach | None:
    if name == "arange":
        start, step = given.get("start", 0), given.get("step", 1)
        first, last = _side(start, {}), _side(given["end"], {})
        if first is None or last is None or not isinstance(step, int) or step < 1:
            return None
        many = sympy.expand((last[0] - first[0]) / step)
        return (first[0], first[0] + step * (many - 1)) if step == 1 or many.is_integer else None
    return _side(given["fill_value"] if "full" in name else int("ones" in name), {})


def _side(value: Any, known: Mapping[Node, Reach]) -> Reach | None:
    if isinstance(value, Node):
        return known.get(value)
    return (_expr(value), _expr(value)) if isinstance(value, (int, sympy.Expr)) else None


def _is_one(reach: Reach | None) -> bool:
    return reach is not None and reach[0] == reach[1]


def _are_apart(given: Given) -> bool:
    """Whether each value of one tensor meets each of the other, as a column meets a row."""
    shapes = (OUTPUTS[given[key]][0].shape for key in ("self", "other"))
    return all(1 in sizes for sizes in zip_longest(*(shape[::-1] for shape in shapes), fillvalue=1))


def _product(a: Reach, b: Reach) -> Reach | None:
    if a is TRUTH and b is TRUTH:
        return TRUTH
    return (a[0] * b[0], a[1] * b[1]) if a[0].is_nonnegative and b[0].is_nonnegative else None


def _summed(each: Reach, many: sympy.Expr) -> Reach | None:
    return (each[0], each[1] * many) if each[0].is_nonnegative and (_is_one(each) or each is TRUTH) else None


ARITHMETIC: Mapping[str, Callable[[Reach, Reach], Reach | None]] = {
    "add": lambda a, b: (a[0] + b[0], a[1] + b[1]),
    "sub": lambda a, b: (a[0] - b[1], a[1] - b[0]),
    "rsub": lambda a, b: (b[0] - a[1], b[1] - a[0]),
    "mul": _product,
}


def _is_whole(given: Given) -> bool:
    return (given["start"] or 0) == 0 and given["end"] == 2**63 - 1 and given["step"] == 1
