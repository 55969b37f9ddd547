"""Options of the command line: those that repeat, and what is typed in another case."""

import csv
import io
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

Command = Callable[..., tuple[int, str, str]]


def test_sizes_are_gathered(fxcost_command: Command, small_model: Path) -> None:
    apart = fxcost_command("trace", small_model, "--at", "B=2", "--at", "H=40,W=41")
    assert apart[0] == 0
    assert apart == fxcost_command("trace", small_model, "--at", "B=2,H=40,W=41")
    assert "total at B=2, H=40, W=41" in apart[1]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("trace SAVED --at B=1 --at B=2", 1, "--at gives B twice, 1 and 2"),
        ("trace SAVED --at B=1,B=1", 1, "--at gives B twice"),
        ("trace any.py:model --set width=3 --set width=4", 1, "--set gives width twice, 3 and '4'"),
        ("crossover SAVED -p l4 --platform l4", 1, "--platform names l4 twice"),
        ("trace SAVED --top 3 --top 4", 2, "trace takes --top once, and it is given 2 times"),
        ("trace SAVED -o a.csv -o b.csv", 2, "takes --output once"),
        ("trace SAVED -f csv --format json", 2, "takes --format once"),
        ("trace resnet18 -s B --symbolic H", 2, "takes --symbolic once"),
        ("trace SAVED --precision fp16 --precision fp32", 2, "takes --precision once"),
        ("crossover SAVED -p l4 --precision fp16 --precision fp16", 1, "--precision names fp16 twice"),
        ("sweep SAVED -p l4 --over B=1,2 --over B=4", 1, "--over gives B twice"),
        ("crossover SAVED -p l4 --over B --over H", 2, "takes --over once"),
        ("sweep SAVED -p l4 --over B=1:100:1 --over H=1:200:1", 1, "20,000 points in all; at most 10,000"),
        ("check a.json --tolerance 1% --tolerance 2%", 2, "takes --tolerance once"),
    ],
)
def test_nothing_takes_the_place_of_what_was_given(
    fxcost_command: Command, small_model: Path, arguments: str, code: int, words: str
) -> None:
    found, out, said = fxcost_command(*arguments.replace("SAVED", str(small_model)).split())
    assert (found, out) == (code, "")
    assert said.startswith("fxcost: ")
    assert len(said.splitlines()) <= 2
    assert words in said


@pytest.mark.parametrize("typed", ["FP16", "Fp16"])
def test_a_precision_a_machine_and_a_form_are_known_in_any_case(
    fxcost_command: Command, small_model: Path, typed: str
) -> None:
    asked = fxcost_command("crossover", small_model, "-p", "L4", "--precision", typed, "-f", "CSV")
    assert asked == fxcost_command("crossover", small_model, "-p", "l4", "--precision", "fp16", "-f", "csv")
    assert asked[0] == 0


@pytest.mark.parametrize(
    ("typed", "near"), [("float16", "fp16"), ("BFloat16", "bf16"), ("torch.float32", "fp32"), ("f16", "bf16, fp16")]
)
def test_what_torch_calls_a_precision_is_near(
    fxcost_command: Command, small_model: Path, typed: str, near: str
) -> None:
    code, out, said = fxcost_command("roofline", small_model, "-p", "l4", "--precision", typed)
    assert (code, out) == (1, "")
    assert f"unknown precision {typed!r}; near: {near};" in said


def test_a_machine_without_the_precision_is_a_row_that_says_so(fxcost_command: Command, small_model: Path) -> None:
    """A V100 multiplies nothing in bfloat16."""
    asked = (small_model, "-p", "l4", "-p", "v100-sxm2-32gb", "--precision", "bf16")
    why = "has no bf16 peak; it has: fp64, fp32, fp16"
    for command, column in (
        (("crossover", *asked), "outcome"),
        (("roofline", *asked), "bound"),
        (("sweep", *asked, "--over", "B=1,2"), "to_compute_bound"),
    ):
        code, out, said = fxcost_command(*command, "-f", "csv")
        assert code == 0, said
        *answers, row = csv.DictReader(io.StringIO(out))
        assert {each["platform"] for each in answers} == {"l4"}
        assert (row["platform"], row[column]) == ("v100-sxm2-32gb", why)
        assert f"v100-sxm2-32gb {why}" in fxcost_command(*command)[1]
    heading = next(line for line in fxcost_command("crossover", *asked)[1].splitlines() if line.startswith(" layer"))
    assert heading.split()[-1] == "v100-sxm2-32gb"
    code, out, said = fxcost_command(
        "crossover", small_model, "-p", "t4", "-p", "v100-sxm2-32gb", "--precision", "bf16"
    )
    assert (code, out, len(said.splitlines())) == (1, "", 1)
    assert "t4 has no bf16 peak" in said
    assert f"v100-sxm2-32gb {why}" in said


@pytest.mark.parametrize("command", [["fxcost"], ["python", "-m", "fxcost"]])
def test_the_version_by_either_name(command: list[str]) -> None:
    folder = Path(sys.executable).parent
    done = subprocess.run([folder / command[0], *command[1:], "--version"], check=True, capture_output=True, text=True)
    assert done.stdout == f"fxcost {version('fxcost')}\n"


@pytest.mark.parametrize(
    ("shell", "asked"),
    [
        ("bash", {"COMP_WORDS": "fxcost roofline x.json -p h100", "COMP_CWORD": "4"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "fxcost roofline x.json -p h100"}),
        (
            "fish",
            {
                "_TYPER_COMPLETE_ARGS": "fxcost roofline x.json -p h100",
                "_TYPER_COMPLETE_FISH_ACTION": "get-args",
            },
        ),
    ],
)
def test_shells_complete_machines(
    fxcost_command: Command, monkeypatch: pytest.MonkeyPatch, shell: str, asked: dict[str, str]
) -> None:
    """As each shell asks; what it is to be told is the names of the sheets that begin so."""
    monkeypatch.setenv("_FXCOST_COMPLETE", f"source_{shell}")
    code, script, _ = fxcost_command()
    assert (code, "_FXCOST_COMPLETE" in script) == (0, True)
    monkeypatch.setenv("_FXCOST_COMPLETE", f"complete_{shell}")
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    told = fxcost_command()[1]
    names = {path.stem for path in (Path(__file__).parents[1] / "specs" / "machines").glob("h100*.toml")}
    assert len(names) > 1
    assert set(re.findall(r"[a-z][0-9a-z]+-[-0-9a-z]+", told)) == names
