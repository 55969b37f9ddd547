"""Operators that move data without arithmetic, and those that do nothing at all."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# sympy and torch are typed in part.

from collections.abc import Mapping

import sympy
import torch

from fxcost.graph import TensorSpec
from fxcost.ops.rules import Call, free, movement

aten = torch.ops.aten

movement(
    "copy",
    aten.clone, aten.contiguous, aten.reshape, aten.flatten, aten.to, aten._to_copy, aten.type_as, aten.view,
    aten.cat, aten.concat, aten.stack, aten.hstack, aten.vstack, aten.roll, aten.flip, aten.pad, aten.constant_pad_nd,
    aten.repeat, aten.repeat_interleave.self_int, aten.tile, aten.pixel_shuffle, aten.pixel_unshuffle, aten.channel_shuffle,
    aten.unfold_copy, aten.im2col, aten.meshgrid, aten.slice_scatter, aten.lift_fresh_copy, aten._unsafe_view,
    aten.expand_copy, aten.lift_fresh, aten.unflatten, aten.split_with_sizes_copy,
    reason="reads each stored input element once and writes each output element once",
)  # fmt: skip
movement(
    "selection", aten.sort, aten.argsort, aten.topk,
    reason="comparisons of a sort depend on the data and are not counted; data moves once in and once out",
)  # fmt: skip
movement(
    "fill",
    aten.arange, aten.linspace, aten.zeros, aten.ones, aten.full, aten.zeros_like, aten.ones_like, aten.full_like,
    aten.new_zeros, aten.new_ones, aten.new_full, aten.scalar_tensor, aten.eye, aten.tril_indices, aten.triu_indices,
    aten.fill_, aten.zero_, aten.rand, aten.randn, aten.rand_like, aten.randn_like, aten.bernoulli_,
    reason="writes each output element once and reads nothing",
    reads=lambda call: {name: sympy.Integer(0) for name, _ in call.tensors},
)  # fmt: skip
movement(
    "allocation", aten.empty, aten.empty_like, aten.new_empty, aten.empty_strided, aten.new_empty_strided,
    reason="reserves memory and moves nothing",
    reads=lambda call: {name: sympy.Integer(0) for name, _ in call.tensors},
    writes=lambda _: {"output": sympy.Integer(0)},
)  # fmt: skip


def _picked_from(argument: str, call: Call) -> Mapping[str, sympy.Expr]:
    return {argument: call.output.elements}


movement(
    "embedding", aten.embedding, reason="reads the rows it picks, not the table",
    reads=lambda call: _picked_from("weight", call),
)  # fmt: skip
movement(
    "gather", aten.index, aten.gather, aten.index_select, aten.take_along_dim, aten.take,
    reason="reads the elements it picks, not the whole input",
    reads=lambda call: _picked_from("self", call),
)  # fmt: skip
movement(
    "overwrite", aten.copy_,
    reason="writes over its target without reading it",
    reads=lambda _: {"self": sympy.Integer(0)},
)  # fmt: skip


def _scattered(call: Call) -> sympy.Expr:
    """Elements that an indexed write reaches: the indices' common shape by the dimensions not indexed.

    A mask stands for as many dimensions as it has, and may pick all of its elements.
    """
    common: list[list[sympy.Expr]] = []
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
            common.append([*index.shape])
            axis += 1
    rank = max(map(len, common), default=0)
    together = [_broadcast([sizes[d - rank] for sizes in common if len(sizes) >= rank - d]) for d in range(rank)]
    return sympy.Mul(*together, *masked, *untouched, *shape[axis:])


MASKS = ("bool", "uint8")
"""Dtypes of an index that says of each element whether it is picked."""


def _broadcast(sizes: list[sympy.Expr]) -> sympy.Expr:
    return next((size for size in sizes if size != 1), sympy.Integer(1))


def _scatter_reads(call: Call) -> Mapping[str, sympy.Expr]:
    if not call.writes_to:
        return {}
    return {"self": _scattered(call) if call["accumulate"] else sympy.Integer(0)}


movement(
    "scatter",
    aten.index_put,
    reason="in place, writes the elements it picks (all that a mask may pick), not the whole target; else copies it",
    reads=_scatter_reads,
    writes=lambda call: {"output": _scattered(call)} if call.writes_to else {},
)

free(
    aten.detach_, aten.sym_size, aten.sym_numel, aten.sym_stride, aten.sym_storage_offset, aten._assert_tensor_metadata,
    aten._assert_async, aten._assert_scalar, aten.sym_constrain_range, aten.sym_constrain_range_for_size,
)  # fmt: skip
