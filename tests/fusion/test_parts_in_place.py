"""Writes in place: what they leave of a storage is written by whoever made it."""

import torch
from torch import Tensor, nn

from fxcost.api import trace
from fxcost.formulas.quantities import number


class Filled(nn.Module):
    """A copy whose first rows are overwritten, and all of which is read."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        made = x * 2
        made[:3] = y
        return made @ made.t()


class Twofold(nn.Module):
    """An operation with two results, of which a product reads the second."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        mantissa, exponent = torch.frexp(x)
        return mantissa + exponent.float() @ y


def elements(model: nn.Module, *inputs: str) -> dict[str, int]:
    rows = trace(model, inputs=inputs).fused("pointwise").layers
    return {row.name: int(number(row.cost.bytes_moved({"float32": 8, "int32": 8}))) for row in rows}


def test_what_is_left_of_a_storage_is_written() -> None:
    moved = elements(Filled(), "x: float32[10,10]", "y: float32[3,10]")
    assert moved["mul"] == 100 + 100
    assert moved["copy"] == 30 + 30
    assert moved["matmul"] == 100 + 100


def test_every_result_is_written() -> None:
    moved = elements(Twofold(), "x: float32[10,10]", "y: float32[10,10]")
    assert moved["frexp"] == 100 + 100 + 100
