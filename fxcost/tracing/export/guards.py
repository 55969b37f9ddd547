"""Conditions that an exported program carries as text, such as ``L['x'].size()[0] <= 256``; read, never run."""

import ast
from collections.abc import Callable, Mapping

import sympy

from fxcost.formulas.ranges.domain import Condition, Relation
from fxcost.formulas.with_sympy import apply, condition
from fxcost.tracing.sizes.naming import TraceError

GuardSizes = Mapping[tuple[str, int], sympy.Expr]
"""The size of each axis of each input, by the input's name."""

RELATIONS: Mapping[type[ast.cmpop], tuple[Relation, bool]] = {
    ast.Eq: ("==", False),
    ast.NotEq: ("!=", False),
    ast.GtE: (">=", False),
    ast.Gt: (">", False),
    ast.LtE: (">=", True),
    ast.Lt: (">", True),
}
"""How each comparison is told, and whether its sides change places."""

ARITHMETIC: Mapping[type[ast.operator], Callable[[sympy.Expr, sympy.Expr], sympy.Expr]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: lambda a, b: apply(sympy.floor, a / b),
    ast.Mod: lambda a, b: apply(sympy.Mod, a, b),
}


def program_conditions(guards: list[str], sizes: GuardSizes) -> list[Condition]:
    """The conditions of a program on the sizes of its inputs. Raises `TraceError` for one of another kind."""
    return [condition for guard in guards for condition in _conditions(_parsed(guard), guard, sizes)]


def _parsed(guard: str) -> ast.expr:
    try:
        return ast.parse(guard, mode="eval").body
    except (SyntaxError, ValueError, RecursionError) as error:
        raise _unread(guard) from error


def _unread(guard: str) -> TraceError:
    return TraceError(
        f"the program holds only where {guard[:200]}, a kind of condition that cannot be kept with the formulas"
    )


def _conditions(node: ast.expr, guard: str, sizes: GuardSizes) -> list[Condition]:
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
        return [condition for value in node.values for condition in _conditions(value, guard, sizes)]
    if not isinstance(node, ast.Compare):
        raise _unread(guard)
    found: list[Condition] = []
    sides = [_size(side, guard, sizes) for side in (node.left, *node.comparators)]
    for operator, left, right in zip(node.ops, sides, sides[1:], strict=False):
        if type(operator) not in RELATIONS:
            raise _unread(guard)
        relation, swapped = RELATIONS[type(operator)]
        found.append(
            condition(*((right, relation, left) if swapped else (left, relation, right)), "the exported program")
        )
    return found


def _size(node: ast.expr, guard: str, sizes: GuardSizes) -> sympy.Expr:
    match node:
        case ast.Constant(value=int(value)):
            return sympy.Integer(value)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_size(operand, guard, sizes)
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in ARITHMETIC:
            return ARITHMETIC[type(operator)](_size(left, guard, sizes), _size(right, guard, sizes))
        case ast.Subscript(
            value=ast.Call(
                func=ast.Attribute(
                    value=ast.Subscript(value=ast.Name(id="L"), slice=ast.Constant(value=str(name))), attr="size"
                )
            ),
            slice=ast.Constant(value=int(axis)),
        ) if (name, axis) in sizes:
            return sizes[name, axis]
        case _:
            raise _unread(guard)
