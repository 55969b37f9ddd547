"""Products of int8 run at the peak of int8, whatever all else of a model is asked to run in."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fxcost.api import trace
from fxcost.roofline.arrays import seconds
from fxcost.roofline.bound import bound_seconds

WIDTH = 8192
INT8, BF16, BANDWIDTH = Fraction("1978.9e12"), Fraction("989.4e12"), Fraction("3.35e12")
"""OP/s, FLOP/s and byte/s of an H100, as its sheet has them from the maker."""
FLOPS = 2 * WIDTH**3
MACHINE = "h100-sxm5-80gb"


class Integers(nn.Module):
    """A product of int8 that is scaled, and where asked one in bfloat16 after it."""

    def __init__(self, *, then: bool = False) -> None:
        super().__init__()
        self.register_buffer("codes", torch.empty((WIDTH, WIDTH), dtype=torch.int8, device="meta"))
        self.register_buffer("scales", torch.empty(WIDTH, dtype=torch.bfloat16, device="meta"))
        self.then = nn.Linear(WIDTH, WIDTH, bias=False, dtype=torch.bfloat16, device="meta") if then else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        codes: Any = self.codes
        return self.then(torch.ops.aten._int_mm.default(x, codes) * self.scales)


def traced(*, then: bool = False) -> Any:
    return trace(Integers(then=then), inputs=(f"x: int8[B,{WIDTH}]",), warn=lambda _: None, isolated=False)


@pytest.mark.parametrize("fusion", ["none", "pointwise", "epilogue"])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_product_of_int8_runs_at_its_own_peak(fusion: Any, precision: str) -> None:
    placed = traced().on(MACHINE, precision=precision, fusion=fusion)
    product = next(row for row in placed.rows(B=WIDTH) if row.layer.macs)
    assert product.computing_seconds == FLOPS / INT8
    assert product.seconds == FLOPS / INT8  # its bytes take a hundredth of that


def test_a_product_beside_it_runs_at_the_peak_that_is_asked_for() -> None:
    placed = traced(then=True).on(MACHINE, precision="bf16", fusion="epilogue")
    assert [row.computing_seconds for row in placed.rows(B=WIDTH)] == [FLOPS / INT8, FLOPS / BF16]


def test_the_bound_and_sweeps_know_it_too() -> None:
    """Both products of a call on one unit, one after the other."""
    costs = traced(then=True)
    machine = costs.on(MACHINE, precision="bf16").machine
    assert bound_seconds(costs, machine, {"B": WIDTH}) == FLOPS / INT8 + FLOPS / BF16
    placed = costs.on(MACHINE, precision="bf16", fusion="epilogue")
    several = seconds(placed.model, placed.machine, {"B": np.array([WIDTH, 2 * WIDTH])})
    assert several == pytest.approx([float(n * (FLOPS / INT8 + FLOPS / BF16)) for n in (1, 2)])


def test_a_machine_without_a_peak_of_int8_runs_it_as_all_else() -> None:
    (row,) = traced().on("v100-sxm2-32gb", precision="fp16", fusion="epilogue").rows(B=WIDTH)
    assert row.computing_seconds == FLOPS / Fraction("125e12")
