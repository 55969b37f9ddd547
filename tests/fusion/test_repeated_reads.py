"""What is read twice, in part, or by two ways of picking; bytes at float32 counted by hand."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fxcost.api import trace
from fxcost.costs.graph.cost_graph import FUSED
from fxcost.request import Fusion


class Written(nn.Module):
    """A function of up to three tensors as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor, i: Tensor | None = None, j: Tensor | None = None) -> Any:
        return self.function(*(each for each in (x, i, j) if each is not None))


def moved(model: nn.Module | Callable[..., Any], *inputs: str, **at: int) -> dict[Fusion, int]:
    module = model if isinstance(model, nn.Module) else Written(model)
    costs = trace(module, inputs=inputs, at=at)
    fusions: tuple[Fusion, ...] = ("none", *FUSED, "ideal")
    return {fusion: int(costs.bytes_moved(at, fusion=fusion)) for fusion in fusions}


def test_every_part_of_a_concatenation_is_written() -> None:
    assert moved(lambda x: torch.cat([x, x], 1), "x: float32[B,1024]", B=4)["pointwise"] == 4 * 4 * (1024 + 2048)
    assert moved(lambda x: torch.stack([x] * 8, 1), "x: float32[B,16]", B=4)["epilogue"] == 4 * 4 * (16 + 128)


def test_a_part_that_is_returned_too_is_written_for_itself() -> None:
    def both(x: Tensor) -> tuple[Tensor, Tensor]:
        made = x.relu()
        return torch.cat([made, x], 1), made

    assert moved(both, "x: float32[B,8]", B=1)["pointwise"] >= 4 * (8 + 8 + 16)


def test_two_gathers_pick_rows_of_their_own() -> None:
    found = moved(lambda x, i, j: x[i] - x[j], "x: float32[N,16]", "i: int64[E]", "j: int64[E]", N=10000, E=100)
    assert found["pointwise"] == 4 * (2 * 16 * 100 + 16 * 100) + 2 * 8 * 100


def test_what_nobody_needs_is_read_under_no_bound() -> None:
    found = moved(lambda x: torch.relu(x * 2)[:, :4] * 3, "x: float32[B,1024]", B=64)
    assert found["pointwise"] == found["ideal"] == 64 * 4 * (4 + 4)


class Pooled(nn.Module):
    """Attention over an axis that is not the last, of scores of one column."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(self.score(x), 1)


def test_a_softmax_stays_apart_whatever_axis_it_runs_over() -> None:
    rows = trace(Pooled(), inputs=["x: float32[B,S,16]"], at={"B": 4, "S": 128}).fused("epilogue").layers
    assert [row.name for row in rows] == ["score", "softmax"]


class Norms(nn.Module):
    """A batch norm that is used before a convolution and after it, or whose input others need too."""

    def __init__(self, *, shared: bool) -> None:
        super().__init__()
        self.conv, self.norm, self.shared = nn.Conv2d(8, 8, 1, bias=False), nn.BatchNorm2d(8), shared

    def forward(self, x: Tensor) -> Tensor:
        if self.shared:
            return self.norm(self.conv(self.norm(x).relu()))
        made = self.conv(x)
        return self.norm(made) + made


def test_a_norm_folds_only_where_nothing_else_needs_what_it_reads() -> None:
    image = 4 * 8 * 16
    assert moved(Norms(shared=True), "x: float32[B,8,4,4]", B=1)["epilogue"] == 4 * image + 4 * (64 + 2 * 4 * 8)
    assert moved(Norms(shared=False), "x: float32[B,8,4,4]", B=1)["epilogue"] == 2 * image + 4 * (64 + 4 * 8)
