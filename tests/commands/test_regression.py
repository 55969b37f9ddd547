"""`fxcost lock`, `diff` and `check` in a project whose model changes."""

import csv
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., tuple[int, str, str]]

NETS = """
from torch import nn

def net(width=32):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.Linear(8, width, bias=False)
            self.act = nn.ReLU()
            self.down = nn.Linear(width, 8, bias=False)

        def forward(self, x):
            return self.down(self.act(self.up(x)))

    return Net()
"""
INPUT = ("--input", "x: float32[B,8]")
TRACED = (*INPUT, "--at", "B=4")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fxcost_command: Command) -> Path:
    """A folder with a model and its lock."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    code, out, err = fxcost_command("lock", "nets.py:net", *TRACED)
    assert (code, out, err) == (0, "", "locked nets.py:net in costs.lock.json")
    return tmp_path


def edit(project: Path, old: str, new: str) -> None:
    text = (project / "nets.py").read_text()
    assert old in text
    (project / "nets.py").write_text(text.replace(old, new))


def test_what_did_not_change_passes(project: Path, fxcost_command: Command) -> None:
    code, out, err = fxcost_command("check")
    assert (code, err) == (0, "")
    assert "nets.py:net: no cost changed (3 operations" in out


def test_a_widened_layer_is_caught_named_and_sized(project: Path, fxcost_command: Command) -> None:
    """Each product: 2·8·32 FLOPs for a row to 2·8·40, a quarter more."""
    edit(project, "width=32", "width=40")
    code, out, err = fxcost_command("check")
    assert code == 4
    assert "2·B·32·8 → 2·B·40·8" in out
    assert "(+25.0 %)" in out
    assert "nets.py:net moved: FLOPs 4,224 → 5,280 (+25.0 %) at B=4" in err  # 4·(2·2·8·32 + 32), 4·(2·2·8·40 + 40)
    assert "fxcost lock -o costs.lock.json" in err
    rows = list(csv.DictReader(io.StringIO(fxcost_command("check", "-f", "csv")[1])))
    assert [(row["layer"], row["flops_at_old"], row["flops_at_new"]) for row in rows] == [
        ("up", "2048", "2560"), ("act", "128", "160"), ("down", "2048", "2560"), ("total", "4224", "5280"),
    ]  # fmt: skip
    assert rows[0]["flops_old"] == "512*B"
    assert fxcost_command("check", "--tolerance", "25%")[0] == 0
    assert fxcost_command("check", "--tolerance", "24%")[0] == 4
    assert fxcost_command("check", "--tolerance", "24%")[0] == 4
    assert fxcost_command("check", "--tolerance", "0.24")[0] == 4
    assert fxcost_command("check", "--tolerance", "0.25")[0] == 0
    assert fxcost_command("lock", "-o", "costs.lock.json")[0] == 0
    assert fxcost_command("check")[0] == 0


def test_a_harmless_refactoring_passes(project: Path, fxcost_command: Command) -> None:
    edit(project, "self.up", "self.widen")
    edit(project, "nn.ReLU()", "nn.ReLU(inplace=True)")
    code, out, _ = fxcost_command("check")
    assert code == 0
    assert "renamed at the same cost: up → widen" in out


def test_models_that_cannot_be_compared_do_not_hide_others(project: Path, fxcost_command: Command) -> None:
    assert fxcost_command("lock", "nets.py:net", "--set", "width=16", *TRACED)[0] == 0
    edit(project, "return Net()", "assert width < 20, 'too wide'\n    return Net()")
    code, out, err = fxcost_command("check")
    assert code == 1
    assert "cannot compare nets.py:net: nets.py:net raised AssertionError: too wide" in err
    assert "nets.py:net --set width=16: no cost changed" in out


def test_sides_without_a_common_model_are_refused(project: Path, fxcost_command: Command, small_model: Path) -> None:
    assert fxcost_command("lock", "nets.py:net", "--set", "width=16", *TRACED)[0] == 0
    code, out, err = fxcost_command("diff", "costs.lock.json", small_model)
    assert (code, out) == (1, "")
    assert "no model is on both sides: costs.lock.json has nets.py:net, nets.py:net --set width=16;" in err


def test_options_are_kept_with_each_model(project: Path, fxcost_command: Command) -> None:
    assert fxcost_command("lock", "nets.py:net", "--set", "width=16", "--input", "x: float32[4,8]")[0] == 0
    models = json.loads((project / "costs.lock.json").read_text())["models"]
    assert [each["options"] for each in models] == [
        {"inputs": ["x: float32[B,8]"], "at": "B=4"}, {"inputs": ["x: float32[4,8]"], "settings": ["width=16"]},
    ]  # fmt: skip
    assert fxcost_command("check")[0] == 0


def test_a_revision_is_compared_with_the_file_of_now(project: Path, fxcost_command: Command) -> None:
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words], check=True)  # noqa: S607
    edit(project, "width=32", "width=40")
    assert fxcost_command("lock")[0] == 0
    code, out, err = fxcost_command("diff", "main:costs.lock.json", "costs.lock.json", "--format", "md")
    assert (code, err) == (0, "")
    assert out.startswith("### main:costs.lock.json → costs.lock.json\n")
    assert "| down |" in out
    for place, words in (("mian:costs.lock.json", "invalid object name"), ("main:no.json", "does not exist")):
        code, out, err = fxcost_command("diff", place, "costs.lock.json")
        assert (code, out, len(err.splitlines())) == (1, "", 2)
        assert words in err
        assert "fetch-depth: 0" in err


def test_without_git_a_revision_is_refused(
    project: Path, fxcost_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(project))
    assert "git cannot be run" in fxcost_command("diff", "main:costs.lock.json", "costs.lock.json")[2]


def test_models_and_files_are_compared(project: Path, fxcost_command: Command) -> None:
    edit(project, "width=32", "width=40")
    code, out, err = fxcost_command("diff", "costs.lock.json", "nets.py:net", *INPUT, "--at", "B=2", "-f", "json")
    assert code == 0, err
    total = json.loads(out)["rows"][-1]
    assert (total["flops_at_old"], total["flops_at_new"], total["flops_change_percent"]) == (2112, 2640, 25.0)


def test_models_on_one_side_alone_are_told(project: Path, fxcost_command: Command) -> None:
    two = ("lock", "nets.py:net", "--set", "width=16", *TRACED, "-o")
    assert fxcost_command(*two, "costs.lock.json")[0] == 0
    assert fxcost_command(*two, "both.lock.json")[0] == 0
    assert fxcost_command("lock", "nets.py:net", "--set", "width=8", *TRACED, "-o", "both.lock.json")[0] == 0
    code, out, err = fxcost_command("diff", "costs.lock.json", "both.lock.json")
    assert (code, err) == (0, "")
    assert "only in costs.lock.json: nets.py:net\n" in out
    assert "only in both.lock.json: nets.py:net --set width=8" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "no.json"], "cannot read no.json"),
        (["check", "--tolerance", "half"], "--tolerance 'half'"),
        (["check", "--tolerance", "-1%"], "--tolerance '-1%'"),
        (["lock", "-o", "new.json"], "new.json holds no models yet"),
        (["lock", "--at", "B=3"], "options belong to models"),
        (["lock", "costs.lock.json"], "which nothing can trace again"),
        (["diff", "costs.lock.json", "none.json"], "cannot read none.json"),
        (["diff", "costs.lock.json", "costs.lock.json", "--at", "Q=3"], "neither model has a symbol Q"),
    ],
)
def test_bad_input_is_told(project: Path, fxcost_command: Command, arguments: list[str], words: str) -> None:
    code, out, err = fxcost_command(*arguments)
    assert (code, out) == (1, "")
    assert err.startswith("fxcost: ")
    assert words in err


def test_an_operator_that_lost_its_rule_fails(project: Path, fxcost_command: Command) -> None:
    """As if a rule of a plugin were gone: the lock counted what now is unknown."""
    edit(project, "self.act(self.up(x))", "torch.ops.regression_test.opaque(self.up(x))")
    edit(
        project,
        "from torch import nn",
        "import torch\nfrom torch import nn\n"
        "if not hasattr(torch.ops.regression_test, 'opaque'):\n"
        "    torch.library.define('regression_test::opaque', '(Tensor x) -> Tensor')\n"
        "    torch.library.register_fake('regression_test::opaque', lambda x: x.clone())\n",
    )
    code, out, err = fxcost_command("check", "--tolerance", "10000%")
    assert code == 4, err
    assert "now without a rule: regression_test.opaque.default in opaque" in out
    assert "moved" in err
    code, _, err = fxcost_command("check", "--tolerance", "1000%")
    assert code == 4
    assert "nets.py:net moved: operators without a rule" in err
