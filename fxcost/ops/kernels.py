"""Operators that stand for what no operator of torch says: attention of a kernel that knows sinks and windows."""

# pyright: reportUnknownMemberType=false
# torch is typed in part.

import torch

_OPERATORS = torch.library.Library("fxcost", "FRAGMENT")
_OPERATORS.define(
    "attention(Tensor query, Tensor key, Tensor value, Tensor? attn_mask, Tensor? sinks, bool is_causal, int? window) "
    "-> Tensor"
)
_OPERATORS.define("mask_of_kernel(Tensor like, SymInt batch, SymInt queries, SymInt keys) -> Tensor")


@torch.library.impl(_OPERATORS, "attention", "Meta")
def _attention(
    query: torch.Tensor,
    key: torch.Tensor,  # noqa: ARG001
    value: torch.Tensor,
    attn_mask: torch.Tensor | None,  # noqa: ARG001
    sinks: torch.Tensor | None,  # noqa: ARG001
    is_causal: bool,  # noqa: ARG001
    window: int | None,  # noqa: ARG001
) -> torch.Tensor:
    batch, heads, length, _ = query.shape
    # As fused kernels lay it out: the heads of one position beside each other.
    return query.new_empty((batch, length, heads, value.shape[-1])).transpose(1, 2)


@torch.library.impl(_OPERATORS, "mask_of_kernel", "Meta")
def _mask_of_kernel(like: torch.Tensor, batch: int, queries: int, keys: int) -> torch.Tensor:
    return like.new_empty((batch, 1, queries, keys), dtype=torch.bool)


ATTENTION = torch.ops.fxcost.attention.default
"""Queries ``[B, heads, S, size]`` meet keys and values of as many heads or fewer; each the last ``window`` up to its own."""
MASK = torch.ops.fxcost.mask_of_kernel.default
"""Stands for a mask that a kernel works out for itself: nothing is computed or moved."""
