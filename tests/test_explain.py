"""One layer told in full."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fxcost.costs.files.saved import load
from fxcost.errors import FxcostError
from fxcost.reports.explain import explain_report, find_layers

Command = Callable[..., tuple[int, str, str]]


def test_every_step_of_a_formula(small_model: Path) -> None:
    """A 3×3 convolution of 3 to 8 channels, stride 2: 2·27·8 = 432 FLOPs for each of 17·18 outputs of a 33×35 image."""
    report = explain_report(load(small_model), "conv", {"B": 2, "H": 33, "W": 35})
    told = [(what.text, told.text) for what, told in report.cells]
    start = next(i for i, (what, _) in enumerate(told) if what == "FLOPs")
    assert [text for _, text in told[start : start + 4]] == [
        "432·B·(⌊(H−1)/2⌋+1)·(⌊(W−1)/2⌋+1)",
        "= 432·2·(⌊(33−1)/2⌋+1)·(⌊(35−1)/2⌋+1)",
        "= 432·2·17·18",
        f"= {432 * 2 * 17 * 18:,}",
    ]
    rule = dict(told)["rule"]
    assert rule.startswith("convolution (counted, matrix unit): Cin/groups")
    assert dict(told)["inputs"] == "B×3×H×W, 8×3×3×3"
    assert any("one multiply-add is 2 FLOPs" in note for note in report.notes)


def test_a_module_stands_for_its_layers(small_model: Path) -> None:
    model = load(small_model)
    assert [layer.name for layer in find_layers(model, "head")] == ["head"]
    with pytest.raises(FxcostError, match="has no layer 'haed'; near: head"):
        find_layers(model, "haed")


def test_at_the_command_line(fxcost_command: Command, small_model: Path) -> None:
    code, out, err = fxcost_command("explain", small_model, "head", "--at", "B=3")
    assert code == 0, err
    assert "160·B" in out
    assert "= 160·3" in out
    assert "= 480" in out
    code, out, err = fxcost_command("explain", small_model, "convx")
    assert (code, out) == (1, "")
    assert "near: conv" in err


def test_what_an_unknown_operator_costs_is_not_zero(fxcost_command: Command, tmp_path: Path) -> None:
    """A leaf of 8 by 8: its arithmetic is not known, and of its bytes only those that it is given and gives."""
    from torch import nn

    from fxcost.api import trace

    leafy = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    trace(leafy, inputs=("input: float32[B,8]",), leaves=("1",)).save(tmp_path / "leafy.json")
    code, out, _ = fxcost_command("explain", tmp_path / "leafy.json", "1", "--at", "B=3")
    assert code == 0
    told = [tuple(part.strip() for part in line.split("  ", 1)) for line in out.splitlines() if "  " in line]
    assert [text for what, text in told if what in ("FLOPs", "MACs")] == ["unknown", "unknown"]
    assert [text for what, text in told if what == "bytes moved, float32"] == ["≥ 64·B"]
    assert [text[:6] for what, text in told if what in ("reads", "writes")] == ["≥ 8·B ", "≥ 8·B "]
    assert [text for what, text in told if what == "parameters"] == ["72"]


REPEATING = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 4)

    def forward(self, x):
        return self.down(torch.relu(self.up(x)).neg()) + x.neg()

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block() for _ in range(3)])
        self.head, self.tied = nn.Linear(4, 4), nn.Linear(4, 4)
        self.tied.weight = self.head.weight
        self.lost = nn.Parameter(torch.zeros(5))
        self.deep, self.tanh = nn.ModuleList([nn.Tanh()]), nn.Tanh()
        self.left, self.right = nn.LayerNorm(4), nn.LayerNorm(4)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.tied(self.head(self.right(self.left(self.tanh(self.deep[0](x))))))

def net():
    return Net(), torch.zeros(2, 4)
"""


def test_every_name_that_trace_prints_is_taken(fxcost_command: Command, tmp_path: Path) -> None:
    model, saved = tmp_path / "repeating.py", tmp_path / "repeating.json"
    model.write_text(REPEATING)
    assert fxcost_command("trace", f"{model}:net", "-o", saved)[0] == 0
    shown = {
        by: json.loads(fxcost_command("trace", saved, "--by", by, "-f", "json")[1])["rows"]
        for by in ("layer", "module", "op")
    }
    names = [row["layer"] for row in shown["layer"]]
    assert {"blocks.0-2.up", "{left,right}", "tied (shared)", "lost (unused)"} <= {*names}
    assert any("…" in name for name in names)  # those of different depth
    names += [row["module"].strip() for row in shown["module"]]
    names += [row["path"] for row in shown["module"]][1:] + [row["operator"] for row in shown["op"]]
    for name in names:
        code, out, err = fxcost_command("explain", saved, name)
        assert code == 0, (name, err)
        assert "FLOPs" in out
    out = fxcost_command("explain", saved, "blocks.0-2.up")[1]
    assert "×3: each of blocks.0.up, blocks.1.up, blocks.2.up" in out
    assert out.count("operator") == 1  # layers that are alike are told once
    assert fxcost_command("explain", saved, "blocks.1")[1].count("operator ") == 6
    assert "×3: each of blocks.0.down, blocks.1.down, blocks.2.down" in fxcost_command("explain", saved, "down")[1]
