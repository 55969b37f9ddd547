"""One layer told in full."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fxcost.errors import FxcostError
from fxcost.reports.explain import explain_report, find_layers
from fxcost.saved import load

Command = Callable[..., tuple[int, str, str]]


def test_every_step_of_a_formula(small_model: Path) -> None:
    """A 3×3 convolution of 3 to 8 channels, stride 2: 2·27·8 = 432 FLOPs for each of 17·18 outputs of a 33×35 image."""
    report = explain_report(load(small_model), "conv", {"B": 2, "H": 33, "W": 35})
    told = [(row[0].text, row[1].text) for row in report.rows]
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

    from fxcost.analysis import trace

    leafy = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    trace(leafy, inputs=("input: float32[B,8]",), leaves=("1",)).save(tmp_path / "leafy.json")
    code, out, _ = fxcost_command("explain", tmp_path / "leafy.json", "1", "--at", "B=3")
    assert code == 0
    told = [tuple(part.strip() for part in line.split("  ", 1)) for line in out.splitlines() if "  " in line]
    assert [text for what, text in told if what in ("FLOPs", "MACs")] == ["unknown", "unknown"]
    assert [text for what, text in told if what == "bytes moved, float32"] == ["≥ 64·B"]
    assert [text[:6] for what, text in told if what in ("reads", "writes")] == ["≥ 8·B ", "≥ 8·B "]
    assert [text for what, text in told if what == "parameters"] == ["72"]
