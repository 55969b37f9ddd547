"""Operators that stand for what no operator of torch says: kernels that know sinks and windows, or pack their weights."""

# pyright: reportUnknownMemberType=false
# torch is typed in part.

import torch

_OPERATORS = torch.library.Library("fxcost", "FRAGMENT")
_OPERATORS.define(
    "attention(Tensor query, Tensor key, Tensor value, Tensor? attn_mask, Tensor? sinks, bool is_causal, int? window) "
    "-> Tensor"
)
_OPERATORS.define("linear_dynamic(Tensor input, Tensor weight, Tensor? bias) -> Tensor")
_OPERATORS.define("linspace(SymInt steps, *, ScalarType dtype) -> Tensor")
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


@torch.library.impl(_OPERATORS, "linear_dynamic", "Meta")
def _linear_dynamic(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:  # noqa: ARG001
    if input.shape[-1] != weight.shape[1]:
        raise RuntimeError(f"a layer of {weight.shape[1]} features is given {input.shape[-1]}")
    return input.new_empty((*input.shape[:-1], weight.shape[0]))


@torch.library.impl(_OPERATORS, "linspace", "BackendSelect")  # no tensor that it takes says where it runs
def _linspace(steps: int, *, dtype: torch.dtype) -> torch.Tensor:
    return torch.empty((steps,), dtype=dtype, device="meta")


@torch.library.impl(_OPERATORS, "mask_of_kernel", "Meta")
def _mask_of_kernel(like: torch.Tensor, batch: int, queries: int, keys: int) -> torch.Tensor:
    return like.new_empty((batch, 1, queries, keys), dtype=torch.bool)


ATTENTION = torch.ops.fxcost.attention.default
"""Queries ``[B, heads, S, size]`` meet keys and values of as many heads or fewer; each the last ``window`` up to its own."""
LINEAR_DYNAMIC = torch.ops.fxcost.linear_dynamic.default
"""``quantized::linear_dynamic`` with its matrix ``[out, in]`` as it is, which torch's own operator packs away."""
LINSPACE = torch.ops.fxcost.linspace.default
"""``aten.linspace``, and ``logspace``, of as many steps as a size says, which torch's own operators take for a number."""
MASK = torch.ops.fxcost.mask_of_kernel.default
"""Stands for a mask that a kernel works out for itself: nothing is computed or moved."""
