"""Files of the user: what a broken one is told, and what a figure keeps of what was written."""

from decimal import Decimal
from pathlib import Path

import pytest

from fxcost.errors import FxcostError
from fxcost.machines.sheets import load_platform

MINIMAL = """
name = "box"
title = "A box"
vendor = "nobody"
kind = "gpu"
year = 2025

[sources]
datasheet = "the label on the box"

[peak.matrix]
fp16 = {flop_per_s = 100e12, source = "datasheet"}

[memory]
type = "GDDR6"
bandwidth = {byte_per_s = 0.5e12, source = "datasheet"}
"""


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """A valid file; tests break one thing in it."""
    file = tmp_path / "box.toml"
    file.write_text(MINIMAL)
    return file


def broken(file: Path, old: str, new: str) -> str:
    """The message when ``old`` is replaced by ``new`` in a valid file."""
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))
    with pytest.raises(FxcostError) as raised:
        load_platform(str(file))
    message = str(raised.value)
    assert message.startswith(str(file))
    assert len(message.splitlines()) <= 2
    return message.removeprefix(str(file))


def test_a_path_loads(box: Path) -> None:
    assert load_platform(str(box)).ridge("matrix", "fp16") == 200


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('year = 2025', 'year = ', "not a readable TOML file"),
        ("[memory]", 'fp8 = {flop_per_s = 1e12, source = "datasheet"}\nfp8 = {flop_per_s = 2e12, source = "datasheet"}\n[memory]', "overwrite"),
        ("[memory]", 'float8_e8m0fnu = {flop_per_s = 1e12, source = "datasheet"}\n[memory]', "peak.matrix.float8_e8m0fnu: unknown key"),
        ('year = 2025', 'year = 2025\ncolour = "red"', "colour: unknown key"),
        ('kind = "gpu"', 'kind = "fpga"', "kind: "),
        ('title = "A box"\n', "", "title: missing"),
        ('100e12, source = "datasheet"', "100e12", "peak.matrix.fp16: no source"),
        ('100e12, source = "datasheet"', '100e12, source = "datashet"', "peak.matrix.fp16: source 'datashet' is not in [sources]; near: datasheet"),
        ('"the label on the box"', '""', "sources.datasheet"),
        ("100e12, source", '100e12, computed = "1 x 2", source', "peak.matrix.fp16: computed stands alone"),
        ("100e12", "-100e12", "peak.matrix.fp16.flop_per_s"),
        ("100e12", "0", "peak.matrix.fp16.flop_per_s"),
        ("100e12", "nan", "peak.matrix.fp16.flop_per_s"),
        ("100e12", "inf", "peak.matrix.fp16.flop_per_s"),
        ("100e12", "true", "peak.matrix.fp16.flop_per_s: True is not a number"),
        ("100e12", '"100e12"', "peak.matrix.fp16.flop_per_s: '100e12' is not a number"),
        ("100e12", "1e-999999", "peak.matrix.fp16.flop_per_s"),
        ("100e12", "1e99999999999999999999", ""),
        ("flop_per_s", "op_per_s", "peak.matrix.fp16.flop_per_s: missing"),
        ("flop_per_s", "tflops", "peak.matrix.fp16.flop_per_s: missing"),
        ('{byte_per_s = 0.5e12, source = "datasheet"}', "0.5e12", "memory.bandwidth"),
        ("year = 2025", "x = " + "[" * 5000, "not a readable TOML file"),
    ],
)  # fmt: skip
def test_a_broken_file_is_told_by_file_and_key(box: Path, old: str, new: str, said: str) -> None:
    assert said in broken(box, old, new)


def test_a_file_that_is_not_text(box: Path) -> None:
    box.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FxcostError, match=r"box\.toml is not a readable TOML file"):
        load_platform(str(box))


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    for name in ("nowhere.toml", "folder.toml"):
        with pytest.raises(FxcostError, match=f"cannot read .*{name}"):
            load_platform(str(tmp_path / name))


def test_sources_that_are_no_table(box: Path) -> None:
    assert broken(box, '[sources]\ndatasheet = "the label on the box"', "sources = [1]").startswith(": sources: ")


def test_measured_figures_keep_their_unit() -> None:
    measured = {
        m.metric: (m.value, m.unit)
        for name in ("raspberry-pi-4", "h100-pcie-80gb")
        for m in load_platform(name).measured
    }
    assert measured["power_hpl"] == (Decimal("7.2"), "watts")
    assert measured["l2_read_per_clk"] == (Decimal("4472.3"), "byte_per_clock")
