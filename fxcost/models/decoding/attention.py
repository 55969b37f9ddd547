"""Attention of one new token to all positions of its cache, as one fused operator in the place of transformers' own."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownParameterType=false
# pyright: reportUnknownVariableType=false, reportUnknownLambdaType=false, reportPrivateUsage=false
# transformers is typed in part.

from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from fxcost.errors import FxcostError

NAME = "sdpa"
"""Models that call torch's attention themselves, such as Falcon, look for this name."""

HARMLESS = {"position_ids"}
"""Tensors that models hand on to attention, and no attention reads."""


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    s_aux: torch.Tensor | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of queries ``[B, heads, 1, size]`` to keys and values of as many heads or of fewer.

    The newest token sees all positions of the buffer, so there is no mask to make. A soft cap runs inside the kernel.
    """
    unknown = [name for name, each in others.items() if isinstance(each, torch.Tensor) and name not in HARMLESS]
    if unknown:
        raise FxcostError(
            f"--mode decode: the attention of {type(module).__name__} reads {unknown[0]}, which has no rule"
        )
    if s_aux is not None:
        # A kernel with attention sinks reads one number a head beside its inputs, as it would read a mask of that shape.
        attention_mask = s_aux.view(1, -1, 1, 1).to(query.dtype)
    values_of = None
    if is_latent(module):
        query, values_of = _absorbed(module, query, key)
    output = scaled_dot_product_attention(
        query, key, value, attention_mask, scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
    )
    if values_of is not None:
        output = output @ values_of.transpose(1, 2)
    return output.transpose(1, 2).contiguous(), None


def is_latent(module: torch.nn.Module) -> bool:
    """Whether a module's keys and values are expanded from one latent for all heads."""
    return hasattr(module, "expand_kv") and hasattr(module, "kv_b_proj")


def _absorbed(module: Any, query: torch.Tensor, latent: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries that meet latents as they are, and the matrices ``[heads, size, rank]`` that give the values of a head.

    The scores of keys that are expanded, ``q·(W·latent)``, are those of queries brought to the latent, ``(qᵀ·W)·latent``
    (DeepSeek-V2, arXiv:2405.04434, section 2.1.2), and sums of values are expanded once, after attention.
    """
    plain, rotary = query.split([module.qk_nope_head_dim, module.qk_rope_head_dim], dim=-1)
    rank = latent.shape[-1] - module.qk_rope_head_dim
    expand = module.kv_b_proj.weight.view(query.shape[1], -1, rank)
    keys_of, values_of = expand.split([module.qk_nope_head_dim, module.v_head_dim], dim=1)
    return torch.cat((plain @ keys_of, rotary), dim=-1), values_of


@contextmanager
def fused(model: torch.nn.Module, *, masked: bool) -> Generator[None]:
    """Have a model's attention run as `attend`, latents left as they are cached; afterwards as before.

    There are no masks, or where ``masked``, masks that hide nothing.
    """
    masks = _masks_of_nothing if masked else lambda **_: None
    with ExitStack() as patches:
        for config in _configurations(model):
            patches.enter_context(mock.patch.object(config, "_attn_implementation_internal", NAME))
        for module in filter(is_latent, model.modules()):
            patches.enter_context(mock.patch.object(module, "expand_kv", lambda latent, part: (latent, part)))
        patches.enter_context(mock.patch.dict(ALL_ATTENTION_FUNCTIONS._local_mapping, {NAME: attend}))
        patches.enter_context(mock.patch.dict(ALL_MASK_ATTENTION_FUNCTIONS._local_mapping, {NAME: masks}))
        yield


def _masks_of_nothing(
    *, batch_size: Any, q_length: Any, kv_length: Any, dtype: torch.dtype, device: Any, **_: Any
) -> torch.Tensor:
    """What is added to scores, ``[B, 1, 1, positions]``."""
    return torch.zeros((batch_size, 1, q_length, kv_length), dtype=dtype, device=device)


def _configurations(model: torch.nn.Module) -> Iterator[Any]:
    held = (getattr(module, "config", None) for module in model.modules())
    found = {id(config): config for config in held if hasattr(config, "_attn_implementation_internal")}
    yield from found.values()
