"""The fixture ``cost_regression`` in a project of a user's."""

import subprocess
import sys
from pathlib import Path

import pytest

TEST = """
from torch import nn

def test_mlp(cost_regression):
    model = nn.Sequential(nn.Linear(8, {width}), nn.ReLU(), nn.Linear({width}, 2))
    cost_regression.check(model, ("x: float32[B,S,8]",), symbolic="B", at={{"B": 3, "S": 5}})
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    (tmp_path / "test_mlp.py").write_text(TEST.format(width=16))
    return tmp_path


def run(project: Path, *options: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *options]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_changed_layer_fails_the_test_and_is_named(project: Path) -> None:
    """Linear 8 to 16: 2·8·16 FLOPs for each of 5 rows of a sample; to 24 it is half more."""
    code, said = run(project)
    assert code == 1
    assert "File not found in data directory, created" in said
    written = (project / "test_mlp" / "test_mlp.yml").read_text()
    assert "flops: 1280*B" in written
    assert "flops_at: 3840" in written
    assert run(project)[0] == 0

    (project / "test_mlp.py").write_text(TEST.format(width=24))
    code, said = run(project)
    assert code == 1
    assert "1280·B → 1920·B" in said
    assert "(+50.0 %)" in said
    assert "pytest --force-regen" in said
    assert run(project, "--force-regen")[0] == 1
    assert run(project)[0] == 0


def test_a_renamed_layer_is_told_as_no_change_of_cost(project: Path) -> None:
    """What stands first in a Sequential shifts the names of all that follow."""
    run(project)
    written = TEST.format(width=16)
    (project / "test_mlp.py").write_text(written.replace("Sequential(", "Sequential(nn.Identity(), "))
    code, said = run(project)
    assert code == 1
    assert "no cost changed" in said
    assert "renamed at the same cost: 0 → 1" in said


def test_without_pytest_regressions_only_the_fixture_fails(project: Path) -> None:
    (project / "conftest.py").write_text("import sys\nsys.modules['pytest_regressions'] = None\n")
    (project / "test_other.py").write_text("def test_other():\n    pass\n")
    code, said = run(project)
    assert code == 1
    assert "1 passed, 1 error" in said
    assert "\ncost_regression needs pytest-regressions: pip install 'fxcost[pytest]'" in said
    assert "def cost_regression" not in said, "told with the plugin's own code"


def test_the_plugin_loads_nothing_heavy() -> None:
    code = "import sys, fxcost.pytest_plugin; print({'torch', 'sympy', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
