"""Contractions beyond plain products: against torch's own counter."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
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
