"""Python that users name: where it is found, that it is loaded once, and what becomes of what it raises."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Command = Callable[..., tuple[int, str, str]]

MODEL = """
import os
import sys
import fxcost, torch
from torch import nn

class Doubles(nn.Module):
    def forward(self, x):
        return torch.ops.loading_test.NAME(x)

def small():
    return Doubles(), torch.zeros(2, 3)

def other():
    return small()

def leaves():
    sys.exit(0)

class Leaving(nn.Module):
    def forward(self, x):
        sys.exit()

class Ending(nn.Module):
    def forward(self, x):
        os._exit(0)

def ending():
    return Ending(), torch.zeros(2, 3)

def ends():
    os._exit(0)

def prints():
    print("from the factory")
    return torch.nn.ReLU(), torch.zeros(2, 3)

def inside():
    return Leaving(), torch.zeros(2, 3)

torch.library.define("loading_test::NAME", "(Tensor x) -> Tensor")
torch.library.register_fake("loading_test::NAME", lambda x: x.clone())

@fxcost.op(torch.ops.loading_test.NAME, reason="one addition for each element")
def rule(call):
    return call.output.elements
"""
"""Defines an operator, which can be done once: loaded twice, it raises."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Path]:
    """The current folder, with a model and plugins of names that no other test has."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    name = f"model_{abs(hash(request.node.nodeid))}"
    (tmp_path / "mine.py").write_text(MODEL.replace("NAME", name))
    (tmp_path / "leaving.py").write_text("import sys\n\nsys.exit(0)\n")
    (tmp_path / "quitting.py").write_text("exit()\n")
    (tmp_path / "raising.py").write_text("raise RuntimeError('first\\nsecond')\n")
    (tmp_path / "needing.py").write_text("import no_such_library\n")
    yield tmp_path
    for path in tmp_path.glob("*.py"):
        if path.stem != "json":
            sys.modules.pop(path.stem, None)


@pytest.mark.parametrize(
    "arguments",
    [
        "trace mine.py:small --plugin mine.py",
        "trace mine.py:small --plugin mine",
        "trace mine:small --plugin mine.py",
        "trace mine:small --plugin mine",
        "diff mine.py:small mine.py:other",
        "diff ./mine.py:small mine:other --plugin mine.py --plugin mine",
    ],
)
def test_a_file_is_loaded_once(fxcost_command: Command, folder: Path, arguments: str) -> None:
    code, _, said = fxcost_command(*arguments.split(), *(["--strict"] if "trace" in arguments else []))
    assert code == 0, said


def test_what_changed_is_loaded_anew(fxcost_command: Command, folder: Path) -> None:
    (folder / "wide.py").write_text("import torch\ndef f(): return torch.nn.Linear(3, 4), torch.zeros(2, 3)\n")
    assert "16 params" in fxcost_command("trace", "wide.py:f")[1]
    (folder / "wide.py").write_text("import torch\ndef f(): return torch.nn.Linear(3, 8), torch.zeros(2, 3)\n")
    assert "32 params" in fxcost_command("trace", "wide.py:f")[1]


def test_a_file_does_not_take_the_place_of_a_library(fxcost_command: Command, folder: Path) -> None:
    (folder / "json.py").write_text("import torch\ndef f(): return torch.nn.Linear(3, 4), torch.zeros(2, 3)\n")
    before = sys.modules["json"]
    assert fxcost_command("trace", "json.py:f")[0] == 0
    assert sys.modules["json"] is before


def test_the_current_folder_hides_no_library(folder: Path) -> None:
    """A process of its own, in which colorsys is not imported yet."""
    (folder / "colorsys.py").write_text("raise RuntimeError('not asked for')\n")
    code = (
        "from fxcost.user_code import python_module\n"
        "assert python_module('mine').small\n"
        "import colorsys\n"
        "assert colorsys.rgb_to_hsv"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("trace :f", "'' names no module; name one such as package.module"),
        ("trace .:f", "'.' names no module"),
        ("trace a..b:f", "'a..b' names no module"),
        ("trace mine.nothing:f", "mine.nothing: no such module"),
        ("trace nothing:f", "nothing: no such module"),
        ("trace needing:f", "needing raised ModuleNotFoundError: No module named 'no_such_library' (needing.py:1)"),
        ("trace raising:f", "raising raised RuntimeError: first second (raising.py:1)"),
        ("trace raising.py:f", "raising.py raised RuntimeError: first second (raising.py:1)"),
        ("trace leaving.py:f", "leaving.py calls exit(0) (leaving.py:3)"),
        ("trace quitting.py:f", "quitting.py calls exit(None) (quitting.py:1)"),
        ("trace mine.py:leaves", "mine.py:leaves calls exit(0) (mine.py:18)"),
        ("trace mine.py:inside", "the model's code calls exit(None) (mine.py:22)"),
        ("trace mine.py:ends", "mine.py:ends calls exit(0) (mine.py:32)"),
        ("trace mine.py:ending", "the model's code calls exit(0) (mine.py:26)"),
        ("lock mine.py:ending", "the model's code calls exit(0) (mine.py:26)"),
        ("trace mine.py:small --plugin=", "--plugin '' names no module"),
        ("trace mine.py:small --plugin nothing.py", "--plugin cannot read nothing.py: No such file"),
        ("trace mine.py:small --plugin nothing", "--plugin nothing: no such module"),
        ("trace mine.py:small --plugin raising", "--plugin raising raised RuntimeError: first second"),
        ("trace mine.py:small --plugin leaving.py", "--plugin leaving.py calls exit(0) (leaving.py:3)"),
    ],
)
def test_what_users_code_does_is_told(fxcost_command: Command, folder: Path, arguments: str, words: str) -> None:
    code, out, said = fxcost_command(*arguments.split())
    assert (code, out) == (1, "")
    assert said.startswith(f"fxcost: {words}")
    assert len(said.splitlines()) <= 2


def test_what_a_factory_prints_is_no_part_of_the_report(fxcost_command: Command, folder: Path) -> None:
    code, out, said = fxcost_command("trace", "mine.py:prints", "-f", "json")
    assert code == 0, said
    assert json.loads(out)["model"] == "mine.py:prints"
    assert "from the factory" in said
