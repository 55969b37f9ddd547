"""The lock file: it comes back as it was, and a broken, newer or hostile one is named."""

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from fxcost.costs.files.records import to_model
from fxcost.costs.files.saved import load
from fxcost.drift.lock import Lock, load_lock, locked, read_models, save_lock
from fxcost.errors import FxcostError
from fxcost.options import Asked
from fxcost.request import Mode

OPTIONS = Asked(symbolic="B", inputs=["x: float32[B,3,H,W]"], at="H=33", settings=["width=64"], attention="math")


@pytest.fixture
def lock_file(small_model: Path, tmp_path: Path) -> Path:
    path = tmp_path / "costs.lock.json"
    save_lock(Lock(models=[locked("nets.py:small", OPTIONS, load(small_model))]), path)
    return path


def test_a_lock_comes_back_as_it_was(lock_file: Path, small_records: Path) -> None:
    (entry,) = load_lock(lock_file).models
    assert (entry.model, entry.options) == ("nets.py:small", OPTIONS)
    held = load(small_records)
    assert to_model(entry.costs, "here") == held
    assert read_models(lock_file.read_bytes(), "here") == {"nets.py:small --set width=64": held}


def test_a_step_of_decoding_stands_beside_the_whole_pass(small_model: Path) -> None:
    """The same model locked for both has two titles, so that neither takes the other's place."""
    costs = load(small_model)
    both = [locked("hf:x", Asked(settings=["n=1"], mode=mode), costs) for mode in get_args(Mode)]
    assert [each.title for each in Lock(models=[]).having(*both).models] == [
        "hf:x --set n=1",
        "hf:x --set n=1 --mode decode",
    ]


def test_a_saved_model_is_read_as_a_lock_of_one(small_model: Path) -> None:
    assert list(read_models(small_model.read_bytes(), "here").values()) == [load(small_model)]


def test_the_file_holds_only_options_that_were_given(lock_file: Path) -> None:
    held = json.loads(lock_file.read_text())["models"][0]["options"]
    assert held == {"symbolic": "B", "inputs": ["x: float32[B,3,H,W]"], "at": "H=33", "settings": ["width=64"], "attention": "math"}  # fmt: skip


def test_a_model_locked_again_takes_its_place(lock_file: Path, small_model: Path) -> None:
    costs = load(small_model)
    again = locked("nets.py:small", Asked(settings=["width=64"], at="B=2"), costs)
    other = locked("nets.py:small", Asked(settings=["width=32"]), costs)
    lock = load_lock(lock_file).having(other, again)
    assert [each.options.at for each in lock.models] == ["B=2", None]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda d: d.update(lock_version=2), "newer than 1"),
        (lambda d: d.pop("lock_version"), "no lock_version"),
        (lambda d: d.pop("models"), "models: Field required"),
        (lambda d: d["models"][0].pop("costs"), "models.0.costs: Field required"),
        (lambda d: d["models"][0]["options"].update(budge=3), "models.0.options.budge"),
        (lambda d: d["models"][0]["options"].update(attention="maths"), "models.0.options.attention"),
        (lambda d: d["models"][0]["costs"]["layers"][0].pop("op"), "models.0.costs.layers.0.op"),
    ],
)
def test_a_broken_or_newer_lock_is_named(lock_file: Path, edit: Callable[[dict[str, Any]], Any], words: str) -> None:
    document = json.loads(lock_file.read_text())
    edit(document)
    lock_file.write_text(json.dumps(document))
    with pytest.raises(FxcostError) as refused:
        load_lock(lock_file)
    assert words in str(refused.value)
    assert "costs.lock.json" in str(refused.value)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"lock_version": 1, "mod'])
def test_what_is_no_lock_is_named(lock_file: Path, content: str) -> None:
    lock_file.write_text(content)
    with pytest.raises(FxcostError, match="is not a lock file"):
        load_lock(lock_file)


def test_formulas_are_never_run_as_code(lock_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    document = json.loads(lock_file.read_text())
    document["models"][0]["costs"]["layers"][0]["flops"] = "__import__('os').system('touch HARMED')"
    with pytest.raises(FxcostError, match=r"here: nets.py:small --set width=64: layer 'conv'.flops"):
        read_models(json.dumps(document).encode(), "here")
    assert not (tmp_path / "HARMED").exists()


def test_an_interrupted_write_keeps_the_old_lock(lock_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = lock_file.read_bytes()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_lock(Lock(models=[]), lock_file)
    assert lock_file.read_bytes() == before
    assert [path.name for path in lock_file.parent.iterdir()] == [lock_file.name]


TWO = """
import torch
def one(): return torch.nn.Linear(3, 4), torch.zeros(2, 3)
def other(): return torch.nn.Linear(3, 5), torch.zeros(2, 3)
"""


def test_two_that_lock_at_once_lose_nothing(
    fxcost_command: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The second runs from its beginning to its end while the first is tracing, and nobody else writes while one does."""
    from fxcost.cli import regression
    from fxcost.drift import lock as locks

    model, path = tmp_path / "two_models.py", tmp_path / "costs.lock.json"
    model.write_text(TWO)
    trace, save = regression._traced, locks.save_lock
    told: list[str] = []

    def traced(ref: str, options: Asked) -> Any:
        if ref.endswith(":one"):
            assert fxcost_command("lock", f"{model}:other", "-o", path)[0] == 0
        return trace(ref, options)

    def saved(lock: Lock, place: Path) -> None:
        folder = os.open(tmp_path, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            told.append("free")
        except BlockingIOError:
            told.append("held")
        finally:
            os.close(folder)
        save(lock, place)

    monkeypatch.setattr(regression, "_traced", traced)
    monkeypatch.setattr(locks, "save_lock", saved)
    assert fxcost_command("lock", f"{model}:one", "-o", path)[0] == 0
    assert [each.model for each in load_lock(path).models] == [f"{model}:other", f"{model}:one"]
    assert told == ["held", "held"]
    assert sorted(os.listdir(tmp_path)) == ["costs.lock.json", "two_models.py"]
