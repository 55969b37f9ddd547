"""Writes to the places that indices or masks name; in place only those places move."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# sympy and torch are typed in part.

from collections.abc import Mapping
from functools import reduce
from typing import Any

import sympy
import torch

from fxcost.graph import TensorSpec
from fxcost.ops.rules import Amount, Call, Rule, movement, nothing, register
from fxcost.ops.shapes import Shape, broadcast

aten = torch.ops.aten

MASKS = ("bool", "uint8")
"""Dtypes of an index that says of each element whether it is picked."""


def _indexed(call: Call) -> sympy.Expr:
    """Elements that an indexed write reaches: the indices' common shape by the dimensions not indexed.

    A mask stands for as many dimensions as it has, and may pick all of its elements.
    """
    common: list[Shape] = []
    masked: list[sympy.Expr] = []
    axis, shape = 0, call["self"].shape
    untouched: list[sympy.Expr] = []
    for index in call["indices"]:
        if not isinstance(index, TensorSpec):
            untouched.append(shape[axis])
            axis += 1
        elif index.dtype in MASKS:
            masked.append(index.elements)
            axis += len(index.shape)
        else:
            common.append(index.shape)
            axis += 1
    return sympy.Mul(*reduce(broadcast, common, ()), *masked, *untouched, *shape[axis:])


def _index_reads(call: Call) -> Mapping[str, sympy.Expr]:
    if not call.writes_to:
        return {}
    return {"self": _indexed(call) if call["accumulate"] else sympy.Integer(0)}


register(
    Rule(
        "indexed sum",
        "one addition for each element picked, if it accumulates; in place, writes the elements it picks (all that a mask "
        "may pick), not the whole target; else copies it",
        vector=lambda call: _indexed(call) if call["accumulate"] else sympy.Integer(0),
        reads=_index_reads,
        writes=lambda call: {"output": _indexed(call)} if call.writes_to else {},
    ),
    aten.index_put, aten._unsafe_index_put, aten._index_put_impl,
)  # fmt: skip


def _picked(call: Call) -> sympy.Expr:
    return call["index"].elements


def _source(call: Call) -> sympy.Expr:
    return call["source"].elements


def _slices(call: Call) -> sympy.Expr:
    """Whole slices of the target along the indexed dimension."""
    shape, dim = call["self"].shape, call["dim"]
    others = (size for axis, size in enumerate(shape) if axis != dim % len(shape))
    return call["index"].elements * sympy.Mul(*others)


def _written(name: str, touched: Amount, *operators: Any, flops: Amount = nothing, **parts: Any) -> None:
    """Register operators that write the elements ``touched``, and read them before where they compute."""
    computes = flops is not nothing

    def reads(call: Call) -> Mapping[str, sympy.Expr]:
        own = {"src": touched(call)} if "src" in call.arguments else {}
        return own | ({"self": touched(call) if computes else sympy.Integer(0)} if call.writes_to else {})

    register(
        Rule(
            name,
            ("one operation for each element picked; " if computes else "")
            + "in place, moves the elements it picks, not the whole target; else copies it",
            vector=flops, reads=reads, writes=lambda call: {"output": touched(call)} if call.writes_to else {}, **parts,
        ),
        *operators,
    )  # fmt: skip


_written("scatter", _picked, aten.scatter.src, aten.scatter.value, aten.scatter_.src, aten.scatter_.value)
_written("scatter", _source, aten.index_copy)
_written("scatter", _slices, aten.index_fill)
_written(
    "scattered operation", _picked,
    aten.scatter_add, aten.scatter.reduce, aten.scatter.value_reduce, aten.scatter_.reduce, aten.scatter_.value_reduce,
    aten.scatter_reduce,
    flops=_picked, unknown_when=lambda call: call.arguments.get("reduce") == "mean",
    unknown_why="a scattered mean divides as many elements as the indices name",
)  # fmt: skip
_written(
    "scattered sum", _source, aten.index_add,
    flops=lambda call: (1 + (call["alpha"] != 1)) * _source(call),
)  # fmt: skip
movement(
    "masked write", aten.masked_scatter,
    reason="writes the target whole; of the source at most all of it is read",
)  # fmt: skip
movement(
    "slice write", aten.slice_scatter, aten.select_scatter, aten.diagonal_scatter, aten.as_strided_scatter,
    reason="copies the target with a part of it replaced",
)  # fmt: skip
