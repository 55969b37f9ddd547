"""`fxcost fit`, and what roofline and sweep say of memory."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fxcost.api import load

Command = Callable[..., tuple[int, str, str]]
TINY = """
name = "tiny"
title = "a machine of a megabyte"
vendor = "nobody"
kind = "gpu"
year = 2026

[sources]
own = "made up for a test"

[peak.matrix]
fp32 = {flop_per_s = 1e12, source = "own"}

[peak.vector]
fp32 = {flop_per_s = 1e12, source = "own"}

[memory]
type = "GDDR6"
capacity = {bytes = 1e6, source = "own"}
bandwidth = {byte_per_s = 1e9, source = "own"}
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


def test_fit_tells_formula_parts_and_largest(fxcost_command: Command, small_model: Path, tiny: Path) -> None:
    """By hand, at 33 by 35: images of 3·33·35, maps of 8·17·18, means of 8 and results of 10, four bytes each."""
    code, printed, said = fxcost_command(
        "fit", small_model, "-p", tiny, "--at", "H=33,W=35", "--fusion", "none", "-f", "json"
    )
    assert (code, said) == (0, "")
    document = json.loads(printed)
    weights, image, maps = 4 * (8 * 3 * 3 * 3 + 8 * 10 + 10), 4 * 3 * 33 * 35, 4 * 8 * 17 * 18
    (row,) = document["rows"]
    held = image + 2 * maps
    assert row["largest"] == (10**6 - weights) // held
    assert row["held_bytes"] == weights + row["largest"] * held
    assert row["binds"] == "activations"
    _, printed, _ = fxcost_command("fit", small_model, "-p", tiny, "--at", "H=33,W=35", "--fusion", "none")
    assert "lifetimes    observed" in printed
    assert f"holds        1.224 kB + {held / 1000:.4g} kB·B at relu" in printed
    assert "inputs       13.86 kB·B" in printed


def test_a_share_of_memory_and_several_machines(fxcost_command: Command, small_model: Path, tiny: Path) -> None:
    code, printed, _ = fxcost_command(
        "fit", small_model, "-p", tiny, "-p", "l4", "-p", "coral-edge-tpu", "--memory", "50%", "-f", "csv"
    )
    assert code == 0
    small, large, none = csv.DictReader(io.StringIO(printed))
    assert (small["usable_bytes"], large["usable_bytes"]) == ("500000", "12000000000")
    assert int(large["largest"]) > 20_000 * int(small["largest"]) > 0
    assert none["binds"].startswith("publishes no memory capacity")


def test_formats_let_more_fit(fxcost_command: Command, small_model: Path, tiny: Path) -> None:
    def largest(*more: str) -> int:
        code, printed, said = fxcost_command("fit", small_model, "-p", tiny, "-f", "csv", *more)
        assert code == 0, said
        return int(next(csv.DictReader(io.StringIO(printed)))["largest"])

    plain, half = largest("--at", "H=33,W=35"), largest("--at", "H=33,W=35", "--precision", "fp16")
    assert 2 * plain <= half <= 2 * plain + 1
    height, costs = largest("--over", "H", "--at", "B=1,W=35"), load(small_model)
    assert costs.memory(B=1, H=height, W=35).peak <= 10**6 < costs.memory(B=1, H=height + 1, W=35).peak


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-p", "l4", "--memory", "120%"), "memory '120%' is no share"),
        (("-p", "coral-edge-tpu"), "coral-edge-tpu publishes no memory capacity"),
        (("-p", "l4", "--over", "S"), "has no symbol S"),
        (("-p", "l4", "-p", "l4"), "names l4 twice"),
        (("-p", "l4", "--precision", "fp99"), "fp99"),
    ],
)
def test_bad_input_is_told_in_a_line(
    arguments: tuple[str, ...], message: str, fxcost_command: Command, small_model: Path
) -> None:
    code, printed, said = fxcost_command("fit", small_model, *arguments)
    assert (code, printed) == (1, "")
    assert message in said
    assert len(said.splitlines()) <= 2


def test_a_file_of_before_is_refused_by_name(fxcost_command: Command, small_records: Path) -> None:
    code, _, said = fxcost_command("fit", small_records, "-p", "l4")
    assert code == 1
    assert str(small_records) in said
    assert "trace the model again" in said


def test_nothing_fits(fxcost_command: Command, small_model: Path, tiny: Path) -> None:
    _, printed, _ = fxcost_command("fit", small_model, "-p", tiny, "--at", "H=1000,W=1000")
    assert "not even B=1 fits" in printed


def test_throughput_is_marked_where_memory_has_ended(fxcost_command: Command, small_model: Path, tiny: Path) -> None:
    _, printed, _ = fxcost_command(
        "sweep", small_model, "-p", tiny, "--over", "B=8,64", "--at", "H=33,W=35", "--fusion", "none"
    )
    fits, ended = (line for line in printed.splitlines() if line.strip().startswith(("8 ", "64 ")))
    assert "✗" not in fits
    assert "✗" in ended
    assert "less memory than is held" in printed
    _, printed, _ = fxcost_command(
        "sweep", small_model, "-p", tiny, "--over", "B=8,64", "--at", "H=33,W=35", "--fusion", "none", "-f", "csv"
    )
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert [row["fits"] for row in rows] == ["True", "False"]
    assert [int(row["held_bytes"]) for row in rows] == [1224 + size * (13_860 + 2 * 9792) for size in (8, 64)]


def test_a_roofline_says_whether_it_fits(fxcost_command: Command, small_model: Path, tiny: Path) -> None:
    _, printed, _ = fxcost_command("roofline", small_model, "-p", tiny, "--at", "B=8,H=33,W=35")
    assert "GB held of 0.001." in printed
    assert "✗" not in printed
    _, printed, _ = fxcost_command("roofline", small_model, "-p", tiny, "--at", "B=64,H=33,W=35")
    assert "samples/s ✗" in printed
    assert "does not fit" in printed


def test_a_file_of_before_has_no_such_column(fxcost_command: Command, small_records: Path) -> None:
    _, printed, _ = fxcost_command("sweep", small_records, "-p", "l4", "--over", "B=8,64")
    assert "GB " not in printed.splitlines()[3]
