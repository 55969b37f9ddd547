"""What tracing writes on the nodes of a graph: the one place that does, before passes run."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportPrivateUsage=false
# Torch's storages are private; this folder is the border that keeps them from the rest.

from collections.abc import Callable
from typing import Any, TypeVar

import sympy
import torch
from torch.fx import Node

from fxcost.graph import OUTPUTS, PARAMETER, SIZE, TRANSIENT, WEIGHT, Key, TensorSpec
from fxcost.tracing.sizes.naming import hint_of

T = TypeVar("T")


def write(node: Node, key: Key[T], value: T | None) -> None:
    """Write what is known of a node; None is not."""
    if value is not None:
        node.meta[key.name] = value


def write_weight(node: Node, name: str, *, is_parameter: bool, transient: bool) -> None:
    """Write which parameter or buffer a placeholder stands for, and whether a checkpoint leaves it out."""
    write(node, WEIGHT, name)
    write(node, TRANSIENT, transient or None)
    if is_parameter:
        write(node, PARAMETER, node.meta["val"].numel())


def write_value(node: Node, convert: Callable[[Any], sympy.Expr]) -> None:
    """Write the tensors or the size that a node yields, as its traced value has them."""
    value = node.meta.get("val")
    tensors = value if isinstance(value, (list, tuple)) else (value,)
    write(node, OUTPUTS, tuple(_spec(t, convert) for t in tensors if isinstance(t, torch.Tensor)))
    if isinstance(value, (int, torch.SymInt)) and not isinstance(value, bool):
        write(node, SIZE, convert(value))


def _spec(tensor: torch.Tensor, convert: Callable[[Any], sympy.Expr]) -> TensorSpec:
    return TensorSpec(
        shape=tuple(map(convert, tensor.shape)),
        strides=tuple(map(convert, tensor.stride())),
        dtype=str(tensor.dtype).removeprefix("torch."),
        storage=tensor.untyped_storage()._cdata,
        offset=convert(tensor.storage_offset()),
        overlapping=_overlaps(tensor),
    )


def _overlaps(tensor: torch.Tensor) -> bool:
    dims = [(hint_of(size), hint_of(stride)) for size, stride in zip(tensor.shape, tensor.stride(), strict=True)]
    reach, indices = 1, 1
    for size, stride in dims:
        if stride and size:
            reach, indices = reach + (size - 1) * stride, indices * size
    return indices > reach
