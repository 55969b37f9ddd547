"""The tensors of a run: where they are among arguments and results, and how each lies in memory."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportPrivateUsage=false
# Torch's storages and trees are private and typed in part; this folder is the border that keeps them from the rest.

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from fxcost.graph import Layer
from fxcost.tracing.sizes.naming import TraceError

Layout = tuple[tuple[Any, ...], tuple[Any, ...], Any, torch.dtype]
"""Shape, strides, offset and dtype of a tensor; carried sizes as what stands behind them."""


def layout_of(tensor: torch.Tensor) -> Layout:
    """How a tensor lies in memory."""
    shape, strides = (tuple(map(plain_size, each)) for each in (tensor.shape, tensor.stride()))
    return shape, strides, plain_size(tensor.storage_offset()), tensor.dtype


def plain_size(size: Any) -> Any:
    """A whole number, or what stands behind a carried size."""
    return size.node if isinstance(size, torch.SymInt) else size


def name_of(operator: Any) -> str:
    """``conv2d`` for ``aten.conv2d.default``; of what has no namespace its name."""
    name = str(operator)
    return name.split(".")[1] if "." in name else name


def called(operator: Any, layer: Layer) -> str:
    """An operator and where it is called, as people are told: ``conv2d in layer1.0``."""
    return f"{name_of(operator)} in {layer.module or 'the model'}"


_PLAIN = (int, float, str, bool, complex, type(None), type, torch.SymInt, torch.Size, torch.dtype, torch.device)


def every_tensor_in(output: Any) -> Iterator[torch.Tensor]:
    """The tensors of a result, those that it holds as attributes too."""
    # A tensor that is not found here would be removed with all that computes it, and its cost with it.
    for leaf in pytree.tree_leaves(output):
        if isinstance(leaf, torch.Tensor):
            yield leaf
        elif isinstance(leaf, _PLAIN):
            continue
        elif hasattr(leaf, "__dict__"):
            yield from every_tensor_in(vars(leaf))
        else:
            raise TraceError(f"the model returns a {type(leaf).__name__}, which cannot be searched for tensors")


def storage_of(tensor: torch.Tensor) -> int:
    """Equal for tensors that share memory, as long as they live."""
    return tensor.untyped_storage()._cdata


def tensors_in(value: Any) -> list[torch.Tensor]:
    """The tensors among an operator's arguments or results."""
    if isinstance(value, torch.Tensor):
        return [value]
    found: list[torch.Tensor] = []
    _find_tensors(value, found)
    return found


def _find_tensors(value: Any, found: list[torch.Tensor]) -> None:
    if not isinstance(value, _HOLDS):
        return
    for each in value.values() if isinstance(value, dict) else value:
        if isinstance(each, torch.Tensor):
            found.append(each)
        elif isinstance(each, _HOLDS):
            _find_tensors(each, found)


_HOLDS = (list, tuple, dict)


def leaves_of(value: Any) -> list[Any]:
    """What is held by containers of any kind that torch knows."""
    return pytree.tree_leaves(value)


def named_tensors(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """The parameters and buffers of a model; of those that wrap others, such as quantised weights, what they wrap."""
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        yield from zip(
            names_in(name, tensor), wrapped_in(tensor).values() if is_wrapper(tensor) else (tensor,), strict=True
        )


def names_in(name: str, tensor: torch.Tensor) -> list[str]:
    """The names of what a named tensor wraps; of one that wraps nothing its own."""
    return [f"{name}.{part}" for part in wrapped_in(tensor)] if is_wrapper(tensor) else [name]


def parameters_of(module: torch.nn.Module) -> list[torch.Tensor]:
    """The parameters among `named_tensors`."""
    return [tensor for _, tensor in named_tensors(module) if isinstance(tensor, torch.nn.Parameter)]


def is_wrapper(tensor: torch.Tensor) -> bool:
    """Whether a tensor has operators of its own, which run those of torch on tensors that it wraps."""
    return type(tensor) not in _PLAIN_TENSORS and is_traceable_wrapper_subclass(tensor)


def wrapped_in(tensor: Any) -> dict[str, torch.Tensor]:
    """The tensors that a wrapper holds, by the names of its attributes."""
    names, _ = tensor.__tensor_flatten__()
    return {name: getattr(tensor, name) for name in names}


def wrapped_again(tensor: Any, bare: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """A wrapper of the same kind around what ``bare`` makes of each tensor; of a parameter each part is one."""
    _, told = tensor.__tensor_flatten__()
    parts = {name: bare(each) for name, each in wrapped_in(tensor).items()}
    again = type(tensor).__tensor_unflatten__(parts, told, tensor.shape, tensor.stride())
    if isinstance(tensor, torch.nn.Parameter):
        for each in (again, *parts.values()):
            each._is_param = True
    return again


_PLAIN_TENSORS = (torch.Tensor, torch.nn.Parameter)
