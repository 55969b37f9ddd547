"""Operators whose arithmetic no formula of sizes tells: named here so that the answer says why."""

import sympy
import torch

from fxcost.ops.rules import Call, unknown

aten = torch.ops.aten


def _perhaps_nothing(call: Call) -> dict[str, sympy.Expr]:
    """Where it may read a part of what it is given, as a gather or a triangle, no more than nothing is sure."""
    return {name: sympy.Integer(0) for name, _ in call.tensors}


unknown(
    aten._sparse_mm, aten._sparse_addmm, aten._sparse_sparse_matmul, aten.sspaddmm, aten.smm, aten.hspmm,
    aten.sparse_sampled_addmm, aten._cslt_sparse_mm, aten._sparse_softmax, aten._sparse_sum,
    reason="a sparse product does work for each stored element, and how many are stored is not in the sizes",
    reads=_perhaps_nothing,
)  # fmt: skip
unknown(
    aten.nonzero, aten.nonzero_static, aten.unique_consecutive, aten.unique_dim, aten._unique2, aten._unique,
    aten.bincount, aten.argwhere, aten.isin, aten.gcd, aten.lcm, "torchvision.nms",
    reason="how much it does depends on the values of its data",
)  # fmt: skip
unknown(
    aten.masked_select, aten.repeat_interleave.Tensor, aten.repeat_interleave.self_Tensor, aten._unsafe_masked_index,
    aten.segment_reduce, "torchvision.roi_align", "torchvision.roi_pool", "torchvision.ps_roi_align",
    "torchvision.ps_roi_pool",
    reason="how much it does, and how much of its inputs it reads, depends on the values of its data",
    reads=_perhaps_nothing,
)  # fmt: skip
unknown(
    aten.linalg_cholesky, aten.linalg_cholesky_ex, "aten.cholesky", aten.cholesky_solve, aten.cholesky_inverse,
    aten.linalg_lu, aten.linalg_lu_factor, aten.linalg_lu_factor_ex, aten.linalg_lu_solve, aten.linalg_solve,
    aten.linalg_solve_ex, aten._linalg_solve_ex, aten.linalg_solve_triangular, aten.triangular_solve, aten.linalg_inv,
    aten.linalg_inv_ex, aten.inverse, aten.linalg_det, aten._linalg_det, aten.det, aten.logdet, aten.slogdet,
    aten.linalg_slogdet, aten._linalg_slogdet, aten.linalg_qr, "aten.qr", aten.linalg_svd, aten._linalg_svd,
    aten.linalg_svdvals, aten.svd, aten.linalg_eig, aten.linalg_eigh, aten._linalg_eigh, aten.linalg_eigvals,
    aten.linalg_eigvalsh, aten.linalg_pinv, aten.pinverse, aten.linalg_lstsq, aten.linalg_matrix_exp, aten.matrix_exp,
    aten.linalg_matrix_power, aten.matrix_power, aten.linalg_matrix_rank,
    aten.linalg_ldl_factor_ex, aten.linalg_ldl_solve, aten.linalg_householder_product, aten.ormqr, aten.lu_unpack,
    reason="a factorization of a matrix does as much as its algorithm takes, which torch chooses by library and data",
    reads=_perhaps_nothing,
)  # fmt: skip
unknown(
    aten._trilinear, aten._flash_attention_forward, aten._efficient_attention_forward, aten._cudnn_rnn,
    aten._thnn_fused_lstm_cell, aten._thnn_fused_gru_cell, aten.mkldnn_rnn_layer,
    reason="an inner operator of another whose arguments do not say enough; export the model without decomposing it",
)  # fmt: skip


def _no_weights(_call: Call) -> dict[str, sympy.Expr]:
    """What a submodule reads of its weights is not seen: of a table of embeddings, the rows it picks."""
    return {"weights": sympy.Integer(0)}


unknown("fxcost.leaf", reason="a submodule that is counted whole, and not looked into", opaque=True, reads=_no_weights)
unknown(
    "fxcost.unreached",
    reason="what follows a submodule that is counted whole and could not be run: it was not reached",
    opaque=True,
    reads=_no_weights,
)
unknown(
    "fxcost.unseen",
    reason="a tensor that no recorded operator made, of work in another thread or outside torch's dispatcher",
    opaque=True,
)
