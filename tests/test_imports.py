"""What importing loads, that symlinks are there, and that imports run one way."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "sympy", "numpy"}


def loaded_by(code: str) -> set[str]:
    command = [sys.executable, "-c", f"import sys\n{code}\nprint(*sorted(sys.modules))"]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


def test_importing_is_light() -> None:
    assert not HEAVY & loaded_by("import fxcost")


def test_help_is_light() -> None:
    code = (
        "import fxcost.cli\nsys.argv = ['fxcost', 'trace', '--help']\ntry: fxcost.cli.main()\nexcept SystemExit: pass"
    )
    assert not HEAVY & loaded_by(code)


def test_the_check_can_fail() -> None:
    assert loaded_by("import fxcost; fxcost.CostModel") >= {"sympy"}


def test_every_public_name_is_there() -> None:
    import fxcost

    assert all(getattr(fxcost, name) is not None for name in fxcost.__all__)
    assert set(fxcost._HOMES) == set(fxcost.__all__) <= set(dir(fxcost))
    with pytest.raises(AttributeError, match="has no attribute 'trece'"):
        _ = fxcost.trece


@pytest.mark.parametrize("name", ["passes", "specs"])
def test_the_checkout_has_its_symlinks(name: str) -> None:
    link = ROOT / "fxcost" / name
    assert link.is_dir(), f"{link} is no folder: check out with symlinks (on Windows, git config core.symlinks true)"
    assert link.samefile(ROOT / name)


LAYERS = {
    "graph": set(),
    "conditions": set(),
    "costs": {"conditions"},
    "platforms": set(),
    "pipeline": {"graph"},
    "ops": {"graph"},
    "tracing": {"graph", "conditions"},
    "passes": {"graph", "pipeline", "ops"},
    "decoding": {"graph", "tracing", "passes"},
    "roofline": {"platforms", "costs", "conditions"},
}
"""For each room, the rooms of this table that it may import."""


def imports_of(folder: Path) -> set[str]:
    files = folder.rglob("*.py") if folder.is_dir() else [folder.with_suffix(".py")]
    trees = [ast.parse(file.read_text()) for file in files]
    # A function's own imports are no part of the architecture: results know how to print themselves.
    froms = [n for tree in trees for n in tree.body if isinstance(n, ast.ImportFrom)]
    return {(n.module or "").split(".")[1] for n in froms if (n.module or "").startswith("fxcost.")}


@pytest.mark.parametrize("room", LAYERS)
def test_imports_run_one_way(room: str) -> None:
    place = ROOT / "passes" if room == "passes" else ROOT / "fxcost" / room
    assert imports_of(place) & LAYERS.keys() <= LAYERS[room] | {room}
    assert not imports_of(place) & {"analysis", "cli", "reports"}


def test_every_folder_of_code_is_packaged() -> None:
    """A folder that is not listed works from a checkout, and is missing from the wheel."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    folders = {"fxcost", *(f"fxcost.{path.parent.name}" for path in (ROOT / "fxcost").glob("*/__init__.py"))}
    assert set(listed) == folders
