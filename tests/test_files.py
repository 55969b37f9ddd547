"""Files that users name, at the command line: where results are written, and what is read."""

import json
import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., tuple[int, str, str]]


def is_told(said: tuple[int, str, str], *words: str, code: int = 1) -> None:
    """Assert that a command ended with an error in one or two lines that hold these words."""
    assert said[0] == code, said
    assert said[1] == ""
    told = "".join(line for line in said[2].splitlines(keepends=True) if not line.endswith("with --fusion none\n"))
    assert told.startswith("fxcost: ")
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
        (
            "trace SAVED -o x.json --by op",
            ["--by, --depth, --top and --precision say what a report shows", "--format json"],
        ),
        ("trace SAVED -o x.json --top 3", ["--by, --depth, --top and --precision say what a report shows"]),
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


# Read


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory, small_records: Path) -> Path:
    """A folder of files that never end, fill the memory or take an age, each under several endings."""
    folder = tmp_path_factory.mktemp("strange")
    l4 = (Path(__file__).parents[1] / "specs" / "machines" / "l4.toml").read_text()
    for ending in ("toml", "json", "py", "pt2"):
        (folder / f"zero.{ending}").symlink_to("/dev/zero")
        os.mkfifo(folder / f"pipe.{ending}")
        with (folder / f"huge.{ending}").open("wb") as huge:
            huge.truncate(2**40)
    (folder / "year.toml").write_text(re.sub("year = .*", "year = 1e99999999", l4))
    (folder / "digits.toml").write_text(l4.replace("300e9", "9" * 3000))
    (folder / "longer.toml").write_text(l4.replace("300e9", "9" * 5000))
    (folder / "deep.toml").write_text("a = " + "[" * 3000)
    (folder / "keys.toml").write_text(".".join(["a"] * 30_000) + " = 1")
    (folder / "empty.toml").write_text(re.sub(r"(?s)\[peak.*?(?=\n\[memory)", "[peak]\n", l4))
    (folder / "deep.json").write_text('{"a":' * 10**6)
    edits: dict[str, Callable[[Any], object]] = {
        "usual": lambda d: d["symbols"]["B"].update(usual=10**30),
        "params": lambda d: d["layers"][0].update(params=10**4000),
        "digits": lambda d: d["layers"][0].update(params=10**4000),
        "flops": lambda d: d["layers"][0].update(flops="9" * 900),
        "dtype": lambda d: d["layers"][0]["reads"]["weight"].update(float99="3"),
        "own": lambda d: d["model"].update(dtype="float99"),
        "role": lambda d: d["layers"][0]["reads"].update(wieght={}),
        "none": lambda d: d.update(layers=[]),
        "shape": lambda d: d["layers"][0]["inputs"].append(["9" * 900 + "**8"]),
        "wide": lambda d: d["layers"][0].update(outputs=[["9" * 900 + "**8"]]),
        "later": lambda d: d["layers"][0].update(flops="(B-1)*" + "9" * 400, macs="0"),
    }
    for name, edit in edits.items():
        document = json.loads(small_records.read_text())
        edit(document)
        (folder / f"{name}.json").write_text(json.dumps(document))
    return folder


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("platforms --lint zero.toml", ["zero.toml: it is a device or a pipe"]),
        ("platforms --lint pipe.toml", ["pipe.toml: it is a device or a pipe"]),
        ("platforms --lint huge.toml", ["huge.toml is larger than 64 KiB"]),
        ("roofline SAVED -p year.toml", ["year.toml: year: should be a valid integer"]),
        ("roofline SAVED -p longer.toml", ["longer.toml is not a readable TOML file: Exceeds the limit (4300 digits)"]),
        ("roofline SAVED -p digits.toml", ["byte_per_s: should be less than"]),
        ("platforms --lint deep.toml", ["deep.toml is not a readable TOML file: maximum recursion"]),
        ("platforms --lint keys.toml", ["keys.toml has a line of more than 6000 characters"]),
        ("roofline SAVED -p empty.toml", ["l4 publishes no peak of its matrix unit"]),
        ("trace zero.json", ["zero.json: it is a device or a pipe"]),
        ("check pipe.json", ["pipe.json: it is a device or a pipe"]),
        ("diff huge.json SAVED", ["huge.json is larger than"]),
        ("trace deep.json", ["deep.json is not a saved model: maximum recursion"]),
        ("lock any -o zero.json", ["zero.json: it is a device or a pipe"]),
        ("trace zero.py:model", ["zero.py: it is a device or a pipe"]),
        ("trace pipe.py:model", ["pipe.py: it is a device or a pipe"]),
        ("trace huge.py:model", ["huge.py is larger than"]),
        ("trace resnet18 --plugin pipe.py", ["--plugin cannot read pipe.py: it is a device or a pipe"]),
        ("trace pipe.pt2", ["pipe.pt2: it is a device or a pipe"]),
        ("trace hf:zero.json", ["zero.json: it is a device or a pipe"]),
        ("trace usual.json", ["symbols.B.usual: Input should be less than"]),
        ("trace params.json", ["layers.0.params: Input should be less than"]),
        ("trace flops.json", ["layer 'conv'.flops is beyond 10^200"]),
        ("trace dtype.json", ["layer 'conv'.reads.weight: unknown dtype 'float99'; near: float"]),
        ("trace own.json", ["model: unknown dtype 'float99'"]),
        ("trace role.json", ["layer 'conv'.reads: unknown role 'wieght'; near: weight"]),
        ("roofline none.json -p l4", ["Small computes nothing and moves nothing"]),
        ("sweep none.json -p l4 --over B=1,2", ["Small computes nothing"]),
        ("explain shape.json conv", ["at most 1000 digits can be printed"]),
        ("trace wide.json", ["a number here is too large"]),
        ("crossover later.json -p l4", ["a number here is too large"]),
        ("sweep SAVED -p l4 --over B=MANY", ["--over B lists 30000 values; at most 10000 are tried"]),
        ("sweep SAVED -p l4 --over B=1:1000000000000:1", ["has more than 10000 values"]),
        ("sweep SAVED -p l4 --over B=1:DIGITS:*2", ["--over B: 99999999999999999999… is more than 10^15"]),
        ("sweep SAVED -p l4 --over B=DIGITS", ["--over B: 99999999999999999999… is more than 10^15"]),
        ("trace SAVED --at B=DIGITS", ["--at B: 99999999999999999999… is more than 10^15"]),
        ("trace resnet18 --symbolic B%DIGITS", ["--symbolic: 99999999999999999999… is more than 10^15"]),
        ("trace resnet18 --input x:float32[DIGITS]", ["--input x: 99999999999999999999… is more than 10^15"]),
        ("trace resnet18 --at B=1000000000000000", ["has more than 2^58 elements at B=1000000000000000"]),
        ("check any.json --tolerance 1e-999999999", ["--tolerance '1e-999999999' is not a share"]),
        ("check any.json --tolerance 1e999999999", ["--tolerance '1e999999999' is not a share"]),
    ],
)
def test_what_would_never_end_is_told(
    fxcost_command: Command,
    small_model: Path,
    strange: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: str,
    words: list[str],
) -> None:
    """Without the checks these wait for a pipe, read a device for ever, or fill the memory."""
    monkeypatch.chdir(strange)
    stand_ins = {"SAVED": str(small_model), "MANY": ",".join(map(str, range(1, 30_001))), "DIGITS": "9" * 5000}
    for name, text in stand_ins.items():
        arguments = arguments.replace(name, text)
    is_told(fxcost_command(*arguments.split()), *words)


# Printed


def test_names_of_a_file_do_not_speak_to_the_terminal(
    fxcost_command: Command, small_records: Path, tmp_path: Path
) -> None:
    """A colour, a bell, a second line, the C1 form of a colour, text turned around, half a character."""
    hostile = "\x1b[31mred\x07\nline\x9b32m\u202e\ud800"
    shown = r"\x1b[31mred\x07\nline\x9b32m\u202e\ud800"
    document = json.loads(small_records.read_text())
    document["model"]["ref"] = document["layers"][0]["name"] = hostile
    document["assumptions"].append(hostile)
    document["modules"]["conv"] = hostile
    document["layers"][0]["reason"] = document["layers"][0]["op"] = hostile
    saved = tmp_path / "hostile.json"
    saved.write_text(json.dumps(document))
    for form in ("table", "md", "csv", "json", "html"):
        code, out, err = fxcost_command("trace", saved, "-f", form)
        assert code == 0, err
        assert shown.replace("\\", "\\\\" if form == "json" else "\\") in out
        assert all(each.isprintable() or each == "\n" for each in out), form
    for arguments in (("explain", saved, "none"), ("crossover", saved, "-p", "l4", "--over", "Q")):
        is_told(said := fxcost_command(*arguments), shown)
        assert said[2].replace("\n", "").isprintable()
    is_told(fxcost_command("trace", tmp_path / "\x1b[31m\udcff.json"), r"\x1b[31m\udcff.json")
    assert fxcost_command("explain", saved, shown)[0] == 0


def test_a_name_is_drawn_as_it_is(fxcost_command: Command, small_records: Path, tmp_path: Path) -> None:
    """matplotlib reads what stands between dollars as mathematics, and this as broken."""
    document = json.loads(small_records.read_text())
    document["model"]["ref"] = r"a$\bad$b"
    (tmp_path / "dollars.json").write_text(json.dumps(document))
    machine = (Path(__file__).parents[1] / "specs" / "machines" / "l4.toml").read_text()
    (tmp_path / "dollars.toml").write_text(machine.replace('name = "l4"', "name = 'l$\\bad$4'"))
    asked = (tmp_path / "dollars.json", "-p", tmp_path / "dollars.toml", "--plot", tmp_path / "x.svg")
    for command in (("roofline", *asked), ("sweep", *asked, "--over", "B=1,2")):
        code, _, said = fxcost_command(*command)
        assert code == 0, said
        assert r"a$\bad$b" in (tmp_path / "x.svg").read_text()


def test_names_of_a_model_do_not_speak_to_the_terminal(fxcost_command: Command, tmp_path: Path) -> None:
    model = tmp_path / "hostile\u202e_model.py"
    model.write_text(
        "import torch\nfrom torch import nn\n"
        "class Hostile(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.parts = nn.ModuleDict({'\\x1b[31mred\\n\\x9b32m': nn.Linear(3, 4)})\n"
        "    def forward(self, x):\n"
        "        return next(iter(self.parts.values()))(x)\n"
        "def hostile(): return Hostile(), torch.zeros(2, 3)\n"
        "def failing(): raise ValueError('\\x1b[31mred')\n"
    )
    for form in ("table", "md", "csv", "json", "html"):
        code, out, err = fxcost_command("trace", f"{model}:hostile", "-f", form)
        assert code == 0, err
        assert "[31mred" in out
        assert all(each.isprintable() or each == "\n" for each in out), form
    is_told(said := fxcost_command("trace", f"{model}:failing"), r"\x1b[31mred")
    assert said[2].isprintable()


# Streams that take nothing


@pytest.mark.parametrize("arguments", ["trace SAVED", "--help", "--version", "platforms l4 -f json"])
@pytest.mark.parametrize("stdout", ["/dev/full", "closed"])
def test_a_report_that_nobody_gets_is_no_success(small_model: Path, arguments: str, stdout: str) -> None:
    command = shlex.join([sys.executable, "-m", "fxcost", *arguments.replace("SAVED", str(small_model)).split()])
    redirected = f"{command} {'>&-' if stdout == 'closed' else f'> {stdout}'}"
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(["/bin/sh", "-c", redirected], capture_output=True, text=True, check=False, env=buffered)
    is_told((done.returncode, done.stdout, done.stderr.strip()), "cannot write to stdout")
