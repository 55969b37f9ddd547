"""Arithmetic of reading an image between its pixels: grid sampling and deformable convolution."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# sympy and torch are typed in part.

from typing import NamedTuple

import sympy
import torch

from fxcost.ops.matrix.contractions import convolution
from fxcost.ops.rules import Call, Rule, op, register

aten = torch.ops.aten


class Filter(NamedTuple):
    """An interpolation: pixels it takes of a dimension, and what their weights cost a coordinate."""

    pixels: int
    weights: int


FILTERS = (Filter(2, 3), Filter(1, 1), Filter(4, 27))
"""By torch's number of the mode. Linear: floor, fraction, its complement. Nearest: round. Cubic: floor, fraction, its
complement, two distances one further, and Keys' polynomials, of 5 operations inside and 6 outside, twice each:
3 + 2 + 2 · (5 + 6) = 27."""
PADDING = (0, 2, 10)
"""By torch's number of the mode. Zeros: nothing. Border: two bounds. Reflection: subtract, absolute value, remainder,
divide, floor, odd or even, subtract, add, then two bounds."""
TO_PIXELS = {True: 3, False: 4}
"""From −1…1 to pixels by ``align_corners``: (x + 1)/2 · (n − 1), or ((x + 1) · n − 1)/2."""


def interpolated(pixels: int) -> int:
    """A product for each pixel and the sums between them; a copy for one pixel."""
    return 0 if pixels == 1 else 2 * pixels - 1


@op(
    aten.grid_sampler, aten.grid_sampler_2d, aten.grid_sampler_3d,
    reason="for each position of the grid: its coordinates in pixels, the padding's bounds, and the weights of its "
    "neighbours; for each output element a product a neighbour and the sums between. The input is taken to be read whole",
    unknown_when=lambda call: call["interpolation_mode"] == 2 and call["padding_mode"] != 0,
    unknown_why="bicubic grid sampling pads each of its 16 neighbours apart, which has no rule",
)  # fmt: skip
def grid_sampling(call: Call) -> sympy.Expr:
    dims, kind = len(call.output.shape) - 2, FILTERS[call["interpolation_mode"]]
    coordinate = TO_PIXELS[bool(call["align_corners"])] + PADDING[call["padding_mode"]] + kind.weights
    neighbours = kind.pixels**dims
    position = dims * coordinate + (0 if neighbours == 1 else neighbours * (dims - 1))
    return call["grid"].elements / dims * position + call.output.elements * interpolated(neighbours)


@op(
    aten.col2im,
    reason="each column element is added where it belongs, those that fall on padding counted as data",
)  # fmt: skip
def folding(call: Call) -> sympy.Expr:
    return call["self"].elements


OFFSET_POSITION = 2 * (1 + FILTERS[0].weights) + 4
"""Add the offset and take the linear filter's weights in two dimensions; four products of them."""


def _sampled(call: Call) -> sympy.Expr:
    batch, _, *image = call.output.shape
    taps = batch * sympy.Mul(*image, *call["weight"].shape[2:])
    each = interpolated(4) + bool(call["use_mask"])
    return taps * (call["input"].shape[1] * each + call["n_offset_grps"] * OFFSET_POSITION)


register(
    Rule(
        "deformable_convolution",
        "multiply-adds as a convolution; on top of them each input channel at each tap of each window, read between four "
        "pixels and scaled by the mask if there is one. The input is taken to be read whole",
        macs=convolution,
        vector=_sampled,
    ),
    "torchvision.deform_conv2d",
)  # fmt: skip
