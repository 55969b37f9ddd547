"""The saved file: it comes back as it was, and no file can do harm."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from fxcost.costs.files.saved import load, save
from fxcost.errors import FxcostError
from fxcost.files import write_file


def test_a_model_comes_back_as_it_was(small_model: Path, tmp_path: Path) -> None:
    model = load(small_model)
    save(model, tmp_path / "again.json")
    again = load(tmp_path / "again.json")
    for field in fields(model):
        assert getattr(again, field.name) == getattr(model, field.name), field.name
    assert model.layers[0].name == "conv"


def test_traced_and_loaded_models_are_equal(tmp_path: Path) -> None:
    from torch import nn

    from fxcost.api import load, trace

    traced = trace(nn.Linear(4, 4), inputs=("input: float32[B,4]",))
    save(traced, tmp_path / "x.json")
    assert load(tmp_path / "x.json") == traced


def test_files_that_do_not_say_how_modules_were_called_are_read(small_records: Path, tmp_path: Path) -> None:
    """As those of before, which have no such field."""
    document = json.loads(small_records.read_text())
    for layer in document["layers"]:
        del layer["called_as"]
    (tmp_path / "old.json").write_text(json.dumps(document))
    assert load(tmp_path / "old.json") == load(small_records)


@pytest.fixture
def changed(small_records: Path, tmp_path: Path) -> Callable[[Callable[[dict[str, Any]], Any]], Path]:
    def change(edit: Callable[[dict[str, Any]], Any]) -> Path:
        document = json.loads(small_records.read_text())
        edit(document)
        path = tmp_path / "changed.json"
        path.write_text(json.dumps(document))
        return path

    return change


HOSTILE = {
    "code": "__import__('os').system('touch HARMED')",
    "attribute": "B.__class__.__mro__",
    "call": "exec(1)",
    "lambda": "(lambda: 1)()",
    "parentheses": "(" * 10_000_000,
    "power tower": "9**9**9**9",
    "gigabyte": "10**8000000000",
    "shifted gigabyte": "(((((10**8)**8)**8)**8)**8)**8",
    "undeclared": "B*Z",
    "float": "1e9999",
    "text": "'a'*9999999999",
    "division by zero": "B//0",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_formula_is_refused_quickly(changed: Any, tmp_path: Path, text: str, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    path = changed(lambda d: d["layers"][0].update(flops=text))
    start = time.perf_counter()
    with pytest.raises(FxcostError) as refused:
        load(path)
    assert time.perf_counter() - start < 10  # minutes or gigabytes, were it not refused
    message = str(refused.value)
    assert "changed.json: layer 'conv'.flops" in message
    assert len(message) < 400
    assert not (tmp_path / "HARMED").exists()


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda d: d.update(schema_version=3), "newer than 2"),
        (lambda d: d.pop("schema_version"), "no schema_version"),
        (lambda d: d.pop("layers"), "layers: Field required"),
        (lambda d: d["layers"][0].pop("op"), "layers.0.op: Field required"),
        (lambda d: d["layers"][0].update(params=-1), "layers.0.params"),
        (lambda d: d["symbols"].update({"__import__('os')": {}}), "symbols"),
        (lambda d: d.update(more=1), "more"),
    ],
)
def test_a_broken_or_newer_file_is_named(changed: Any, edit: Any, words: str) -> None:
    with pytest.raises(FxcostError) as refused:
        load(changed(edit))
    assert words in str(refused.value)
    assert "changed.json" in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(FxcostError, match="is not a saved model"):
        load(path)


def test_an_interrupted_write_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    write_file(path, b"before")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_file(path, b"after")
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["x.json"]


def test_a_write_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_file(path, b"before")
    write_file(path, b"after")
    assert path.read_bytes() == b"after"
    assert path.stat().st_mode & 0o444
