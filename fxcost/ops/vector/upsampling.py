"""Arithmetic of resizing an image by a window of neighbours."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# sympy and torch are typed in part.

from fractions import Fraction
from math import floor

import sympy
import torch

from fxcost.ops.rules import Call, op, per_output

aten = torch.ops.aten

per_output(
    0, aten.upsample_nearest1d, aten.upsample_nearest2d, aten.upsample_nearest3d,
    aten._upsample_nearest_exact1d, aten._upsample_nearest_exact2d, aten._upsample_nearest_exact3d,
    reason="copies the nearest element",
)  # fmt: skip
per_output(3, aten.upsample_linear1d, reason="two products and an addition for each output element")
per_output(7, aten.upsample_bilinear2d, reason="four products and three additions for each output element")
per_output(15, aten.upsample_trilinear3d, reason="eight products and seven additions for each output element")
per_output(31, aten.upsample_bicubic2d, reason="sixteen products and fifteen additions for each output element")

HALF_WIDTH = {"bilinear": 1, "bicubic": 2, "lanczos": 3}
"""Source pixels that a filter reaches to either side where the image grows."""


def _sides(call: Call) -> list[tuple[sympy.Expr, sympy.Expr]]:
    """Height and width, before and after."""
    return list(zip(call.tensors[0][1].shape[-2:], call.output.shape[-2:], strict=True))


def _has_no_known_windows(call: Call) -> bool:
    """Whether sizes are symbols, or the call brings scales of its own that may differ from the sizes' ratio."""
    scales = (call.arguments.get(name) for name in ("scales_h", "scales_w", "scale_factors"))
    symbolic = not all(n.is_Integer for side in _sides(call) for n in side)
    return symbolic or any(scale is not None for scale in scales)


def window_work(before: int, after: int, half_width: int, *, align_corners: bool) -> int:
    """Products and sums of all windows along one dimension: n products and n − 1 sums for a window of n pixels."""
    steps = (before - 1, after - 1) if align_corners else (before, after)
    scale = Fraction(*steps) if steps[1] else Fraction(0)
    reach = half_width * max(scale, 1)
    work = 0
    for place in range(after):
        center = scale * (place + Fraction(1, 2))
        first = max(floor(center - reach + Fraction(1, 2)), 0)
        last = min(floor(center + reach + Fraction(1, 2)), before)
        work += 2 * (last - first) - 1
    return work


@op(
    aten._upsample_bilinear2d_aa, aten._upsample_bicubic2d_aa, aten._upsample_lanczos2d_aa,
    reason="rows first, then columns: a product for each pixel of the widened window and the sums between them; the "
    "weights, one set a row and column, are not counted",
    unknown_when=_has_no_known_windows,
    unknown_why="an antialiased resize between symbolic sizes, or by scales of its own: how many pixels its windows "
    "hold is no formula of the sizes",
)  # fmt: skip
def antialiased_resize(call: Call) -> sympy.Expr:
    (height, new_height), (width, new_width) = ((int(a), int(b)) for a, b in _sides(call))
    half = next(n for name, n in HALF_WIDTH.items() if name in call.operator)
    images = sympy.Mul(*call.output.shape[:-2])
    across = height * window_work(width, new_width, half, align_corners=call["align_corners"])
    return images * (across + new_width * window_work(height, new_height, half, align_corners=call["align_corners"]))
