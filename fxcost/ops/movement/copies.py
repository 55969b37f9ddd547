"""Operators that move data without arithmetic, and those that do nothing at all."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# sympy and torch are typed in part.

from collections.abc import Mapping

import sympy
import torch

from fxcost.ops.kernels import LINSPACE
from fxcost.ops.rules import Call, free, movement, op

aten = torch.ops.aten

movement(
    "copy",
    aten.clone, aten.contiguous, aten.reshape, aten.flatten, aten.to, aten._to_copy, aten.type_as, aten.view,
    aten.cat, aten.concat, aten.stack, aten.hstack, aten.vstack, aten.roll, aten.flip, aten.pad, aten.constant_pad_nd,
    aten.repeat, aten.repeat_interleave.self_int, aten.tile, aten.pixel_shuffle, aten.pixel_unshuffle, aten.channel_shuffle,
    aten.unfold_copy, aten.im2col, aten.meshgrid, aten.lift_fresh_copy, aten._unsafe_view,
    aten.expand_copy, aten.lift_fresh, aten.unflatten, aten.split_with_sizes_copy, aten.concatenate, aten.column_stack,
    aten.dstack, aten.row_stack, aten.block_diag, aten.cartesian_prod, aten.combinations, aten.complex, aten.one_hot,
    aten.reflection_pad1d, aten.reflection_pad2d, aten.reflection_pad3d, aten.replication_pad1d, aten.replication_pad2d,
    aten.replication_pad3d, aten._pad_circular, aten._pad_enum, aten.fliplr, aten.flipud, aten.rot90, aten.diag_embed,
    aten.diag, aten.diagflat, aten.native_channel_shuffle, aten.pad_sequence, aten.view_copy, aten.permute_copy,
    aten.transpose_copy, aten.t_copy, aten.unsqueeze_copy, aten.squeeze_copy, aten.detach_copy, aten.alias_copy,
    aten.split_copy, aten.unbind_copy, aten.ravel, aten.reshape_as, aten.view_as_real_copy,
    aten.view_as_complex_copy, aten.resolve_conj, aten.resolve_neg, aten.fft_fftshift, aten.fft_ifftshift, aten.lift,
    aten._reshape_copy, aten._cast_Float, aten._cast_Half, aten._lazy_clone,
    aten.max_unpool2d, aten.max_unpool3d, aten._pin_memory, aten._to_dense, aten._chunk_cat,
    reason="reads each stored input element once and writes each output element once",
)  # fmt: skip
movement(
    "selection", aten.sort, aten.argsort, aten.topk, aten.msort, aten.kthvalue, aten.median, aten.nanmedian, aten.mode,
    aten.searchsorted, aten.bucketize, aten.multinomial,
    reason="comparisons of a sort or search depend on the data and are not counted; data moves once in and once out",
)  # fmt: skip
movement(
    "fill",
    aten.arange, aten.linspace, LINSPACE, aten.zeros, aten.ones, aten.full, aten.zeros_like, aten.ones_like, aten.full_like,
    aten.new_zeros, aten.new_ones, aten.new_full, aten.scalar_tensor, aten.eye, aten.tril_indices, aten.triu_indices,
    aten.fill_, aten.fill, aten.zero_, aten.rand, aten.randn, aten.rand_like, aten.randn_like, aten.bernoulli_,
    aten.uniform_, aten.normal_, aten.exponential_, aten.random_, aten.log_normal_, aten.geometric_, aten.cauchy_,
    aten.randint, aten.randint_like, aten.randperm, aten.normal.float_float, aten.normal_functional, aten.uniform,
    aten.logspace, aten.range, aten.hann_window, aten.hamming_window, aten.blackman_window, aten.bartlett_window,
    aten.kaiser_window, aten.fft_fftfreq, aten.fft_rfftfreq,
    reason="writes each output element once and reads nothing; what a random number takes is not counted",
    reads=lambda call: {name: sympy.Integer(0) for name, _ in call.tensors},
)  # fmt: skip
movement(
    "random", aten.bernoulli, aten.poisson, aten.normal.Tensor_float, aten.normal.float_Tensor, aten.normal.Tensor_Tensor,
    reason="reads what each random number is drawn by; what drawing takes is not counted",
)  # fmt: skip
movement(
    "allocation", aten.empty, aten.empty_like, aten.new_empty, aten.empty_strided, aten.new_empty_strided,
    aten.empty_permuted,
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
    "gather", aten.index, aten.gather, aten.index_select, aten.take_along_dim, aten.take, aten._unsafe_index,
    aten.slice_copy, aten.select_copy, aten.narrow_copy, aten.diagonal_copy, aten.as_strided_copy,
    reason="reads the elements it picks, not the whole input",
    reads=lambda call: _picked_from("self", call),
)  # fmt: skip


def _skips_padding(call: Call) -> bool:
    return call.arguments.get("padding_idx") not in (None, -1)


@op(
    aten.embedding_bag, aten._embedding_bag, aten._embedding_bag_forward_only,
    reason="for each picked element an addition or comparison, and a product where it has a weight of its own; a mean "
    "also divides each output element. Reads the rows it picks, not the table",
    reads=lambda call: {"weight": sympy.Integer(0) if _skips_padding(call) else _rows_picked(call)},
    unknown_when=_skips_padding,
    unknown_why="how many indices of a bag are padding depends on the data",
)  # fmt: skip
def bags(call: Call) -> sympy.Expr:
    divided = call.output.elements if call["mode"] == MEAN else 0
    return (1 + (call["per_sample_weights"] is not None)) * _rows_picked(call) + divided


MEAN = 1
"""torch's number for bags that are averaged."""


def _rows_picked(call: Call) -> sympy.Expr:
    return call["indices"].elements * call["weight"].shape[-1]


movement(
    "overwrite", aten.copy_, aten.copy,
    reason="writes over its target without reading it",
    reads=lambda _: {"self": sympy.Integer(0)},
)  # fmt: skip
movement(
    "packing", aten._pack_padded_sequence,
    reason="reads the steps of each sequence that are no padding, and writes them one after another",
    reads=lambda call: {"input": call.output.elements},
)  # fmt: skip
movement(
    "unpacking", aten._pad_packed_sequence,
    reason="reads the steps of each sequence once, and writes them with padding between",
)  # fmt: skip


free(
    aten.t_, aten.transpose_, aten.unsqueeze_, aten.squeeze_, aten.as_strided_, aten.swapaxes_, aten.swapdims_, aten.set_,
    aten.resize_, aten.resize_as_, aten._functional_assert_async, "export.access_subclass_inner_tensor", aten.detach_, aten.sym_size, aten.sym_numel, aten.sym_stride, aten.sym_storage_offset, aten._assert_tensor_metadata,
    aten._assert_async, aten._assert_scalar, aten.sym_constrain_range, aten.sym_constrain_range_for_size,
)  # fmt: skip
