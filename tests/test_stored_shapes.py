"""How weights lie in memory, which of them a checkpoint holds, and that files keep both."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fxcost.api import load, trace
from fxcost.errors import FxcostError


class Held(nn.Module):
    """A weight read transposed, a buffer that is saved and one that is not, a constant, and parameters that are not used."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, 5))
        self.idle = nn.Linear(7, 2)
        self.kept: torch.Tensor
        self.made: torch.Tensor
        self.register_buffer("kept", torch.zeros(5))
        self.register_buffer("made", torch.zeros(5), persistent=False)
        self.constant = [torch.ones(5)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ self.weight.t())[:, :1] + self.kept + self.made + self.constant[0]


def held(costs: Any) -> dict[str, tuple[Any, bool]]:
    return {each.name: (each.shape, each.transient) for each in costs.graph.storages if each.name}


EXPECTED = {
    "input_0": (None, False),
    "weight": ((3, 5), False),
    "kept": ((5,), False),
    "made": ((5,), True),
    "constant": ((5,), True),
}


def test_storages_have_the_shapes_of_their_weights(tmp_path: Path) -> None:
    costs = trace(Held(), inputs=("x: float32[B,5]",), warn=lambda _: None)
    assert held(costs) == EXPECTED
    costs.save(tmp_path / "held.json")
    assert held(load(tmp_path / "held.json")) == EXPECTED
    assert load(tmp_path / "held.json") == costs


def test_an_exported_program_says_the_same(tmp_path: Path) -> None:
    batch = torch.export.Dim("batch", min=2)
    program = torch.export.export(Held(), (torch.zeros(4, 5),), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "held.pt2")
    found = held(trace(str(tmp_path / "held.pt2"), warn=lambda _: None))
    assert {name: found[name] for name in ("weight", "kept", "made")} == {
        name: EXPECTED[name] for name in ("weight", "kept", "made")
    }
    assert [transient for name, (shape, transient) in found.items() if name not in EXPECTED and shape] == [True]


def test_parameters_that_no_operation_uses_have_shapes(tmp_path: Path) -> None:
    costs = trace(Held(), inputs=("x: float32[B,5]",), warn=lambda _: None)
    unused = {layer.name: (layer.inputs, layer.params) for layer in costs.layers if layer.op == "(unused)"}
    assert unused == {"idle.weight": (((2, 7),), 14), "idle.bias": (((2,),), 2)}
    costs.save(tmp_path / "held.json")
    document = json.loads((tmp_path / "held.json").read_text())
    document["unused"]["idle.weight"] = 14  # as files had it before
    (tmp_path / "old.json").write_text(json.dumps(document))
    old = {layer.name: (layer.inputs, layer.params) for layer in load(tmp_path / "old.json").layers}
    assert old["idle.weight"] == (((14,),), 14)
    document["unused"]["idle.weight"] = [10**20, 10**20]
    (tmp_path / "vast.json").write_text(json.dumps(document))
    with pytest.raises(FxcostError, match=r"vast\.json: unused\.idle\.weight has more elements"):
        load(tmp_path / "vast.json")
