"""What kernels check of the tensors that they are given, and kernels without memory do not."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportPrivateUsage=false
# Torch's tensors and graphs are typed in part; this folder is the border that keeps them from the rest.

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import sympy
import torch
from torch.fx import Node

from fxcost.formulas.ranges.domain import Condition
from fxcost.formulas.with_sympy import condition
from fxcost.graph import LAYER, Layer
from fxcost.tracing.sizes.naming import Refusal
from fxcost.tracing.sizes.tensors import called, name_of, tensors_in

aten = torch.ops.aten
CONVOLUTIONS = tuple(
    operator
    for name in ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
    for operator in (getattr(getattr(aten, name), overload) for overload in getattr(aten, name).overloads())
)
OF_ONE_DTYPE: Mapping[Any, int | None] = {
    **dict.fromkeys((aten.linear.default, aten.bilinear.default, *CONVOLUTIONS, aten.convolution.default), 3),
    **dict.fromkeys((aten.addmm.default, aten.baddbmm.default, aten.addbmm.default, aten.addmv.default), 3),
    **dict.fromkeys((aten.matmul.default, aten.mm.default, aten.bmm.default, aten.mv.default, aten.dot.default), 2),
    **dict.fromkeys((aten.inner.default, aten.vdot.default, aten.prelu.default, aten.chain_matmul.default), None),
    **dict.fromkeys((aten.einsum.default, aten.tensordot.default), None),
    **dict.fromkeys((aten.lstm.input, aten.gru.input, aten.rnn_tanh.input, aten.rnn_relu.input), None),
    aten.scaled_dot_product_attention.default: 3,
}
"""Operators that refuse tensors of unlike dtypes, and how many of their tensors, from the first on, that is about."""


def refuse_unlike_dtypes(func: Any, args: Any, layer: Layer, *, autocast: bool = False) -> None:
    """Raise `Refusal` for a call that a kernel with memory refuses, for the dtypes that it is given.

    With ``autocast`` the model asks for that, which in a plain run may make them alike.
    """
    if func not in OF_ONE_DTYPE:
        return
    dtypes = {tensor.dtype for tensor in islice(tensors_in(args), OF_ONE_DTYPE[func])}
    if len(dtypes) > 1:
        listed = " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
        if autocast:
            raise Refusal(
                f"{called(func, layer)} is given {listed} together, and leaves it to autocast, which is not followed, to make them alike\n"
                "Give the model weights of the dtype that it computes in, such as model.bfloat16(), and trace it without autocast"
            )
        raise Refusal(
            f"the model does not run: {called(func, layer)} is given {listed} together, which torch refuses\n"
            "Give inputs of the dtype that the weights have; what another number format moves is asked with --precision"
        )


SPATIAL = {
    name: int(digit)
    for kind in ("conv{}d", "conv_transpose{}d", "max_pool{}d", "max_pool{}d_with_indices", "avg_pool{}d", "lp_pool{}d",
                 "fractional_max_pool{}d", "unfold{}d")
    for digit in "123"
    for name in (kind.format(digit),)
} | {"im2col": 1, "col2im": 2}  # fmt: skip
"""How many dimensions at the end of a result are places that a kernel is laid on."""
TAKEN = {"im2col": 2, "col2im": 1}
"""How many of the input are, where that differs."""


FILLED = frozenset(
    {"adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "grid_sampler", "stft"}
    | {"adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d"}
    | {"max", "min", "amax", "amin", "aminmax", "argmax", "argmin", "median", "nanmedian", "mode", "kthvalue"}
)
"""Operators that refuse an input without elements, of a batch at least."""
RECURRENT = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu"})
"""Those whose input need not begin with the batch."""


def sizes_needed(node: Node, convert: Callable[[Any], sympy.Expr]) -> Iterator[Condition]:
    """What kernels need of sizes: places for a convolution or a pool to give, elements for a maximum to be among.

    Raises `Refusal` where no size helps.
    """
    if not str(node.target).startswith("aten."):
        return
    name, place = name_of(node.target), called(node.target, LAYER[node])
    if name in SPATIAL:
        given = tensors_in(node.meta["val"])[0].shape
        yield from _positive(given[-SPATIAL[name] :], convert, f"{place}, which gives one place at least")
        taken = node.all_input_nodes[0].meta["val"].shape
        yield from _positive(taken[-TAKEN.get(name, SPATIAL[name]) :], convert, f"{place}, which takes no empty tensor")
    mirrors = name == "pad" and node.args[2:3] > ("constant",)
    if name in FILLED | RECURRENT or name.startswith(("upsample_", "fft_")) or mirrors:
        taken = node.all_input_nodes[0].meta["val"].shape
        needed = taken if name in RECURRENT else taken[1:]
        yield from _positive(needed, convert, f"{place}, which takes no empty tensor")


def _positive(sizes: Iterable[Any], convert: Callable[[Any], sympy.Expr], where: str) -> Iterator[Condition]:
    for size in sizes:
        if isinstance(size, torch.SymInt):
            if size.node.ge(size.node.wrap_int(1)).known is not True:
                yield condition(convert(size), ">=", sympy.Integer(1), where)
        elif size < 1:
            raise Refusal(f"the model does not run: {where}\nTry larger sizes with --at")
