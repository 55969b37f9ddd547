"""What kernels with memory check, and those without do not, as torch has it on the CPU."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from fxcost.api import trace
from fxcost.errors import FxcostError


class Calls(nn.Module):
    """A function of an input, after a layer of the module's own."""

    def __init__(self, function: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


MATRIX, KERNEL = torch.zeros(8, 8), torch.zeros(8, 8, 1)
MIXED: dict[str, Callable[[torch.Tensor], Any]] = {
    "linear": lambda x: functional.linear(x, MATRIX),
    "matmul": lambda x: x @ MATRIX,
    "addmm": lambda x: torch.addmm(x[0], x[0], MATRIX),
    "bmm": lambda x: torch.bmm(x, MATRIX.expand(x.shape[0], 8, 8)),
    "conv1d": lambda x: functional.conv1d(x, KERNEL),
    "einsum": lambda x: torch.einsum("bij,jk->bik", x, MATRIX),
    "scaled_dot_product_attention": lambda x: functional.scaled_dot_product_attention(
        x[:, None], MATRIX.expand(x.shape[0], 1, 8, 8), MATRIX.expand(x.shape[0], 1, 8, 8)
    ),
}


@pytest.mark.parametrize("name", MIXED)
def test_products_of_unlike_dtypes_are_refused_as_torch_refuses_them(name: str) -> None:
    with pytest.raises(RuntimeError):
        MIXED[name](torch.zeros(2, 8, 8, dtype=torch.float16))
    ours = f"{name} in the model is given float16 and float32"
    with pytest.raises(FxcostError, match=f"{ours}|to have the same dtype"):  # or torch's own words
        trace(Calls(MIXED[name]), inputs=("x: float16[B,8,8]",))
    assert trace(Calls(MIXED[name]), inputs=("x: float32[B,8,8]",)).total.macs != 0


def test_numbers_of_other_dtypes_that_torch_takes_are_taken() -> None:
    layer = nn.BatchNorm1d(8).eval()
    layer(torch.zeros(2, 8, 3, dtype=torch.bfloat16))
    costs = trace(layer, inputs=("x: bfloat16[B,8,3]",))
    assert set(costs.symbols) == {"B"}
    assert not costs.unknown


EMPTY: dict[str, Callable[[torch.Tensor], Any]] = {
    "a convolution": lambda x: functional.conv1d(x, torch.zeros(8, 8, 3), stride=2),
    "one that is padded": lambda x: functional.conv1d(x[..., 4:], torch.zeros(8, 8, 1), padding=2),
    "a pool": lambda x: functional.avg_pool1d(x, 4, 2),
    "an adaptive pool": lambda x: functional.adaptive_avg_pool1d(x[..., 3:], 2),
    "an unfolding": lambda x: functional.unfold(x[:, :, None], (1, 4)),
    "a reflection": lambda x: functional.pad(x, (2, 2), "reflect"),
    "a replication": lambda x: functional.pad(x[..., 2:], (1, 1), "replicate"),
    "a greater size": lambda x: functional.interpolate(x[..., 3:], scale_factor=2.0),
    "a maximum": lambda x: x[..., 2:].amax(-1),
    "a recurrence": lambda x: nn.GRU(8, 4).to(x.device)(x[..., 4:].permute(2, 0, 1)),
    "a spectrum": lambda x: torch.fft.rfft(x[..., 3:]),
}


@pytest.mark.parametrize("name", EMPTY)
def test_the_smallest_size_is_the_first_at_which_torch_runs(name: str) -> None:
    def runs(size: int) -> bool:
        try:
            EMPTY[name](torch.zeros(2, 8, size))
        except (RuntimeError, ValueError, IndexError):
            return False
        return True

    first = next(size for size in range(1, 12) if runs(size))
    assert all(map(runs, range(first, 12)))

    def on_one_device(x: torch.Tensor) -> Any:
        with torch.device(x.device):
            return EMPTY[name](x)

    costs = trace(Calls(on_one_device), inputs=("x: float32[B,8,S]",), at={"S": 12}, warn=lambda _: None)
    assert costs.symbols["S"].low == first


def test_a_result_without_places_is_refused_at_every_size() -> None:
    layer = nn.ConvTranspose2d(4, 4, 2, 2, 1)
    with pytest.raises(RuntimeError):
        layer(torch.zeros(1, 4, 8, 1))
    with pytest.raises(FxcostError, match=r"conv_transpose2d in the model, which gives one place at least"):
        trace(layer, inputs=("x: float32[B,4,H,1]",), at={"H": 8})
