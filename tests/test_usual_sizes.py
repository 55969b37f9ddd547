"""Sizes where the user names none: the user's own are never moved, those of a zoo are moved to where formulas hold, told."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from fxcost.api import trace
from fxcost.costs import analysis
from fxcost.errors import FxcostError
from fxcost.formulas.ranges.domain import Pinned
from fxcost.reports.costs import cost_report


class Pooled(nn.Module):
    """A squeeze holds its batch to 2 or more."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 8, 3), nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(nn.functional.adaptive_avg_pool2d(self.conv(x), 1).squeeze())


def test_a_size_of_the_users_is_refused_outside_the_range() -> None:
    costs = trace(Pooled(), isolated=False, inputs=("x: float32[B,3,8,8]",))
    with pytest.raises(FxcostError, match="B=1 is below 2"):
        costs.at(B=1)
    with pytest.raises(FxcostError, match="B=1 is below 2"):
        cost_report(costs, {"B": 1})


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"inputs": (torch.randn(1, 3, 8, 8),)}, id="tensors"),
        pytest.param({"inputs": ("x: float32[B,3,H,W]",), "at": {"B": 1, "H": 8, "W": 8}}, id="at a trace"),
    ],
)
@pytest.mark.parametrize("isolated", [True, False])
def test_a_size_at_which_a_model_does_otherwise_is_held_where_it_was_asked_for(
    given: Any, isolated: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """6·6·8·3·9 + 8·10 multiply-adds of one sample: formulas for two or more are none for it."""
    costs = trace(Pooled(), isolated=isolated, **given)
    assert costs.at().total.macs == 15_712 // 2
    assert costs.fixed["B"].value == 1
    assert "B is fixed at 1: elsewhere the model runs otherwise (a squeeze)" in capsys.readouterr().err


def test_a_size_that_nobody_gave_is_one_at_which_formulas_hold_and_told() -> None:
    """2 · (2·6·6·8·3·9 + 2·8·10) FLOPs of contractions: a call for two."""
    costs = trace(Pooled(), inputs=("x: float32[B,3,8,8]",), isolated=False)
    assert costs.at().sizes == {"B": 2}
    assert 2 * costs.at().total.macs == 2 * 15_712
    assert any(note.startswith("total at B=2:") for note in cost_report(costs).notes)


def test_a_size_is_not_rounded_up_to_the_multiple_that_formulas_assume() -> None:
    costs = trace(nn.Conv2d(3, 8, 3), "B,H%32", inputs=("x: float32[B,3,H,8]",), at={"H": 100}, isolated=False)
    with pytest.raises(FxcostError, match="H=100 is not a multiple of 32"):
        costs.at()
    assert costs.at(H=96).sizes == {"B": 1, "H": 96}


def test_a_size_that_the_model_holds_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever pins a size, formulas for another than the one asked for are none of the user's."""
    found = analysis.traced_module

    def pinned(*arguments: Any, **options: Any) -> Any:
        traced = found(*arguments, **options)
        return replace(traced, fixed={"B": Pinned(2, "model.py:1")})

    monkeypatch.setattr(analysis, "traced_module", pinned)
    with pytest.raises(FxcostError, match="B=3: B is fixed at 2"):
        trace(nn.ReLU(), "", inputs=(torch.randn(3, 4),), isolated=False, warn=lambda _: None)
