"""The lowest sizes at which formulas hold: found within conditions, and raised to where a model runs."""

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import nn

from fxcost.api import trace
from fxcost.errors import FxcostError
from fxcost.formulas.expressions import symbol
from fxcost.formulas.ranges.domain import Condition, SymbolRange
from fxcost.tracing.recording import replay as replaying
from fxcost.tracing.sizes.low_ends import joint_low_end, raised

B, S = symbol("B"), symbol("S")


def test_the_low_end_is_the_first_size_of_each_at_once() -> None:
    ranges = {"B": SymbolRange(), "S": SymbolRange(5, None, 4)}
    assert joint_low_end(ranges, (), {"B": 2, "S": 16}) == {"B": 1, "S": 8}


def test_where_conditions_refuse_that_it_is_as_low_as_they_allow() -> None:
    ranges = {"B": SymbolRange(), "S": SymbolRange()}
    conditions = (Condition(S, ">=", 3 * B),)
    assert joint_low_end(ranges, conditions, {"B": 2, "S": 16}) == {"B": 1, "S": 3}


def failing(runs: Callable[[Mapping[str, int]], bool]) -> Callable[[Mapping[str, int]], str | None]:
    return lambda point: None if runs(point) else "an operator"


@pytest.mark.parametrize(
    ("runs", "lows"),
    [
        (lambda p: p["S"] >= 7, {"B": 1, "S": 7}),
        (lambda p: p["B"] >= 2 and p["S"] >= 3, {"B": 2, "S": 3}),
        (lambda p: p["S"] >= 16, {"B": 1, "S": 16}),
    ],
)
def test_each_symbol_is_raised_to_the_first_size_at_which_the_model_runs(
    runs: Callable[[Mapping[str, int]], bool], lows: dict[str, int]
) -> None:
    ranges = {"B": SymbolRange(), "S": SymbolRange()}
    found = raised(ranges, {"B": 1, "S": 1}, {"B": 2, "S": 16}, failing(runs))
    assert {name: each.low for name, each in found.items()} == lows
    assert {each.where for name, each in found.items() if lows[name] > 1} == {"an operator"}


def test_what_fails_only_together_raises_both() -> None:
    ranges = {"H": SymbolRange(), "W": SymbolRange()}
    runs = lambda p: p["H"] * p["W"] >= 50  # noqa: E731
    found = raised(ranges, {"H": 1, "W": 1}, {"H": 32, "W": 32}, failing(runs))
    lows = {name: each.low for name, each in found.items()}
    assert runs(lows)
    assert not runs({name: low - 1 for name, low in lows.items()})


def test_multiples_stay_multiples() -> None:
    ranges = {"S": SymbolRange(8, None, 8)}
    found = raised(ranges, {"S": 8}, {"S": 128}, failing(lambda p: p["S"] >= 35))
    assert found["S"].smallest == 40


class Scaled(nn.Module):
    """Refuses short sequences by a question that no size of torch sees."""

    def __init__(self, least: int) -> None:
        super().__init__()
        self.linear, self.least = nn.Linear(8, 8), least

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if type(x.shape[1]) is int and x.shape[1] < self.least:
            x.view(-1, 7, 9)
        return self.linear(x)


def test_a_range_is_raised_to_where_a_plain_run_gets_through_and_the_operator_is_named() -> None:
    costs = trace(Scaled(11), inputs=("x: float32[B,S,8]",), at={"S": 64}, warn=lambda _: None)
    assert (costs.symbols["S"].low, costs.symbols["S"].where) == (11, "view in the model")


class Shortened(nn.Module):
    """Does otherwise at one position, by a question that no size of torch sees."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.relu() if type(x.shape[1]) is int and x.shape[1] == 1 else x)


def test_a_model_that_does_otherwise_at_the_low_end_keeps_that_size_fixed() -> None:
    told: list[str] = []
    costs = trace(Shortened(), inputs=("x: float32[B,S,8]",), at={"S": 64}, warn=told.append)
    assert costs.fixed["S"].value == 64
    with pytest.raises(FxcostError):
        costs.at(B=1, S=1)
    assert "runs other operators at B=1, S=1" in told[0] or "S=64 fixed" in told[0]


def test_without_the_run_at_the_low_end_both_go_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "_lowest_checked", lambda _first, ranges, *_: dict(ranges))
    for model in (Scaled(11), Shortened()):
        costs = trace(model, inputs=("x: float32[B,S,8]",), at={"S": 64}, warn=lambda _: None)
        assert costs.symbols["S"].low == 1
