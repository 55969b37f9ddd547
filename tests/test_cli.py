"""The command line: what it prints, and what it says of bad input."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., tuple[int, str, str]]

MODELS = '''
import torch
from torch import nn

class Twice(nn.Module):
    """Two inputs, one of them only by keyword."""
    def __init__(self, width=8):
        super().__init__()
        self.inner = nn.Conv1d(80, width, 3)

    def forward(self, sound, *, mask=None):
        return self.inner(sound) * mask[:, None, 2:]

def twice(width=8):
    return Twice(width)

def broken():
    raise ValueError("out of luck")

def number():
    return 3
'''


OPAQUE = """
import torch
from torch import nn

class Opaque(nn.Module):
    def forward(self, x):
        return torch.ops.cli_test.opaque(x) + 1

torch.library.define("cli_test::opaque", "(Tensor x) -> Tensor")
torch.library.register_fake("cli_test::opaque", lambda x: x.clone())
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "models_of_mine.py"
    path.write_text(MODELS)
    return path


@pytest.fixture(scope="module")
def opaque(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "opaque_model.py"
    path.write_text(OPAQUE)
    return path


def in_a_process(*arguments: object) -> tuple[int, str, str]:
    script = Path(sys.executable).parent / "fxcost"
    done = subprocess.run([script, *map(str, arguments)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


# Bad input


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trace", "resnet5O"], ["no model is named 'resnet5O'", "resnet50"]),
        (["trace", "torchvision:resnet5"], ["torchvision has no model 'resnet5'", "resnet50"]),
        (["trace", "timm:resnet18x"], ["timm has no model 'resnet18x'", "resnet18"]),
        (["trace", "hf:no/such/place"], ["hf:no/such/place", "no such file or directory"]),
        (["trace", "no_such_package.models:tiny"], ["no_such_package.models: no such module"]),
        (["trace", "nowhere.py:tiny"], ["cannot read nowhere.py: No such file"]),
        (["trace", "nowhere.json"], ["cannot read nowhere.json"]),
        (["trace", "nowhere.pt2"], ["cannot read nowhere.pt2: No such file"]),
        (["trace", "MODELS:twise"], ["has no factory 'twise'", "twice"]),
        (["trace", "MODELS:broken"], ["raised ValueError: out of luck"]),
        (["trace", "MODELS:number"], ["gives a int, not a torch.nn.Module"]),
        (["trace", "MODELS:twice"], ["says nothing of its inputs", "sound, mask"]),
        (["trace", "MODELS:twice", "--set", "wdth=3"], ["does not take --set wdth=3"]),
        (["trace", "MODELS:twice", "--set", "width"], ["--set 'width' is not of the form key=value"]),
        (["trace", "MODELS:twice", "--input", "sond: float32[B,80,T]"], ["no input 'sond'", "sound"]),
        (["trace", "MODELS:twice", "--input", "sound: float23[B,80,T]"], ["unknown dtype 'float23'", "float32"]),
        (["trace", "MODELS:twice", "--input", "sound float32"], ["is not of the form 'name: dtype[dims]'"]),
        (["trace", "MODELS:twice", "--input", "sound: float32[B,80,T]"], ["no usual size is known for T", "--at T=64"]),
        (["trace", "resnet18", "--symbolic", "B,Q"], ["no input of torchvision:resnet18 has a symbol Q", "x: float32"]),
        (["trace", "resnet18", "--symbolic", "B%0"], ["--symbolic 'B%0'"]),
        (["trace", "resnet18", "--at", "B"], ["--at 'B' is not a size such as B=8"]),
        (["trace", "resnet18", "--at", "B=0"], ["--at 'B=0' is not a size"]),
        (["trace", "resnet18", "--at", "Z=3"], ["--at Z=3: no input has a symbol Z"]),
        (["trace", "resnet18", "--plugin", "no_such_plugin"], ["--plugin no_such_plugin"]),
        (["trace", "SAVED", "--symbolic", "B"], ["--symbolic needs the model"]),
        (["trace", "SAVED", "--attention", "math"], ["--attention needs the model"]),
        (["trace", "SAVED", "--leaf", "conv"], ["--leaf needs the model"]),
        (["trace", "SAVED", "--causal-skip"], ["--causal-skip needs the model"]),
        (["trace", "SAVED", "--at", "Q=3"], ["has no symbol Q; it has B, H, W"]),
        (["trace", "SAVED", "--at", "h=3"], ["has no symbol h; near: H; it has B, H, W"]),
        (["trace", "SAVED", "--output", "/no/such/folder/x.json"], ["cannot write /no/such/folder/x.json"]),
        (["crossover", "SAVED", "--platform", "h100"], ["unknown platform 'h100'", "h100-sxm5-80gb"]),
        (["crossover", "SAVED", "--platform", "l4", "--precision", "fp4"], ["l4 has no fp4 peak; it has:"]),
        (["crossover", "SAVED", "--platform", "l4", "--precision", "fp17"], ["unknown precision 'fp17'", "fp16"]),
        (["crossover", "SAVED", "--platform", "coral-edge-tpu", "--precision", "int8"], ["no memory bandwidth"]),
        (["crossover", "SAVED", "--platform", "l4", "--over", "Q"], ["has no symbol Q", "it has B, H, W"]),
        (["crossover", "SAVED", "--platform", "l4", "--at", "B=3"], ["--at gives B a size, and --over asks"]),
        (["sweep", "SAVED", "--platform", "l4", "--over", "B=9:3:1"], ["has no values"]),
        (["sweep", "SAVED", "--platform", "l4", "--over", "B"], ["is not of the form B=1:1024:*2"]),
        (["sweep", "SAVED", "--platform", "l4", "--over", "B=1", "--plot", "x.bmp"], [".svg, .png"]),
        (["roofline", "SAVED", "--platform", "./no.toml"], ["no.toml"]),
        (["platforms", "a100"], ["unknown platform 'a100'", "a100-sxm4-80gb"]),
    ],
)
def test_bad_input_is_told_in_two_lines(
    fxcost_command: Command, models: Path, small_model: Path, arguments: list[str], words: list[str]
) -> None:
    stand_ins = {"SAVED": str(small_model)}
    said = fxcost_command(*(stand_ins.get(a, a.replace("MODELS", str(models))) for a in arguments))
    code, out, err = said
    assert code == 1
    assert out == ""
    assert len(err.splitlines()) <= 2
    assert err.startswith("fxcost: ")
    for word in words:
        assert word in err


def test_usage_errors_exit_2(fxcost_command: Command) -> None:
    assert fxcost_command("trace", "resnet18", "--no-such-option")[0] == 2
    assert fxcost_command("trace")[0] == 2


def test_debug_shows_the_traceback(fxcost_command: Command) -> None:
    from fxcost.errors import FxcostError

    with pytest.raises(FxcostError):
        fxcost_command("--debug", "trace", "nowhere.json")


def test_a_size_outside_the_range_names_the_bound(fxcost_command: Command, tmp_path: Path, small_records: Path) -> None:
    document = json.loads(small_records.read_text())
    document["symbols"]["B"] = {"min": 2, "max": 64, "multiple_of": 2, "usual": 2}
    path = tmp_path / "ranged.json"
    path.write_text(json.dumps(document))
    assert "B=1 is below 2" in fxcost_command("trace", path, "--at", "B=1")[2]
    assert "B=66 is above 64" in fxcost_command("trace", path, "--at", "B=66")[2]
    assert "B=7 is not a multiple of 2" in fxcost_command("trace", path, "--at", "B=7")[2]


def test_strict_refuses_unknown_operators_with_3(opaque: Path) -> None:
    """In processes of their own, for an operator can be defined once in each."""
    asked = ("trace", f"{opaque}:Opaque", "--input", "x: float32[B,4]")
    code, out, err = in_a_process(*asked)
    assert code == 0, err
    assert "unknown: cli_test.opaque.default ×1" in out
    assert "≥ " in out
    saved = opaque.with_suffix(".json")
    assert in_a_process(*asked, "-o", saved)[0] == 0
    assert in_a_process("crossover", saved, "-p", "l4", "--strict")[0] == 3
    code, out, err = in_a_process(*asked, "--strict")
    assert (code, out) == (3, "")
    assert "cli_test.opaque" in err


def test_a_two_stage_detector_is_refused_in_two_lines(fxcost_command: Command) -> None:
    code, out, err = fxcost_command("trace", "fasterrcnn_resnet50_fpn")
    assert (code, out, len(err.splitlines())) == (1, "", 2)
    assert "decides by the values of its data" in err


# What it prints


def test_inputs_by_keyword_and_factory_settings(fxcost_command: Command, models: Path) -> None:
    """Conv1d of width w over T samples: 2·80·w·3·(T − 2) FLOPs, and w·(T − 2) for the mask."""
    inputs = ("--input", "sound: float32[B,80,T]", "--input", "mask: float32[B,T]", "--at", "T=12,B=2")
    code, out, err = fxcost_command("trace", f"{models}:twice", "--set", "width=4", *inputs, "--format", "csv")
    assert code == 0, err
    rows = {row["layer"]: row for row in csv.DictReader(io.StringIO(out))}
    assert int(rows["inner"]["flops_at"]) == 2 * (2 * 80 * 4 * 3) * 10
    assert int(rows["mul"]["flops_at"]) == 2 * 4 * 10


def test_every_form_has_the_same_numbers(fxcost_command: Command, small_model: Path) -> None:
    """The convolution: 2·27·8 FLOPs for each of 112·112 outputs."""
    flops = 2 * 27 * 8 * 112 * 112
    at = ("--at", "B=1,H=224,W=224")
    rows = json.loads(fxcost_command("trace", small_model, *at, "--format", "json")[1])["rows"]
    assert next(r for r in rows if r["layer"] == "conv")["flops_at"] == flops
    table = fxcost_command("trace", small_model, *at)[1]
    assert table.startswith("Small  (eval, float32)  at B=1, H=224, W=224")
    assert " MFLOPs " in table
    assert f"{flops / 1e6:.3f}" in table
    assert f"{flops / 1e6:.3f}" in fxcost_command("trace", small_model, *at, "--format", "md")[1]
    by_module = fxcost_command("trace", small_model, *at, "--depth", "1")[1]
    assert f"{flops / 1e6:.3f}" in by_module


def test_floors_are_printed_as_floors(fxcost_command: Command, small_model: Path) -> None:
    assert "432·B·(⌊(H−1)/2⌋+1)·(⌊(W−1)/2⌋+1)" in fxcost_command("trace", small_model)[1]


def test_crossover_over_several_platforms(fxcost_command: Command, small_model: Path) -> None:
    code, out, err = fxcost_command("crossover", small_model, "-p", "l4", "-p", "t4", "--precision", "fp16")
    assert code == 0, err
    assert "l4 " in out
    assert "t4 " in out
    long = fxcost_command("crossover", small_model, "-p", "l4", "-p", "t4", "--precision", "fp16", "-f", "csv")[1]
    rows = list(csv.DictReader(io.StringIO(long)))
    assert {row["platform"] for row in rows} == {"l4", "t4"}
    assert {row["outcome"] for row in rows if not row["layer"].startswith("(")} == {"never"}
    assert [row["layer"] for row in rows if row["layer"].startswith("(")] == 2 * ["(whole call)", "(weights and cache)"]


def test_sweep_writes_plots(fxcost_command: Command, small_model: Path, tmp_path: Path) -> None:
    for name, start in (("s.svg", b"<?xml"), ("s.png", b"\x89PNG")):
        target = tmp_path / name
        code, out, err = fxcost_command("sweep", small_model, "-p", "l4", "--over", "B=1:8:*2", "--plot", target)
        assert code == 0, err
        assert target.read_bytes().startswith(start)
        assert out.count("\n") > 8
    assert fxcost_command("roofline", small_model, "-p", "l4", "--plot", tmp_path / "r.svg")[0] == 0
    assert b"ridge 101.0" in (tmp_path / "r.svg").read_bytes()  # 30.3 TFLOP/s of float32 over 300 GB/s


def test_platforms_are_listed_shown_and_linted(fxcost_command: Command, tmp_path: Path) -> None:
    listed = json.loads(fxcost_command("platforms", "--format", "json")[1])["rows"]
    assert len(listed) == 68
    shown = fxcost_command("platforms", "h100-sxm5-80gb")[1]
    assert "memory.bandwidth" in shown
    assert "3.35 TB/s" in shown
    good = Path(__file__).parents[1] / "specs" / "machines" / "l4.toml"
    assert fxcost_command("platforms", "--lint", good)[0] == 0
    bad = tmp_path / "mine.toml"
    bad.write_text(good.read_text().replace("byte_per_s = 300e9", "byte_per_s = 3350e9"))
    code, out, _ = fxcost_command("platforms", "--lint", bad)
    assert code == 4
    assert "bandwidth" in out


def test_a_saved_file_needs_no_torch(tmp_path: Path) -> None:
    """`crossover` of a saved ResNet-50."""
    saved = tmp_path / "r.json"
    assert in_a_process("trace", "resnet50", "--symbolic", "H,W,B", "-o", saved)[0] == 0
    check = (
        "import sys, fxcost.cli.main\n"
        "try: fxcost.cli.main.main()\n"
        "finally: print('LOADED', sorted({'torch', 'numpy', 'torchvision'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", check, "crossover", saved, "-p", "h100-sxm5-80gb", "--precision", "fp16"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "LOADED []" in done.stdout
    # fc: 295.34·4,098,000 B/(4,096,000 FLOP − 295.34·6,096 B) = 527.2, of 2,049,000 weights and 2,048 + 1,000 activations
    assert "from B = 528 (527.2)" in done.stdout


def test_no_colour_where_there_is_no_terminal(small_model: Path) -> None:
    script = Path(sys.executable).parent / "fxcost"
    command = [script, "roofline", small_model, "-p", "l4"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
    assert "\x1b" not in done.stdout
    assert " memory " in done.stdout
