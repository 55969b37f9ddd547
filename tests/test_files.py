"""Files that users name, at the command line: where results are written, and what is read."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., tuple[int, str, str]]


def is_told(said: tuple[int, str, str], *words: str, code: int = 1) -> None:
    """Assert that a command ended with an error in one or two lines that hold these words."""
    assert said[0] == code, said
    assert said[1] == ""
    assert said[2].startswith("fxcost: ")
    assert len(said[2].splitlines()) <= 2
    for word in words:
        assert word in said[2]


# Written


def test_a_file_keeps_its_mode_and_a_link_its_place(fxcost_command: Command, small_model: Path, tmp_path: Path) -> None:
    target, link = tmp_path / "kept" / "mine.csv", tmp_path / "link.csv"
    target.parent.mkdir()
    target.write_text("before")
    target.chmod(0o640)
    link.symlink_to("kept/mine.csv")
    before = target.stat().st_ino
    assert fxcost_command("trace", small_model, "-o", link)[0] == 0
    assert link.readlink() == Path("kept/mine.csv")
    assert target.read_text().startswith("layer,type,")
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert target.stat().st_ino != before  # another file in its place: whole at every moment
    assert os.listdir(target.parent) == ["mine.csv"]


@pytest.mark.parametrize("command", ["trace", "crossover -p l4", "lock"])
def test_what_cannot_be_written_is_told_before_anything_runs(
    fxcost_command: Command, tmp_path: Path, command: str
) -> None:
    """The model is none: it is not looked at."""
    name, *options = command.split()
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "link.json").symlink_to("nowhere.json")
    (tmp_path / "loop.json").symlink_to("loop.json")
    asked = (name, "no_such_model", *options, "-o")
    is_told(fxcost_command(*asked, tmp_path / "folder.json"), "folder.json: it is a directory; name a file in it")
    is_told(fxcost_command(*asked, tmp_path / "link.json"), "link.json: it is a link to nowhere.json, which is not")
    is_told(fxcost_command(*asked, tmp_path / "loop.json"), "loop.json")
    is_told(fxcost_command(*asked, "/no/such/folder/x.json"), "cannot write /no/such/folder/x.json: No such file")
    assert sorted(os.listdir(tmp_path)) == ["folder.json", "link.json", "loop.json"]


def test_a_pipe_is_written_to(fxcost_command: Command, small_model: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert fxcost_command("trace", small_model, "-o", pipe, "--format", "csv")[0] == 0
        assert os.read(reader, 100).startswith(b"layer,type,")
        assert stat.S_ISFIFO(pipe.stat().st_mode)
    finally:
        os.close(reader)


def test_a_device_is_written_to(fxcost_command: Command, small_model: Path) -> None:
    """A terminal of its own: where a device was replaced, nothing but this test would notice."""
    ours, theirs = os.openpty()
    try:
        code, _, said = fxcost_command("trace", small_model, "-o", os.ttyname(theirs), "--top", "1")
        assert code == 0, said
        assert b"rung" in os.read(ours, 1000)
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_file_that_stdout_goes_to_is_added_to(small_model: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    command = [sys.executable, "-m", "fxcost", "trace", small_model, "-f", "csv", "-o", "/dev/stdout"]
    with log.open("a") as stdout:
        subprocess.run(command, check=True, stdout=stdout, stderr=subprocess.DEVNULL)
    assert log.read_text().startswith("before\nlayer,type,")


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("x.csv", "layer,type,"),
        ("x.MD", "SMALL"),
        ("x.html", '<meta charset="utf-8">'),
        ("x.txt", "SMALL"),
        ("x.json", '{\n "schema_version"'),
    ],
)
def test_a_name_says_the_form(
    fxcost_command: Command, small_model: Path, tmp_path: Path, name: str, start: str
) -> None:
    assert fxcost_command("trace", small_model, "-o", tmp_path / name)[0] == 0
    assert (tmp_path / name).read_text().startswith(start.replace("SMALL", "Small  (eval, float32)"))
    if name == "x.json":
        assert fxcost_command("trace", tmp_path / name, "--at", "B=7", "-o", tmp_path / "seven.json")[0] == 0
        assert json.loads((tmp_path / "seven.json").read_text())["symbols"]["B"]["usual"] == 7


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("trace SAVED -o x.csv -f json", ["x.csv ends as csv does, and --format says json"]),
        ("trace SAVED -o x.json -f table", ["x.json ends as json does, and --format says table"]),
        ("trace SAVED -o x.parquet", ["x.parquet does not say its form", ".csv", "--format"]),
        ("trace SAVED -o x", ["x does not say its form"]),
        ("trace SAVED -o x.json --by op", ["--by, --depth and --top say which rows", "--format json"]),
        ("trace SAVED -o x.json --top 3", ["--by, --depth and --top say which rows"]),
        ("crossover SAVED -p l4 -o x.png", ["x.png is a picture's name", "--plot x.png"]),
        ("sweep SAVED -p l4 --over B=1 -o x.xlsx", ["x.xlsx does not say its form"]),
        ("roofline nothing -p l4 --plot x.csv", ["--plot x.csv: the name must end in .svg"]),
        ("roofline nothing -p l4 --plot /no/such/x.svg", ["cannot write /no/such/x.svg"]),
        ("diff SAVED SAVED -o x.tsv", ["x.tsv does not say its form"]),
        ("lock nothing -o x.toml", ["x.toml: a lock file's name must end in .json"]),
    ],
)
def test_names_that_say_no_form_or_another(
    fxcost_command: Command,
    small_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: str,
    words: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    is_told(fxcost_command(*arguments.replace("SAVED", str(small_model)).split()), *words)
    assert os.listdir(tmp_path) == []
