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
    code = "import fxcost.cli.main\nsys.argv = ['fxcost', 'trace', '--help']\ntry: fxcost.cli.main.main()\nexcept SystemExit: pass"
    assert not HEAVY & loaded_by(code)


def test_the_check_can_fail() -> None:
    assert loaded_by("import fxcost.formulas.with_sympy") >= {"sympy"}


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


ORDER = (
    "errors", "dtypes", "work", "files", "sheet_files", "inputs", "user_code", "formulas", "graph", "ops", "tracing", "models", "request", "passes", "costs",
    "machines", "formats", "memory", "options", "roofline", "verify", "drift", "plugins", "reports", "api", "regression", "cli", "pytest_plugin", "__main__",
)  # fmt: skip
"""The folders and modules of fxcost, each of which imports those before it alone."""
INSIDE = {
    "formulas": ("algebra", "evaluation", "parsing", "expressions", "quantities", "ranges", "arrays"),
    "costs": ("lazy", "graph", "model", "fusion", "roles", "files", "notes"),
    "reports": ("parts",),
    "tracing": ("sizes", "environment", "export", "recording"),
    "ops": ("rules", "kernels", "shapes", "movement", "vector", "matrix", "unknowns"),
}
"""The same within folders that hold folders; modules that are not named stand above them."""
UPWARD: set[tuple[str, str]] = set()


def modules() -> dict[str, ast.Module]:
    """Every module by its name, read."""
    found: dict[str, ast.Module] = {}
    for file in (ROOT / "fxcost").rglob("*.py"):
        parts = file.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(file.read_text(encoding="utf-8"))
    for file in (ROOT / "passes").glob("*.py"):
        name = "fxcost.passes" if file.stem == "__init__" else f"fxcost.passes.{file.stem}"
        found[name] = ast.parse(file.read_text(encoding="utf-8"))
    return found


MODULES = modules()


def imports_of(module: str) -> set[str]:
    """The modules of fxcost that a module imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names if each.name in MODULES}
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            within = {f"{node.module}.{each.name}" for each in node.names}
            found |= (within & MODULES.keys()) | ({node.module} if within - MODULES.keys() else set())
    return found


def place(module: str) -> tuple[int, int]:
    """Where a module stands in the order, and within its folder."""
    _, top, *rest = module.split(".")
    inside = INSIDE.get(top, ())
    if not inside:
        return ORDER.index(top), 0
    return ORDER.index(top), inside.index(rest[0]) if rest and rest[0] in inside else len(inside)


def test_imports_run_one_way() -> None:
    """Function-level imports too; the package itself, which users import from, stands above all."""
    inner = [module for module in MODULES if module != "fxcost"]
    upward = {(m, other) for m in inner for other in imports_of(m) if other != "fxcost" and place(other) > place(m)}
    assert upward == UPWARD


def test_no_module_imports_itself_in_a_circle() -> None:
    left = {module: imports_of(module) - {module} for module in MODULES if module != "fxcost"}
    while done := {module for module, others in left.items() if not others & left.keys()}:
        left = {module: others for module, others in left.items() if module not in done}
    assert not left


def test_every_folder_of_code_is_packaged() -> None:
    """A folder that is not listed works from a checkout, and is missing from the wheel."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "fxcost").rglob("__init__.py")}
    folders.add("fxcost.passes")
    assert set(listed) == folders


SAID_TWICE = {"CostModel", "EvaluatedModel"}
"""What users hold of the costs, and the data that it is."""


def test_a_name_has_one_meaning() -> None:
    homes: dict[str, list[str]] = {}
    for module, tree in MODULES.items():
        for node in tree.body:
            names = [node.name] if isinstance(node, ast.ClassDef) else []
            if isinstance(node, ast.Assign):
                names = [each.id for each in node.targets if isinstance(each, ast.Name) and each.id[0].isupper()]
            for name in names:
                if not name.isupper():
                    homes.setdefault(name, []).append(module)
    assert {name for name, modules in homes.items() if len(modules) > 1} == SAID_TWICE
