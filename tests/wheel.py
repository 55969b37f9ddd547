"""Build the wheel, look into it, install it in a clean environment, and run it outside the checkout."""

import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command; its output, or an error with what it printed."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> None:
    """Fails when the wheel lacks a file or does not run on its own."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        run(sys.executable, "-m", "build", "--outdir", place, "--no-isolation", ROOT, cwd=place)
        (wheel,) = place.glob("*.whl")
        run(sys.executable, "-m", "check_wheel_contents", "--toplevel", "fxcost", wheel, cwd=place)
        names = zipfile.ZipFile(wheel).namelist()
        specs = sum(name.startswith("fxcost/specs/") and name.endswith(".toml") for name in names)
        if specs != len(list((ROOT / "specs").rglob("*.toml"))) or "fxcost/passes/flops.py" not in names:
            sys.exit(f"the wheel holds {specs} platforms, and passes: {'fxcost/passes/flops.py' in names}")
        # Its dependencies are taken from this environment, by a .pth file; fxcost itself is not.
        venv.create(place / "clean", with_pip=True)
        python = place / "clean" / "bin" / "python"
        site = run(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])", cwd=place).strip()
        run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=place)
        (Path(site) / "dependencies.pth").write_text(dependencies_without_fxcost(place))
        where = run(python, "-c", "import fxcost; print(fxcost.__file__)", cwd=place).strip()
        if not where.startswith(str(place)):
            sys.exit(f"fxcost came from {where}, not from the wheel")
        command = place / "clean" / "bin" / "fxcost"
        run(command, "trace", "resnet18", "--symbolic", "B", "-o", "resnet18.json", cwd=place)
        printed = run(command, "crossover", "resnet18.json", "--platform", "l4", "--precision", "fp16", cwd=place)
        if "ridge point 403.3 FLOP/B" not in printed:  # 121 TFLOP/s over 300 GB/s
            sys.exit(f"the wheel's crossover printed:\n{printed}")
        print(f"{wheel.name}: {len(names)} files, {specs} platforms; installed and run outside the checkout")


def dependencies_without_fxcost(place: Path) -> str:
    """A folder of links to this environment's packages, all but fxcost's own."""
    import sysconfig

    links = place / "dependencies"
    links.mkdir()
    for package in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if "fxcost" not in package.name.lower() and package.suffix != ".pth":
            (links / package.name).symlink_to(package)
    return f"{links}\n"


if __name__ == "__main__":
    main()
