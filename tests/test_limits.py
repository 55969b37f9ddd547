"""Limits of sizes that kernels ask for are kept where they decide what runs, and dropped where they lay out a result."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from fxcost.api import trace
from fxcost.errors import FxcostError
from fxcost.tracing.recording import replay as replaying
from fxcost.tracing.sizes.layouts import OF_LAYOUT

WIDTH = 4


class Row(nn.Module):
    """A function of ``[B, S, WIDTH]`` before a matrix."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function, self.linear = function, nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.function(x))


def columns(function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: function(x.mT).mT


LIMITS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], int]] = {
    "the first two": (lambda x: x[:, :2], 2),
    "the last two": (lambda x: x[:, -2:], 2),
    "the second": (lambda x: x[:, 1:2], 2),
    "all but one": (lambda x: x[:, 1:], 1),
    "the first five": (lambda x: x[:, :5], 5),
    "narrowed to two": (lambda x: x.narrow(1, 0, 2), 2),
    "selected": (lambda x: x.select(1, 1).unsqueeze(1), 2),
    "one reflected": (columns(lambda x: functional.pad(x, (1, 0), "reflect")), 2),
    "two reflected": (columns(lambda x: functional.pad(x, (0, 2), "reflect")), 3),
    "windows of two": (lambda x: x.unfold(1, 2, 1).sum(-1), 2),
    "unfolded by two": (columns(lambda x: functional.unfold(x[:, :, None], (1, 2))[:, :WIDTH]), 2),
    "pooled by two": (columns(lambda x: functional.avg_pool1d(x, 2)), 2),
    "convolved by two": (columns(lambda x: functional.conv1d(x, torch.zeros(WIDTH, WIDTH, 2))), 2),
    "split": (lambda x: x.split([1, x.shape[1] - 1], 1)[0], 1),
}


def heads(x: torch.Tensor) -> torch.Tensor:
    return functional.scaled_dot_product_attention(x, x, x).transpose(1, 2).flatten(2)


LAYOUTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "a view": lambda x: x.view(x.shape[0], x.shape[1], 2, 2).flatten(2),
    "a transposed copy": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "a reshape": lambda x: x.transpose(1, 2).reshape(x.shape[0], x.shape[1], WIDTH),
    "both ways": lambda x: x.mT.reshape(-1, x.shape[1]).view(x.shape[0], WIDTH, -1).mT,
    "a sum over the batch": lambda x: x.sum(0, keepdim=True),
    "broadcasting": lambda x: x + x[:1] + x.mean(1, keepdim=True),
    "a copy into": lambda x: torch.zeros_like(x).copy_(x.mean(1, keepdim=True)),
    "an elementwise operator in another order": lambda x: functional.silu(x.permute(2, 0, 1)).permute(1, 2, 0),
    "a product of matrices": lambda x: (x @ x.mT).softmax(-1) @ x,
    "an einsum": lambda x: torch.einsum("bsc,btc->bst", x, x) @ x,
    "heads": lambda x: heads(x.unflatten(2, (2, 2)).transpose(1, 2)),
    "a norm of groups": columns(lambda x: functional.group_norm(x, 2)),
    "heads that are shared": lambda x: x[:, None].expand(-1, 3, -1, -1).flatten(1, 2),
    "a spread of rows": lambda x: functional.cosine_similarity(x[:, :, None], x[:, None], dim=-1) @ x,
    "another memory format": lambda x: x[..., None].contiguous(memory_format=torch.channels_last).squeeze(-1),
    "one place": columns(lambda x: functional.adaptive_avg_pool1d(x, 1)),
}  # fmt: skip


def torchs_count(model: nn.Module, batch: int, length: int) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(torch.zeros(batch, length, WIDTH))
    return counter.get_total_flops()


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_that_decides_what_runs_is_kept(name: str) -> None:
    function, least = LIMITS[name]
    model = Row(function)
    costs = trace(model, inputs=(f"x: float32[B,S,{WIDTH}]",), at={"S": 12}, warn=lambda _: None)
    assert (costs.symbols["B"].low, costs.symbols["S"].low) == (1, least)
    for batch, length in ((1, least), (2, least + 1), (3, 12)):
        ours = 2 * sum(int(row.macs) for row in costs.at(B=batch, S=length).layers)
        assert ours == torchs_count(model, batch, length)
    if least > 1:
        with pytest.raises(FxcostError):
            costs.at(B=1, S=least - 1)


@pytest.mark.parametrize("name", LAYOUTS)
def test_sizes_of_one_are_not_refused_for_a_layout(name: str) -> None:
    costs = trace(Row(LAYOUTS[name]), inputs=(f"x: float32[B,S,{WIDTH}]",), at={"S": 12}, warn=lambda _: None)
    assert {n: (each.low, each.high) for n, each in costs.symbols.items()} == {"B": (1, None), "S": (1, None)}
    assert not costs.conditions
    assert costs.at(B=1, S=1).total.macs


def test_what_an_operator_that_fails_has_asked_is_a_condition() -> None:
    """The model swallows that its rows do not go into threes, which is for no layout then."""

    def in_threes(x: torch.Tensor) -> torch.Tensor:
        try:
            return x.unflatten(1, (-1, 3))[:, :, 0]
        except RuntimeError:
            return x

    model = Row(in_threes)
    costs = trace(model, inputs=(f"x: float32[B,S,{WIDTH}]",), at={"S": 14}, warn=lambda _: None)
    assert 2 * int(costs.at(B=2, S=14).total.macs) == torchs_count(model, 2, 14)
    for length in (12, 15):
        with pytest.raises(FxcostError):
            costs.at(B=2, S=length)


def test_each_part_of_the_filter_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropping every question of that form loses limits, which the run at the low end then refuses; dropping none refuses 1."""
    plain: Any = replaying._condition
    layout = lambda answer: answer.place.__class__(answer.place.where, True, True)  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(replaying, "_condition", lambda answer, convert: plain(_with(answer, layout(answer)), convert))
        patch.setattr(replaying, "_lowest_checked", lambda _first, ranges, *_: dict(ranges))
        costs = trace(Row(LIMITS["the first two"][0]), inputs=(f"x: float32[B,S,{WIDTH}]",), at={"S": 12})
        assert costs.symbols["S"].low == 1
    with monkeypatch.context() as patch:
        patch.setattr("fxcost.tracing.sizes.layouts.OF_LAYOUT", frozenset[str]())
        costs = trace(Row(LAYOUTS["a product of matrices"]), inputs=(f"x: float32[B,S,{WIDTH}]",), at={"S": 12})
        assert (costs.symbols["B"].low, costs.symbols["S"].low) != (1, 1)
    assert OF_LAYOUT


def _with(answer: Any, place: Any) -> Any:
    return type(answer)(answer.relation, answer.difference, answer.left, answer.right, answer.holds, place)


def test_a_lost_limit_is_found_by_the_run_at_the_low_end(monkeypatch: pytest.MonkeyPatch) -> None:
    plain: Any = replaying._condition
    layout = lambda answer: answer.place.__class__(answer.place.where, True, True)  # noqa: E731
    monkeypatch.setattr(replaying, "_condition", lambda answer, convert: plain(_with(answer, layout(answer)), convert))
    told: list[str] = []
    costs = trace(Row(LIMITS["the first two"][0]), inputs=(f"x: float32[B,S,{WIDTH}]",), at={"S": 12}, warn=told.append)
    assert costs.fixed["S"].value == 12
    assert "at B=1, S=1" in told[0]
