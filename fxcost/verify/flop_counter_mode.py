"""torch's own counter over one call of a model: the FLOPs that `FlopCounterMode` sees."""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# torch is typed in part.

from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode

from fxcost.inputs import NUMBER, InputSpec
from fxcost.models.attention_masks import nothing_hidden
from fxcost.tracing import as_exported, lacks_data
from fxcost.tracing.source import Source


def flops_by_torch(source: Source, sizes: Mapping[str, int], device: str = "meta") -> int:
    """FLOPs of one call of a source's module at these sizes, on tensors without memory unless another device is named.

    Raises whatever the model raises when it is called so.
    """
    module: Any = source.module

    def given(leaf: Any) -> Any:
        return _given(leaf, sizes, device) if isinstance(leaf, InputSpec) else leaf

    arguments, keywords = pytree.tree_map(given, (source.arguments.args, dict(source.arguments.kwargs or {})))

    def counted(answers: AbstractContextManager[None]) -> int:
        with _as_plain_products(module, device), nothing_hidden(), answers, FlopCounterMode(display=False) as counter:
            source.arguments.caller(module, sizes)(*arguments, **keywords)
        return counter.get_total_flops()

    try:
        return counted(nullcontext())
    except Exception as error:
        if not lacks_data(error):
            raise
        return counted(as_exported())


def _given(spec: InputSpec, sizes: Mapping[str, int], device: str) -> Any:
    if spec.dtype == NUMBER:
        return spec.number(sizes)
    return torch.ones(spec.shape(sizes), dtype=getattr(torch, spec.dtype), device=device)


@contextmanager
def _as_plain_products(module: Any, device: str) -> Generator[None]:
    """The counter sees matrix products only: fused attention, the encoder's fast path and grouped experts are opaque to it."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    with ExitStack() as stack:
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast_path)
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.device(device))
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        for parameter in module.parameters():
            # It follows modules by hooks on gradients, which a parameter that is passed to a module breaks.
            stack.callback(parameter.requires_grad_, parameter.requires_grad)
            parameter.requires_grad_(False)
        if hasattr(module, "set_experts_implementation"):
            # As a batch of plain products, one for each pair of a token and an expert it is sent to, the multiply-adds
            # of experts are the same, and in the counter's reach.
            stack.callback(module.set_experts_implementation, module.config._experts_implementation)
            module.set_experts_implementation("batched_mm")
        yield
