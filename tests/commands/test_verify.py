"""`fxcost verify`, from its options to what it prints and how it exits."""

from pathlib import Path
from typing import Any

import pytest

from fxcost.verify.counters import Counter
from fxcost.verify.flop_counter_mode import flops_by_torch

MODEL = "from torch import nn\ndef net(width=6):\n    return nn.Sequential(nn.Linear(8, width), nn.ReLU())\n"


@pytest.fixture
def asked(tmp_path: Path) -> tuple[str, ...]:
    (tmp_path / "verified.py").write_text(MODEL)
    return ("verify", f"{tmp_path}/verified.py:net", "--input", "input: float32[B,8]")


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def failing(*_: object) -> float:
    raise ValueError("no such luck\nmore")


def test_it_prints_each_gap(fxcost_command: Any, asked: tuple[str, ...]) -> None:
    """48 multiply-adds a row: 96 FLOPs."""
    code, out, err = fxcost_command(*asked)
    assert code == 0, err
    assert "FlopCounterMode FLOPs 96 96 0 equal at every size" in lines(out)
    assert "compared at B=1; B=" in out
    assert "drawn with seed 0" in out


def test_it_exits_4_when_torchs_counter_disagrees(
    fxcost_command: Any, asked: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fxcost.verify.comparison.flops_by_torch", lambda *given: flops_by_torch(*given) + 1)
    monkeypatch.setattr("fxcost.verify.comparison.COUNTERS", ())
    code, out, err = fxcost_command(*asked)
    assert code == 4
    assert "+1 unexplained: +1 FLOPs" in lines(out)
    assert "not explained: FlopCounterMode" in out
    assert "FlopCounterMode disagrees" in err


def test_what_is_not_explained_is_told_at_the_first_size_where_there_is_some(
    fxcost_command: Any, asked: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong_for_batches(source: Any, sizes: Any) -> int:
        return flops_by_torch(source, sizes) - 5 * (sizes["B"] > 1)

    monkeypatch.setattr("fxcost.verify.comparison.flops_by_torch", wrong_for_batches)
    monkeypatch.setattr("fxcost.verify.comparison.COUNTERS", ())
    code, out, _ = fxcost_command(*asked, "--at", "B=1")
    assert code == 4
    assert any(line.startswith("−5 unexplained: -5 FLOPs at B=") for line in lines(out)), out


def test_a_counter_that_fails_has_one_line_and_the_others_print(
    fxcost_command: Any, asked: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    counters = (Counter("torch", failing, "MACs"), Counter("no_such_counter", failing, "MACs"))
    monkeypatch.setattr("fxcost.verify.comparison.COUNTERS", counters)
    code, out, _ = fxcost_command(*asked)
    assert code == 0
    assert "torch MACs ValueError: no such luck" in lines(out)
    assert "every gap explained to the last unit, at every size: FlopCounterMode" in lines(out)
    assert "not installed: no_such_counter; pip install 'fxcost[verify]'" in lines(out)


def test_without_torchs_counter_nothing_is_verified(
    fxcost_command: Any, asked: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fxcost.verify.comparison.flops_by_torch", failing)
    monkeypatch.setattr("fxcost.verify.comparison.COUNTERS", ())
    code, _, err = fxcost_command(*asked)
    assert code == 1
    assert "FlopCounterMode did not run, so nothing is verified: ValueError: no such luck" in err


def test_bad_input_is_told_in_one_line(fxcost_command: Any, small_model: Path) -> None:
    code, out, err = fxcost_command("verify", small_model)
    assert (code, out) == (1, "")
    assert "holds formulas, and other counters run the model; name the model itself" in err
    assert "leave --causal-skip and --leaf out" in fxcost_command("verify", "resnet18", "--causal-skip")[2]
    assert "no model is named 'resnet5'; near: " in fxcost_command("verify", "resnet5")[2]
