"""The lint: silent on every file shipped, and naming each error that published hardware tables really carried."""

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from fxcost.errors import FxcostError
from fxcost.machines.lint import lint
from fxcost.machines.sheets import Platform, load_platform, platform_names

SPECS = Path(__file__).parent.parent / "specs" / "machines"

Edit = Callable[..., Platform]


@pytest.fixture
def edited(tmp_path: Path) -> Edit:
    """A shipped machine with pieces of its file replaced, each of which must stand there once."""

    def edit(name: str, *replacements: tuple[str, str]) -> Platform:
        text = (SPECS / f"{name}.toml").read_text()
        for old, new in replacements:
            assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {name}"
            text = text.replace(old, new)
        file = tmp_path / f"{name}.toml"
        file.write_text(text)
        return load_platform(str(file))

    return edit


def rules(platform: Platform, key: str) -> set[str]:
    """The rules that found something at a key."""
    return {line.rsplit("[", 1)[1].rstrip("]") for line in lint(platform) if line.startswith(f"{key}: ")}


@pytest.mark.parametrize("name", platform_names())
def test_a_shipped_file_is_clean(name: str) -> None:
    assert lint(load_platform(name)) == ()


def test_exemptions_are_few_and_reasoned() -> None:
    """Eight figures are odd and true; a ninth needs a look at whether the rule or the figure is wrong."""
    marks = [mark for name in platform_names() for mark in load_platform(name).exempt]
    assert len(marks) == 8
    assert all(len(mark.reason) > 20 for mark in marks)


# ---- the four published errors

L4_BANDWIDTH = "byte_per_s = 300e9"
L4_FP16 = 'fp16 = {flop_per_s = 121e12, source = "datasheet", basis = "halved_from_sparse", printed = "242 sparse"'


def test_the_l4_with_the_bandwidth_of_the_h100(edited: Edit) -> None:
    """torch 2.13 gives the L4 3350 GB/s: 192 bits of GDDR6 at 12.5 Gbit/s carry 300."""
    l4 = edited("l4", (L4_BANDWIDTH, "byte_per_s = 3350e9"))
    assert {"interface", "memory-type"} <= rules(l4, "memory.bandwidth")


def test_the_same_where_the_file_gives_no_bus(edited: Edit) -> None:
    text = (SPECS / "l4.toml").read_text()
    (line,) = re.findall(r"^interface = .*\n", text, re.MULTILINE)
    l4 = edited("l4", (line, ""), (L4_BANDWIDTH, "byte_per_s = 3350e9"))
    assert rules(l4, "memory.bandwidth") == {"memory-type"}


def test_the_sparse_peak_of_the_l4_given_as_dense(edited: Edit) -> None:
    """torch 2.13 again: 242 TFLOP/s without a sparsity factor, where 58 SM x 1024 x 2.04 GHz are 121."""
    unmarked = edited(
        "l4", (L4_FP16, L4_FP16.replace("121e12", "242e12").replace(', basis = "halved_from_sparse"', ""))
    )
    assert {"sparse", "clock", "step"} <= rules(unmarked, "peak.matrix.fp16")
    marked = edited("l4", (L4_FP16, L4_FP16.replace("121e12", "242e12")))
    assert {"sparse", "clock", "step"} <= rules(marked, "peak.matrix.fp16")


def test_a_sparse_peak_without_a_word_about_it(edited: Edit) -> None:
    """Neither printed nor clock_check: the step from TF32 still shows it, 242 against 60."""
    text = (SPECS / "l4.toml").read_text()
    (line,) = re.findall(r"^fp16 = .*\n", text, re.MULTILINE)
    bare = edited("l4", (line, 'fp16 = {flop_per_s = 242e12, source = "datasheet"}\n'))
    assert rules(bare, "peak.matrix.fp16") == {"step"}


@pytest.mark.parametrize("name", ["h100-sxm5-80gb", "l4", "a100-sxm4-80gb", "mi300x"])
def test_a_tera_of_1e13(name: str, tmp_path: Path) -> None:
    """kerncraft's prefix table has T = 1e13: every figure quoted in tera grows tenfold, ridges may stay as they are."""
    file = tmp_path / f"{name}.toml"
    file.write_text((SPECS / f"{name}.toml").read_text().replace("e12,", "e13,").replace("e12\n", "e13\n"))
    slipped = load_platform(str(file))
    assert "clock" in rules(slipped, "peak.matrix.fp16")
    assert slipped.bandwidth == load_platform(name).bandwidth or "interface" in rules(slipped, "memory.bandwidth")


def test_a_dtype_given_twice_or_under_the_name_of_another(edited: Edit) -> None:
    """torch 2.13 has float8_e8m0fnu up to three times in one dict literal and float8_e4m3fn nowhere."""
    (fp8,) = re.findall(r"^fp8 = .*\n", (SPECS / "l4.toml").read_text(), re.MULTILINE)
    with pytest.raises(FxcostError, match=r"l4\.toml .*overwrite"):
        edited("l4", (fp8, fp8 + fp8))
    with pytest.raises(FxcostError, match=r"l4\.toml: peak\.matrix\.float8_e8m0fnu: unknown key"):
        edited("l4", (fp8, fp8.replace("fp8", "float8_e8m0fnu", 1)))
    with pytest.raises(FxcostError, match="l4 has no fp8 peak"):
        edited("l4", (fp8, "")).peak("matrix", "fp8")


# ---- each rule alone


@pytest.mark.parametrize(
    ("name", "old", "new", "key", "rule"),
    [
        ("l4", "120 sparse", "60 sparse", "peak.matrix.tf32", "sparse"),
        ("b200-sxm-180gb", '18 PFLOP/s sparse per 8', '18 PFLOP/s sparse per 4', "peak.matrix.tf32", "sparse"),
        ("a100-sxm4-80gb", "bf16 = {flop_per_s = 312e12", "bf16 = {flop_per_s = 624e12", "peak.matrix.bf16", "sparse"),
        ("a100-sxm4-80gb", "bf16 = {flop_per_s = 312e12", "bf16 = {flop_per_s = 132e12", "peak.matrix.bf16", "order"),
        ("tpu-v5p", "op_per_s = 918e12", "op_per_s = 1836e12", "peak.matrix.int8", "step"),
        ("tpu-v5p", "op_per_s = 918e12", "op_per_s = 400e12", "peak.matrix.int8", "order"),
        ("tpu-v5p", "byte_per_s = 2.765e12", "byte_per_s = 276.5e9", "peak.matrix.int8", "ridge"),
        ("epyc-7763", "flop_per_s = 5.018e12", "flop_per_s = 50.18e12", "peak.vector.fp32", "ridge"),
        ("epyc-7763", "flop_per_s = 2.51e12", "flop_per_s = 25.1e12", "peak.vector.fp32", "order"),
        ("h100-sxm5-80gb", 'type = "HBM3"', 'type = "GDDR6"', "memory.interface", "memory-type"),
        ("h100-sxm5-80gb", 'type = "HBM3"', 'type = "HMB3"', "memory.type", "memory-type"),
        ("h100-sxm5-80gb", "bus_width_bits = 5120", "bus_width_bits = 6144", "memory.bandwidth", "interface"),
        ("mi325x", "bus_width_bits = 8192", "bus_width_bits = 4096", "memory.interface", "memory-type"),
        ("h100-sxm5-80gb", "bytes = 80e9", "bytes = 800e9", "memory.capacity", "fill"),
        ("h100-sxm5-80gb", "bytes = 80e9", "bytes = 80e6", "memory.capacity", "band"),
        ("h100-sxm5-80gb", "bytes = 52428800", "bytes = 52428", "cache.l2.capacity", "band"),
        ("h100-sxm5-80gb", "hz = 1.98e9", "hz = 1.98e10", "boost_clock", "band"),
        ("h100-sxm5-80gb", "hz = 1.98e9", "hz = 1980", "boost_clock", "band"),
        ("h100-sxm5-80gb", "watts = 700", "watts = 700e3", "tdp", "band"),
        ("h100-sxm5-80gb", "count = 132", "count = 16896", "compute_units", "band"),
        ("h100-sxm5-80gb", "byte_per_s = 900e9", "byte_per_s = 900", "interconnect.0", "band"),
    ],
)  # fmt: skip
def test_a_rule_names_the_figure(edited: Edit, name: str, old: str, new: str, key: str, rule: str) -> None:
    assert rule in rules(edited(name, (old, new)), key)


def test_a_socket_may_carry_more_than_an_accelerator(edited: Edit) -> None:
    terabytes = ('type = "DDR4"', 'type = "DDR4"\ncapacity = {bytes = 4e12, source = "product-page"}')
    assert lint(edited("epyc-7763", terabytes)) == ()
    assert rules(edited("epyc-7763", terabytes, ('kind = "cpu"', 'kind = "gpu"')), "memory.capacity") == {"band"}


def test_halved_needs_what_was_printed(edited: Edit) -> None:
    h100 = edited(
        "h100-sxm5-80gb", (', basis = "halved_from_sparse", printed = "989 sparse"', ', basis = "halved_from_sparse"')
    )
    assert rules(h100, "peak.matrix.tf32") == {"sparse"}


@pytest.mark.parametrize(
    "printed", ["", "0", "sparse", "3 sparse per 0", "² sparse per ²", "3e333333 sparse", "9" * 5000]
)
def test_no_printed_text_breaks_the_lint(edited: Edit, printed: str) -> None:
    """Whatever stands in ``printed``, the answer is a finding and not a crash."""
    old = 'printed = "989 sparse"'
    if not printed:
        with pytest.raises(FxcostError, match="printed"):
            edited("h100-sxm5-80gb", (old, f'printed = "{printed}"'))
        return
    assert rules(edited("h100-sxm5-80gb", (old, f'printed = "{printed}"')), "peak.matrix.tf32") == {"sparse"}


@pytest.mark.parametrize("name", [n for n in platform_names() if (m := load_platform(n).memory) and m.bandwidth])
def test_a_bandwidth_off_by_ten_is_found_on_every_machine(name: str) -> None:
    platform = load_platform(name)
    memory = platform.memory
    assert memory is not None
    for factor in ("0.001", "0.1", "10", "1000"):
        slipped = platform.bandwidth.model_copy(update={"value": platform.bandwidth.value * Decimal(factor)})
        wrong = platform.model_copy(update={"memory": memory.model_copy(update={"bandwidth": slipped})})
        assert lint(wrong) != (), factor


# ---- exemptions


def test_an_exemption_silences_its_rule_at_its_key_alone(edited: Edit) -> None:
    """The RTX 4090's INT8 really is four times its FP16; were INT4 wrong too, that would be told."""
    mark = 'key = "peak.matrix.int8"'
    assert rules(edited("rtx-4090", (mark, 'key = "peak.matrix.int4"')), "peak.matrix.int8") == {"step"}
    assert rules(edited("rtx-4090", ("op_per_s = 1321.2e12", "op_per_s = 5284.8e12")), "peak.matrix.int4") == {
        "step",
        "ridge",
    }


def test_an_exemption_leaves_the_other_rules_at_its_key(edited: Edit) -> None:
    slipped = edited("rtx-4090", ("int8 = {op_per_s = 660.6e12", "int8 = {op_per_s = 6606e12"))
    assert rules(slipped, "peak.matrix.int8") == {"ridge"}


def test_a_mark_that_exempts_nothing_is_told(edited: Edit) -> None:
    mended = edited(
        "rtx-4090", ("int8 = {op_per_s = 660.6e12", "int8 = {op_per_s = 330.3e12"), ("1321.2e12", "660.6e12")
    )
    assert lint(mended) == ("exempt: [step] finds nothing at peak.matrix.int8; remove the mark",)


def test_every_slip_is_named_at_once(fxcost_command: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    """Two of one figure among them; without the lint the first is told, and how many more there are."""
    broken = tmp_path / "broken.toml"
    text = (SPECS / "l4.toml").read_text()
    text = re.sub("year = .*", 'year = "soon"\ncolour = "green"', text).replace("300e9", "-300e9")
    broken.write_text(re.sub(r"(-300e9.*?)source = \"[^\"]*\"", r'\1source = "nowhere"', text, flags=re.DOTALL))
    code, out, err = fxcost_command("platforms", "--lint", broken)
    assert (code, err) == (4, "")
    assert [line.removeprefix(f"{broken}: ").split(": ")[0] for line in out.splitlines()] == [
        "year",
        "memory.bandwidth",
        "memory.bandwidth.byte_per_s",
        "colour",
    ]
    code, out, err = fxcost_command("platforms", "--lint", broken, "l4")
    assert (code, out) == (2, "")
    assert "--lint stands alone" in err
    with pytest.raises(FxcostError, match=r"year: should be a valid integer \(and 3 more, which"):
        load_platform(str(broken))
