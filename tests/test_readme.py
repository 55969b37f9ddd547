"""The README runs: its Python as it stands, and its transcript line by line."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"<!-- run -->\n```(\w+)\n(.*?)```", README, flags=re.DOTALL)
PYTHON = [code for kind, code in BLOCKS if kind == "python"]
TRANSCRIPTS = [text for kind, text in BLOCKS if kind == "console"]


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_python(code: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def steps(transcript: str) -> list[tuple[str, list[str]]]:
    found: list[tuple[str, list[str]]] = []
    for line in transcript.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=range(len(TRANSCRIPTS)))
def test_transcript(transcript: str, tmp_path: Path) -> None:
    """Every line shown is printed, in its order; … stands for lines left out."""
    bin_folder = Path(sys.executable).parent
    for command, shown in steps(transcript):
        words = shlex.split(command)
        if words[0] == "cat":
            (tmp_path / words[1]).write_text("\n".join(shown), encoding="utf-8")  # a file that is shown is there
            continue
        done = subprocess.run(
            [bin_folder / words[0], *words[1:]], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        printed = iter([" ".join(line.split()) for line in done.stdout.splitlines()])
        for line in shown:
            if line != "…":
                assert " ".join(line.split()) in printed, f"{command} does not print, or not there: {line}"
