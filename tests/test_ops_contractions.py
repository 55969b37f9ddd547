"""Contractions beyond plain products: against torch's own counter where it sees them, else against loops."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from fxcost.costs.model import CostModel

Costs = Callable[..., CostModel]
SIZES = {"B": 5, "S": 6}


def dims(text: str) -> list[int]:
    return [SIZES.get(d) or int(d) for d in text.partition("[")[2].strip("]").split(",")]


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (lambda x, y: torch.ops.aten.tensordot(x, y, [1, 2], [0, 1]), ("x: float32[B,3,4]", "y: float32[3,4,7]")),
        (torch.inner, ("x: float32[B,3]", "y: float32[4,3]")),
        (torch.inner, ("x: float32[B,S,3]", "y: float32[2,4,3]")),
        (nn.Conv1d(4, 6, 3, padding="same", dilation=2, device="meta"), ("x: float32[B,4,S]",)),
        (nn.Conv2d(4, 6, 3, padding="valid", groups=2, device="meta"), ("x: float32[B,4,S,9]",)),
        (nn.Conv3d(4, 6, 3, padding="same", device="meta"), ("x: float32[B,4,S,9,7]",)),
        (nn.ConvTranspose1d(4, 6, 3, stride=2, groups=2, dilation=2, device="meta"), ("x: float32[B,4,S]",)),
        (nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1, groups=2, device="meta"), ("x: float32[B,4,S,9]",)),
        (nn.ConvTranspose3d(4, 6, (1, 2, 3), padding=1, device="meta"), ("x: float32[B,4,S,9,7]",)),
        (lambda *xs: torch.linalg.multi_dot(xs), ("x: float32[5,3]", "y: float32[3,8]", "z: float32[8,2]")),
        (
            lambda *xs: torch.linalg.multi_dot(xs),
            ("x: float32[9]", "y: float32[9,3]", "z: float32[3,8]", "u: float32[8,2]", "v: float32[2,7]"),
        ),
        (lambda x, y: torch.chain_matmul(x, y, x, y), ("x: float32[5,3]", "y: float32[3,5]")),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*chain_matmul")
def test_as_torch_counts(costs_of: Costs, function: Any, inputs: tuple[str, ...]) -> None:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        function(*(torch.zeros(dims(text), device="meta") for text in inputs))
    named = {name: n for name, n in SIZES.items() if any(name in text.partition("[")[2] for text in inputs)}
    costs = costs_of(function, *inputs, **named)
    assert not costs.unknown
    assert 2 * costs.total.macs == counter.get_total_flops() > 0


def test_bilinear(costs_of: Costs) -> None:
    """Each output feature's matrix meets the second input, and the first input the row that comes out."""
    module = nn.Bilinear(3, 4, 2, bias=False)
    first, second = torch.randn(5, 3), torch.randn(5, 4)
    weight, out, macs = module.weight.detach(), torch.zeros(5, 2), 0
    for row, feature, i in itertools.product(range(5), range(2), range(3)):
        inner = 0.0
        for j in range(4):
            inner += float(weight[feature, i, j] * second[row, j])
            macs += 1
        out[row, feature] += first[row, i] * inner
        macs += 1
    torch.testing.assert_close(out, module(first, second).detach())
    assert costs_of(module, "x: float32[B,3]", "y: float32[B,4]", B=5).total.macs == macs


@pytest.mark.parametrize(
    ("function", "inputs", "macs"),
    [
        # 5 vectors of 3 with 4 others
        (torch.linalg.vecdot, ("x: float32[B,3]", "y: float32[4,1,3]"), 5 * 4 * 3),
        # 5 products of 4×3 with 3×7, all into one
        (lambda x, y: torch.addbmm(x.new_zeros(4, 7), x, y), ("x: float32[B,4,3]", "y: float32[B,3,7]"), 5 * 4 * 3 * 7),
        (torch.vdot, ("x: float32[B]", "y: float32[B]"), 5),
        # 3 taps of 4 channels for each of 6 steps, padded by 1, of 2 rows and 7 channels
        (lambda x, w: torch.conv_tbc(x, w, x.new_zeros(7), 1), ("x: float32[6,2,4]", "w: float32[3,4,7]"), 6 * 2 * 7 * 12),
        # 5 images of 4 by 7 positions, each with a 1 beside it meeting 2 rows of 3
        (lambda t: functional.affine_grid(t, [5, 3, 4, 7], align_corners=False), ("t: float32[5,2,3]",), 5 * 28 * 2 * 3),
        # and of 2 by 4 by 7 positions meeting 3 rows of 4
        (lambda t: functional.affine_grid(t, [5, 3, 2, 4, 7], align_corners=False), ("t: float32[5,3,4]",), 5 * 56 * 3 * 4),
        (torch.ops.aten._int_mm, ("x: int8[B,32]", "y: int8[32,8]"), 5 * 32 * 8),
    ],
    ids=["vecdot", "addbmm", "vdot", "conv_tbc", "affine grid", "affine grid in space", "int_mm"],
)  # fmt: skip
def test_in_words(costs_of: Costs, function: Any, inputs: tuple[str, ...], macs: int) -> None:
    sizes = {"B": 5} if "B" in "".join(inputs) else {}
    costs = costs_of(function, *inputs, **sizes)
    assert not costs.unknown
    assert costs.total.macs == macs


def test_a_grouped_product_of_other_shapes_is_unknown(costs_of: Costs) -> None:
    """Rows by a matrix for each expert are counted: 6 rows of 16 by 8. Two stacks of matrices are not."""
    product = torch.ops.aten._grouped_mm
    rows = "x: bfloat16[B,16]", "w: bfloat16[2,16,8]", "ends: int32[2]"
    assert costs_of(product, *rows, B=6).total.macs == 6 * 16 * 8
    stacks = costs_of(product, "x: bfloat16[2,B,16]", "w: bfloat16[2,16,8]", B=6)
    assert list(stacks.unknown) == ["aten._grouped_mm.default"]
