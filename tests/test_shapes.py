"""Shapes that are told without torch's own functions are those of kernels with memory, and so are the refusals."""

from typing import Any

import pytest
import torch

from fxcost.tracing.recording.shapes import SHAPES

aten = torch.ops.aten


def _of(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.ones(shape, dtype=dtype)


ROWS, TURNED, IMAGES = _of(2, 3, 4), _of(4, 3, 2).transpose(0, 2), _of(2, 3, 4, 5)
LAST = IMAGES.contiguous(memory_format=torch.channels_last)
BFLOAT, WHOLE = torch.bfloat16, torch.int64
CALLS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "linear": (aten.linear.default, (ROWS, _of(6, 4), _of(6))),
    "linear of one row": (aten.linear.default, (_of(4), _of(6, 4), None)),
    "linear of turned rows": (aten.linear.default, (TURNED, _of(6, 4), _of(6))),
    "linear to a number": (aten.linear.default, (ROWS, _of(4), None)),
    "linear of another width": (aten.linear.default, (ROWS, _of(6, 5), None)),
    "linear with another bias": (aten.linear.default, (ROWS, _of(6, 4), _of(5))),
    "a norm of groups": (aten.group_norm.default, (ROWS, 3, _of(3), _of(3))),
    "a norm of groups of turned rows": (aten.group_norm.default, (TURNED, 3, None, None)),
    "a norm of groups that do not divide": (aten.group_norm.default, (ROWS, 2, None, None)),
    "a norm of groups with another weight": (aten.group_norm.default, (ROWS, 3, _of(4), None)),
    "relu": (aten.relu.default, (ROWS,)),
    "relu of whole numbers": (aten.relu.default, (_of(3, dtype=WHOLE),)),
    "gelu of turned rows": (aten.gelu.default, (TURNED,)),
    "sigmoid of whole numbers": (aten.sigmoid.default, (_of(3, dtype=WHOLE),)),
    "tanh, channels last": (aten.tanh.default, (LAST,)),
    "add": (aten.add.Tensor, (ROWS, ROWS)),
    "add repeated": (aten.add.Tensor, (_of(2, 1, 4), _of(2, 3, 1))),
    "add of fewer dimensions": (aten.add.Tensor, (ROWS, _of(4))),
    "add of two dtypes": (aten.add.Tensor, (ROWS, _of(2, 3, 4, dtype=BFLOAT))),
    "add of unlike sizes": (aten.add.Tensor, (ROWS, _of(2, 2, 4))),
    "mul of scales": (aten.mul.Tensor, (_of(2, 3, 1, 1), IMAGES)),
    "mul, channels last": (aten.mul.Tensor, (_of(2, 3, 1, 1), LAST)),
    "mul by a number": (aten.mul.Tensor, (ROWS, 2)),
    "sub of whole numbers": (aten.sub.Tensor, (_of(3, dtype=WHOLE), _of(3, dtype=WHOLE))),
    "div of whole numbers": (aten.div.Tensor, (_of(3, dtype=WHOLE), _of(3, dtype=WHOLE))),
}


def _told(call: Any) -> Any:
    try:
        result = call()
    except (RuntimeError, NotImplementedError):
        return "refused"
    return tuple(result.shape), result.stride(), result.dtype


@pytest.mark.parametrize("name", CALLS)
def test_shapes_are_those_of_kernels(name: str) -> None:
    operator, args = CALLS[name]
    bare = [each.to("meta") if isinstance(each, torch.Tensor) else each for each in args]
    assert _told(lambda: SHAPES[operator](*bare)) == _told(lambda: operator(*args))


HEADS = _of(2, 4, 5, 8)
FEW, FLAGS = _of(2, 2, 5, 8), torch.bool
ATTENTIONS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "plain": ((HEADS, HEADS, HEADS), {}),
    "another width of values": ((HEADS, HEADS, _of(2, 4, 5, 6)), {}),
    "longer keys": ((HEADS, _of(2, 4, 7, 8), _of(2, 4, 7, 8)), {"is_causal": True}),
    "another width of keys": ((HEADS, _of(2, 4, 5, 6), HEADS), {}),
    "shared heads": ((HEADS, FEW, FEW), {"enable_gqa": True}),
    "shared heads, unsaid": ((HEADS, FEW, FEW), {}),
    "heads that do not divide": ((HEADS, _of(2, 3, 5, 8), _of(2, 3, 5, 8)), {"enable_gqa": True}),
    "one batch of keys": ((HEADS, _of(1, 4, 5, 8), _of(1, 4, 5, 8)), {}),
    "mask": ((HEADS, HEADS, HEADS, _of(2, 1, 5, 5, dtype=FLAGS)), {}),
    "flat mask": ((HEADS, HEADS, HEADS, _of(5, 5)), {}),
    "mask of another length": ((HEADS, HEADS, HEADS, _of(2, 1, 5, 6)), {}),
    "mask of another dtype": ((HEADS, HEADS, HEADS, _of(5, 5, dtype=BFLOAT)), {}),
    "three dimensions": ((ROWS, ROWS, ROWS), {}),
    "two dtypes": ((HEADS, HEADS, _of(2, 4, 5, 8, dtype=BFLOAT)), {}),
}


@pytest.mark.parametrize("name", ATTENTIONS)
def test_attention_gives_what_kernels_give_and_refuses_what_they_refuse(name: str) -> None:
    operator = aten.scaled_dot_product_attention.default
    args, named = ATTENTIONS[name]
    told = _told(lambda: SHAPES[operator](*(each.to("meta") for each in args), **named))
    real = _told(lambda: operator(*args, **named))
    assert (told[0], told[2]) == (real[0], real[2])
