"""`fxcost precisions`, and what `fxcost trace --precision` says of formats."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., tuple[int, str, str]]


def test_all_are_listed(fxcost_command: Command) -> None:
    code, said, _ = fxcost_command("precisions", "-f", "json")
    rows = {row["name"]: row for row in json.loads(said)["rows"]}
    assert code == 0
    assert rows["awq-g128"]["weights"] == "int4:g128:zero, fp16"
    assert rows["awq-g128"]["bits_per_weight"] == 4.15625
    assert rows["gguf-q4_k_m"]["cache"] == "fp16"
    assert rows["fp8-block128"]["compute"] == "fp8, bf16"
    assert rows["amp-fp16"]["activations"] == "fp16, fp32, as inputs"


def test_one_is_told_with_its_rules_and_sources(fxcost_command: Command) -> None:
    code, said, _ = fxcost_command("precisions", "fp8-block128,cache=fp8")
    assert code == 0
    assert "fp32" in said
    assert "32 bit for 128×128" in said
    assert "source: DeepSeek-AI, DeepSeek-V3 Technical Report" in fxcost_command("precisions", "fp8-block128")[1]


def test_lint(fxcost_command: Command, tmp_path: Path) -> None:
    sheet = tmp_path / "mine.toml"
    text = 'name = "mine"\ntitle = "Mine"\nsources = ["https://example.org"]\nuniform = "fp16"\n'
    sheet.write_text(text)
    assert fxcost_command("precisions", "--lint", sheet) == (0, f"{sheet}: nothing found\n", "")
    sheet.write_text(text.replace("https://example.org", "hearsay"))
    code, said, _ = fxcost_command("precisions", "--lint", sheet)
    assert (code, said) == (4, "sources: none says where it can be read: give an address or a DOI [source]\n")
    sheet.write_text(text.replace("fp16", "fp17").replace("title", "titel"))
    code, said, _ = fxcost_command("precisions", "--lint", sheet)
    assert code == 4
    assert len(said.splitlines()) == 3
    assert fxcost_command("precisions", "fp16", "--lint", sheet)[0] == 2


@pytest.mark.parametrize(
    ("precision", "words"),
    [("w4a17", "unknown precision 'w4a17'; near: w4a16"), ("weights=int4,weights=int8", "gives weights twice")],
)
def test_what_is_no_precision_is_told(fxcost_command: Command, small_model: Path, precision: str, words: str) -> None:
    code, _, said = fxcost_command("trace", small_model, "--precision", precision)
    assert code == 1
    assert words in said


def report(fxcost_command: Command, model: Any, precision: str) -> Any:
    code, said, error = fxcost_command("trace", model, "--precision", precision, "-f", "json")
    assert code == 0, error
    return json.loads(said)


def test_a_trace_says_what_is_stored_and_moved(fxcost_command: Command, small_model: Path) -> None:
    from fxcost.api import load

    plain = report(fxcost_command, small_model, "fp32")
    assert plain["stored_bytes"] == load(small_model).stored_bytes()
    mixed = report(fxcost_command, small_model, "weights=int8:channel,activations=fp32")
    assert mixed["stored_bytes"] == load(small_model).stored_bytes("weights=int8:channel")
    saved = plain["total"]["weight_bytes_at"] - mixed["total"]["weight_bytes_at"]
    assert saved == plain["stored_bytes"] - mixed["stored_bytes"]
    assert mixed["total"]["activation_bytes_at"] == plain["total"]["activation_bytes_at"]


def test_old_files_take_plain_precisions_alone(fxcost_command: Command) -> None:
    old = Path(__file__).parents[1] / "data" / "version1" / "resnet18.json"
    assert "stored_bytes" not in report(fxcost_command, old, "int8")
    code, _, said = fxcost_command("trace", old, "--precision", "w8a8")
    assert code == 1
    assert "was saved before files held who feeds whom" in said
