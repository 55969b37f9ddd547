"""Questions of how a tensor lies in memory, answered for its sizes in general; and which questions are of that kind."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownParameterType=false
# pyright: reportUnknownVariableType=false, reportPrivateUsage=false
# Operators and frames are typed in part.

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fxcost.graph import Layer
from fxcost.tracing.sizes.polynomials import Number, Place, Polynomial, times
from fxcost.tracing.sizes.tensors import called, name_of


def is_packed(sizes: Sequence[Polynomial], strides: Sequence[Polynomial], order: Iterable[int]) -> bool:
    """Whether axes in this order, the fastest first, lie side by side without gaps."""
    if not sizes:
        return True
    table = sizes[0].sizes
    expected = table.number(1)
    for axis in order:
        size = sizes[axis]
        if size.constant == 1:
            continue
        if strides[axis] is not expected:
            return False
        expected = table.once("*", times, expected, size)
    return True


def is_ordered(sizes: Sequence[Polynomial], strides: Sequence[Polynomial], order: Sequence[int]) -> bool:
    """Whether strides grow in this order, as torch tells a channels-last layout."""
    if strides[1].hint == 0:
        return False
    reached: Number = 0
    for axis in order:
        if sizes[axis].hint == 0 or strides[axis].hint < reached or (axis == 0 and reached == strides[1].hint):
            return False
        reached = strides[axis].hint * max(sizes[axis].hint, 1)
    return True


OF_LAYOUT = frozenset(
    {"_reshape_view_helper", "_reshape_view_helper_core_alg", "_collapse_view_helper", "meta_copy_", "matmul"}
)
"""Functions of torch that ask whether sizes are 1, or alike, to lay out a result; what runs is the same either way."""
LAID_OUT = frozenset(
    {"reshape", "view", "_unsafe_view", "flatten", "unflatten", "contiguous", "clone", "copy_", "expand", "linear", "matmul"}
    | {"group_norm", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "einsum", "cosine_similarity", "scaled_dot_product_attention"}
)  # fmt: skip
"""Operators whose kernels in C++ ask so."""
_PLUMBING = ("torch/__init__.py", "fx/experimental/symbolic_shapes.py", "fx/experimental/sym_node.py")


def in_operator(func: Any, layer: Layer) -> Place:
    """Where an operator asks about sizes, and whether it is for the layout of its result."""
    name = name_of(func)
    frame, shaped_here = sys._getframe(1), False
    while frame is not None and (_is_own(frame.f_code.co_filename) or frame.f_code.co_filename.endswith(_PLUMBING)):
        shaped_here = shaped_here or frame.f_code.co_filename == _SHAPES
        frame = frame.f_back
    asked_by = frame.f_code if frame else None
    in_kernel = asked_by is None or asked_by.co_filename.endswith("torch/_ops.py")
    of_layout = shaped_here or (
        name in LAID_OUT if in_kernel else asked_by is not None and asked_by.co_name in OF_LAYOUT
    )
    return Place(called(func, layer), in_operator=True, of_layout=of_layout)


_OWN = str(Path(__file__).parents[1])
_SHAPES = f"{_OWN}/recording/shapes.py"
"""Its functions ask of nothing else, where they do not raise."""


def _is_own(filename: str) -> bool:
    return filename.startswith(_OWN)
