"""When storages are let go of: as a run shows it, as files keep it, and by rule where no run could be seen."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fxcost.api import CostModel, load, trace
from fxcost.costs.lifetimes import lifetimes
from fxcost.errors import FxcostError
from fxcost.tracing import capture


class Keeps(nn.Module):
    """Its first result is read last, its second is let go of by hand, its third is kept for nothing."""

    def forward(self, x: Any) -> Any:
        first = x + 1
        second = first * 2
        third = second.exp()
        del second
        fourth = third.sin()
        return fourth + first


def costs_of(model: nn.Module) -> CostModel:
    return trace(model, inputs=("x: float32[B,8]",), isolated=False)


def held(costs: CostModel) -> list[tuple[int, int]]:
    assert costs.graph is not None
    layers = costs.used_layers
    return [(each.first, each.last) for each in lifetimes(layers, costs.graph)[1]]


def test_a_run_shows_what_variables_hold() -> None:
    """By hand: five operations, the third result held by its variable to the end though the fourth read it last."""
    costs = costs_of(Keeps())
    assert costs.graph is not None
    assert lifetimes(costs.layers, costs.graph)[0] == "observed"
    assert held(costs) == [(0, 4), (1, 2), (2, 4), (3, 4), (4, 4)]


class Caller(nn.Module):
    """Rebinds its variable; the block of two returns before the last operation."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Sigmoid(), nn.Tanh(), nn.Sigmoid())

    def forward(self, x: Any) -> Any:
        x = x + 1
        x = self.block(x)
        return x * 2


@pytest.fixture
def no_run_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise FxcostError("not this time")

    monkeypatch.setattr(capture, "write_lifetimes", refuse)


def test_what_is_passed_to_a_module_lives_until_it_returns(no_run_is_seen: None) -> None:
    costs = costs_of(Caller())
    assert costs.graph is not None
    assert lifetimes(costs.layers, costs.graph)[0] == "by rule"
    assert held(costs) == [(0, 3), (1, 2), (2, 3), (3, 4), (4, 4)]


class Returns(nn.Module):
    def forward(self, x: Any) -> Any:
        first = x + 1
        return first, (first * 2).exp()


def test_what_is_returned_lives_to_the_end(no_run_is_seen: None) -> None:
    assert held(costs_of(Returns())) == [(0, 2), (1, 2), (2, 2)]


def test_the_rule_and_a_run_agree_where_no_variable_is_kept() -> None:
    assert held(costs_of(Caller())) == [(0, 3), (1, 2), (2, 3), (3, 4), (4, 4)]


class Broken(nn.Module):
    """Runs three times, as the recording and the two runs that check it need, and never again."""

    runs = 0

    def forward(self, x: Any) -> Any:
        Broken.runs += 1
        if Broken.runs > 3:
            raise RuntimeError("once too often")
        return x.sin()


def test_a_run_that_fails_breaks_no_trace() -> None:
    Broken.runs = 0
    costs = costs_of(Broken())
    assert costs.graph is not None
    assert lifetimes(costs.layers, costs.graph)[0] == "by rule"
    assert costs.total.vector != 0


def test_a_module_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))
    before = {name: (id(each), each.clone()) for name, each in model.state_dict(keep_vars=True).items()}
    costs_of(model)
    after = model.state_dict(keep_vars=True)
    assert all(id(after[name]) == number and torch.equal(after[name], each) for name, (number, each) in before.items())


def test_files_keep_lifetimes(tmp_path: Path) -> None:
    path = tmp_path / "keeps.json"
    costs = costs_of(Keeps())
    costs.save(path)
    assert held(load(path)) == held(costs)
    document = json.loads(path.read_text())
    kinds = document["storages"]["kinds"]
    assert {kind["held_for"] for kind in kinds if "held_for" in kind} == {4, 1, 2, 0}
    for kind in kinds:
        kind.pop("held_for", None)
    path.write_text(json.dumps(document))
    graph = load(path).graph
    assert graph is not None
    assert lifetimes(load(path).layers, graph)[0] == "by rule"
    kinds[1]["held_for"] = -1
    path.write_text(json.dumps(document))
    with pytest.raises(FxcostError, match=r"keeps\.json is not a .*held_for"):
        load(path)


def test_blocks_that_repeat_stay_folded(tmp_path: Path) -> None:
    """A block ten times as often takes no more kinds of storages."""

    def kinds(depth: int) -> int:
        path = tmp_path / f"{depth}.json"
        blocks = (nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8)) for _ in range(depth))
        costs_of(nn.Sequential(*blocks)).save(path)
        return len(json.loads(path.read_text())["storages"]["kinds"])

    assert kinds(50) == kinds(5)
