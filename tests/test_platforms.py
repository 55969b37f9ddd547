"""Machines: what their files say, what lookups answer, and how plugins add to them."""

import csv
import re
import subprocess
import sys
import tomllib
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from fxcost.costs.model import CostModel
from fxcost.errors import FxcostError
from fxcost.machines.sheets import PRECISION_BITS, UnitPeaks, load_platform, platform_names
from fxcost.reports.platforms import platform_report
from fxcost.roofline.rate import machine_for
from fxcost.work import Unit

SPECS = Path(__file__).parent.parent / "specs" / "machines"
EXAMPLES = Path(__file__).parent / "data" / "roofline_examples.csv"
BOX = (SPECS / "l4.toml").read_text().replace('name = "l4"', 'name = "box"')
UNIT_KEYS = {"flop_per_s", "op_per_s", "byte_per_s", "byte_per_clock", "bytes", "hz", "watts", "count"}

# ---- the files


def test_every_file_is_listed() -> None:
    assert set(platform_names()) == {file.stem for file in SPECS.glob("*.toml")}
    assert len(platform_names()) >= 60


@pytest.mark.parametrize("name", platform_names())
def test_file_loads_under_its_name(name: str) -> None:
    assert load_platform(name).name == name
    assert load_platform(str(SPECS / f"{name}.toml")) == load_platform(name)


def written_figures(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, list):
        return [figure for item in value for figure in written_figures(item)]
    if not isinstance(value, dict):
        return []
    return [value] if UNIT_KEYS & value.keys() else [f for item in value.values() for f in written_figures(item)]


@pytest.mark.parametrize("name", platform_names())
def test_every_figure_has_a_source_and_is_exact(name: str) -> None:
    """Counted in the raw file, so that a table the loader forgot to walk would show; no figure passed through float."""
    raw = tomllib.loads((SPECS / f"{name}.toml").read_text(), parse_float=Decimal)
    written = written_figures({key: value for key, value in raw.items() if key != "sources"})
    loaded = [figure for _, figure in load_platform(name).figures()]
    assert len(written) == len(loaded)
    assert all(("source" in figure) != ("computed" in figure) for figure in written)
    assert all(figure.source for figure in loaded)
    assert all(type(figure.value) is Decimal for figure in loaded)
    assert sorted(f.value for f in loaded) == sorted(next(Decimal(w[k]) for k in UNIT_KEYS if k in w) for w in written)


@pytest.mark.parametrize("name", platform_names())
def test_every_source_is_cited(name: str) -> None:
    platform = load_platform(name)
    cited = {figure.source for _, figure in platform.figures()}
    if platform.memory and platform.memory.interface:
        cited.add(platform.memory.interface.source)
    assert set(platform.sources.values()) <= cited


def product(formula: str) -> Decimal | None:
    """``56 cores x 2.0 GHz base x 32 FLOP/clk (…)`` multiplied out; None for a formula of another form."""
    result = Decimal(1)
    without_remarks = re.sub(r"\([^()]*\)", "", re.sub(r"\([^()]*\)", "", formula))
    for factor in re.split(r"[;=,]", without_remarks)[0].split(" x "):
        match = re.match(r"\s*(\d+(?:\.\d+)?)\s*(GHz)?", factor)
        if match is None:
            return None
        result *= Decimal(match[1]) * (10**9 if match[2] else 1)
    return result


def test_computed_peaks_equal_the_formula_that_is_their_source() -> None:
    checked = 0
    for name in platform_names():
        for key, figure in load_platform(name).figures():
            expected = product(figure.source.removeprefix("computed: ")) if figure.basis == "computed" else None
            if key.startswith("peak.") and expected is not None and "GHz" in figure.source:
                assert abs(figure.value / expected - 1) < Decimal("0.01"), (name, key)
                checked += 1
    assert checked >= 35


# ---- published figures


@pytest.mark.parametrize(
    ("name", "precision", "peak", "bandwidth"),
    [
        ("h100-sxm5-80gb", "fp16", "989.4e12", "3.35e12"),  # NVIDIA H100 page: 1979 TFLOP/s with sparsity, 3.35 TB/s
        ("l4", "fp16", "121e12", "300e9"),  # NVIDIA L4 page: 242 TFLOP/s with sparsity, 300 GB/s
        ("a100-sxm4-80gb", "fp16", "312e12", "2039e9"),  # A100 datasheet: 312 dense, 2039 GB/s
        ("v100-sxm2-32gb", "fp16", "125e12", "900e9"),  # V100 datasheet
    ],
)
def test_published_peak_and_bandwidth(name: str, precision: str, peak: str, bandwidth: str) -> None:
    platform = load_platform(name)
    figure = platform.peak("matrix", precision)
    assert figure is not None
    assert figure.value == Decimal(peak)
    assert platform.bandwidth.value == Decimal(bandwidth)


def example(case: str) -> dict[str, str]:
    with EXAMPLES.open(newline="") as file:
        (row,) = [row for row in csv.DictReader(file) if row["case"] == case]
    assert row["evidence"] in {"retrieved", "derived"}
    return row


def ridge(name: str, precision: str) -> Fraction:
    found = load_platform(name).ridge("matrix", precision)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("case", "names", "precision"),
    [
        ("A100 ridge with 80GB HBM2e", ["a100-sxm4-80gb"], "fp16"),
        ("ridge 4090 / A100 40GB / H100", ["rtx-4090", "a100-sxm4-40gb", "h100-sxm5-80gb"], "bf16"),
        ("TPU v5e MXU ridge", ["tpu-v5e"], "bf16"),
    ],
)
def test_ridge_is_the_published_one(case: str, names: list[str], precision: str) -> None:
    """The published numbers are whole FLOP/byte, cut or rounded: ours lie within one of them."""
    published = [int(value) for value in example(case)["value"].split(" / ")]
    assert len(published) == len(names)
    for name, value in zip(names, published, strict=True):
        assert abs(ridge(name, precision) - value) < 1, name


def test_ridges_of_llm_viewer() -> None:
    """Of the six only those whose figures are NVIDIA's; the row says that its H100 and V100 SXM are not."""
    row = example("A6000/A100-40G/A100-80G/H100-SXM/L40/V100 ridges used by LLM-Viewer")
    _, a100_40, a100_80, _, _, v100 = (Fraction(value) for value in row["value"].split(" / "))
    for name, published in (("a100-sxm4-40gb", a100_40), ("a100-sxm4-80gb", a100_80), ("v100-pcie-16gb", v100)):
        assert abs(ridge(name, "fp16") - published) <= Fraction(1, 10), name


@pytest.mark.parametrize(
    ("version", "name"), [("v4p", "tpu-v4"), ("v5p", "tpu-v5p"), ("v5e", "tpu-v5e"), ("v6e", "tpu-v6e")]
)
def test_tpu_figures_against_the_scaling_book(version: str, name: str) -> None:
    """Printed there to two digits, hence 3 %; v3 is left out, for its 140 TFLOP/s is a conflict noted in the file."""
    platform = load_platform(name)
    ours = [platform.bandwidth, platform.peak("matrix", "bf16"), platform.peak("matrix", "int8")]
    for figure, text in zip(ours, example(f"TPU {version} spec")["value"].split("; "), strict=True):
        assert figure is not None
        assert abs(figure.value / Decimal(text) - 1) < Decimal("0.03")


# ---- lookups


def value(name: str, unit: Any, precision: str) -> Decimal | None:
    figure = load_platform(name).peak(unit, precision)
    return None if figure is None else figure.value


def test_matrix_work_without_its_own_figure_runs_on_the_vector_unit() -> None:
    """H100: 67 TFLOP/s float32 on the CUDA cores; float64 has tensor cores (67) beside the CUDA cores (34)."""
    assert value("h100-sxm5-80gb", "matrix", "fp32") == value("h100-sxm5-80gb", "vector", "fp32") == Decimal("67e12")
    assert value("h100-sxm5-80gb", "matrix", "fp64") == Decimal("67e12")
    assert value("h100-sxm5-80gb", "vector", "fp64") == Decimal("34e12")


def test_vector_work_without_its_own_figure_runs_at_the_float32_rate() -> None:
    assert value("h100-sxm5-80gb", "vector", "fp16") == Decimal("67e12")
    assert value("v100-sxm2-32gb", "vector", "fp16") == Decimal("31.33e12"), "V100 publishes its own packed rate"
    assert value("h100-sxm5-80gb", "vector", "int8") == Decimal("67e12")


def test_float64_never_borrows_the_float32_rate() -> None:
    """The A10G publishes no float64; at the float32 rate it would be told 64 times too fast."""
    assert value("a10g", "vector", "fp32") is not None
    assert value("a10g", "vector", "fp64") is None


@pytest.mark.parametrize("name", ["tpu-v5e", "inferentia2", "trainium2", "qualcomm-cloud-ai-100-pro", "hailo-8"])
def test_unpublished_vector_peak_is_none_and_not_a_number(name: str) -> None:
    platform = load_platform(name)
    precision = platform.precisions[-1]
    assert platform.peak("matrix", precision) is not None
    assert platform.peak("vector", precision) is None
    assert platform.ridge("vector", precision) is None


def test_peaks_kept_as_data_are_never_chosen() -> None:
    """RTX 4090 with FP32 accumulation: 165.2 dense, not the 330.3 of FP16 accumulation; Orin's INT8 without its DLAs."""
    assert value("rtx-4090", "matrix", "fp16") == Decimal("165.2e12")
    assert load_platform("rtx-4090").peaks.other["fp16_acc16"].value == Decimal("330.3e12")
    assert value("jetson-agx-orin-64gb", "matrix", "int8") == Decimal("85e12")


def test_missing_precision_names_the_machine_and_what_it_has() -> None:
    with pytest.raises(
        FxcostError, match=r"^h100-sxm5-80gb has no fp4 peak; it has: fp64, fp32, tf32, fp16, bf16, fp8, int8$"
    ):
        load_platform("h100-sxm5-80gb").peak("matrix", "fp4")


def test_unknown_precision_is_told_for_either_unit() -> None:
    for unit in ("matrix", "vector"):
        with pytest.raises(FxcostError, match="'fp61'; near: .*fp16"):
            load_platform("l4").peak(unit, "fp61")


def test_a_machine_without_memory_loads_but_has_no_bandwidth() -> None:
    for name in ("hailo-8", "coral-edge-tpu"):
        platform = load_platform(name)
        assert platform.precisions == ("int8",)
        with pytest.raises(FxcostError, match=name):
            _ = platform.bandwidth
        with pytest.raises(FxcostError, match=name):
            platform.ridge("matrix", "int8")


def test_ridge_is_exact() -> None:
    assert ridge("h100-sxm5-80gb", "fp16") == Fraction(9894, 10) / Fraction(335, 100)


def test_basis_and_doubt_come_with_the_figure() -> None:
    h100 = load_platform("h100-sxm5-80gb").peak("matrix", "fp16")
    assert h100 is not None
    assert (h100.basis, h100.printed, h100.doubtful) == ("halved_from_sparse", "1979 sparse", False)
    xeon = load_platform("xeon-8480plus").peak("matrix", "bf16")
    assert xeon is not None
    assert (xeon.basis, xeon.doubtful) == ("computed", True)
    assert xeon.source.startswith("computed: 56 cores x 2.0 GHz base x 1024")


def test_precision_bits_are_those_of_storage() -> None:
    assert PRECISION_BITS["tf32"] == 32
    assert all(int(re.findall(r"\d+", name)[-1]) == bits for name, bits in PRECISION_BITS.items())


# ---- names


@pytest.mark.parametrize(
    ("typed", "near"), [("h100-sxm-80gb", "h100-sxm5-80gb"), ("A100-SXM4-80G", "a100-sxm4-80gb"), ("l44", "l4")]
)
def test_an_unknown_name_offers_near_ones(typed: str, near: str) -> None:
    with pytest.raises(FxcostError, match=f"unknown platform '{typed}'; near: .*{near}"):
        load_platform(typed)


def test_a_platform_cannot_be_changed() -> None:
    platform = load_platform("l4")
    with pytest.raises(ValueError, match="frozen"):
        platform.name = "h100"  # pyright: ignore[reportAttributeAccessIssue] -- that it fails is the point


# ---- plugins and start-up


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed distribution whose entry point offers the folder of the package ``boxes``."""
    package = tmp_path / "boxes"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "box.toml").write_text(BOX)
    info = tmp_path / "boxes-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: boxes\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fxcost.specs]\nboxes = boxes\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "boxes", raising=False)
    return package


def test_a_plugin_adds_platforms(plugin: Path) -> None:
    added = set(platform_names()) - {file.stem for file in SPECS.glob("*.toml")}
    assert added == {"box"}, "other files of the package are no platforms"
    assert load_platform("box").title == "NVIDIA L4"


def test_listing_opens_no_file(plugin: Path) -> None:
    (plugin / "ruin.toml").write_text("[[[[")
    assert "ruin" in platform_names()
    with pytest.raises(FxcostError, match=r"ruin\.toml"):
        load_platform("ruin")


def test_a_plugin_may_not_replace_a_platform(plugin: Path) -> None:
    (plugin / "l4.toml").write_text(BOX)
    with pytest.raises(FxcostError, match="two platforms are called 'l4'"):
        load_platform("l4")


def test_a_file_called_otherwise_than_its_platform(plugin: Path) -> None:
    (plugin / "crate.toml").write_text(BOX)
    with pytest.raises(FxcostError, match="name is 'box', but the file is called crate"):
        load_platform("crate")


def test_a_plugin_that_fails_is_named(plugin: Path) -> None:
    (plugin / "__init__.py").write_text("raise RuntimeError('out of boxes')")
    with pytest.raises(FxcostError, match="platform plugin 'boxes' .* out of boxes"):
        platform_names()


def test_importing_loads_nothing_heavy() -> None:
    code = "import sys, fxcost.machines.sheets, fxcost.machines.lint; print([m for m in ('torch', 'sympy', 'numpy') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


# What a machine does with a precision that it has no figure for

TPUS = ("tpu-v2", "tpu-v3", "tpu-v4", "tpu-v5e", "tpu-v5p", "tpu-v6e")


@pytest.mark.parametrize("name", TPUS)
def test_a_tpu_multiplies_float32_on_its_matrix_unit_in_bfloat16(name: str) -> None:
    """JAX's default precision; the vector unit of a v2, 15 times slower, takes no part in products."""
    platform = load_platform(name)
    assert platform.peak("matrix", "fp32") is platform.peaks.matrix.bf16
    assert platform.ridge("matrix", "fp32") == platform.ridge("matrix", "bf16")
    assert "fp32" in platform.precisions
    (note,) = [text for text in platform_report(platform).notes if "float32 products run" in text]
    assert "https://docs.jax.dev" in note


def test_the_ridge_of_the_second_tpu() -> None:
    """46 TFLOP/s beside 700 GB/s, both of one paper."""
    assert float(load_platform("tpu-v2").ridge("matrix", "fp32") or 0) == pytest.approx(65.7, abs=0.05)
    assert value("tpu-v2", "vector", "fp32") == Decimal("3e12")


def test_an_accelerator_never_multiplies_matrices_on_its_vector_unit() -> None:
    gaudi = load_platform("gaudi2")
    without = gaudi.model_copy(update={"peaks": gaudi.peaks.model_copy(update={"matrix": UnitPeaks()})})
    with pytest.raises(FxcostError, match="gaudi2 has no bf16 peak"):
        without.peak("matrix", "bf16")


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        *(("gaudi2", "bf16"), ("rk3588-npu", "fp16")),
        *(("qualcomm-cloud-ai-100-pro", "fp16"), ("qualcomm-cloud-ai-100-ultra", "fp16")),
    ],
)
def test_what_to_type_where_a_machine_does_not_take_a_model_as_it_is(name: str, precision: str) -> None:
    costs = CostModel("model", ())
    with pytest.raises(FxcostError, match=rf"{name} has no fp32 peak; it has: .*\n.*--precision {precision}$"):
        machine_for(costs, load_platform(name), None)
    assert machine_for(costs, load_platform(name), precision).peak("matrix")


@pytest.mark.parametrize("name", ["coral-edge-tpu", "hailo-8"])
@pytest.mark.parametrize("precision", [None, "int8", "bf16"])
def test_a_machine_without_a_bandwidth_answers_no_crossover(name: str, precision: str | None) -> None:
    with pytest.raises(FxcostError, match=f"{name} publishes no memory bandwidth.*it answers no crossover"):
        machine_for(CostModel("model", ()), load_platform(name), precision)
    assert "it answers no crossover" in " ".join(platform_report(load_platform(name)).notes)


def test_each_figure_is_told_in_its_own_unit_and_each_link_by_name_and_direction() -> None:
    told = {row[0].text: row for row in platform_report(load_platform("apple-m4-max")).cells}
    assert told["peak.other.neural_engine"][1].text == "38 TOP/s"
    assert told["measured: matmul_fp16_mlx"][1].text == "14.74 TFLOP/s"
    links = {row[0].text: row for row in platform_report(load_platform("gaudi2")).cells}
    assert links["interconnect: PCIe 4.0 x16"][1].text == "64 GB/s"
    assert "both directions summed" in links["interconnect: PCIe 4.0 x16"][4].text
    assert "per direction" in links["interconnect: 24 x 100 GbE RoCE"][4].text
    for name in platform_names():
        for row in platform_report(load_platform(name)).cells:
            assert "_" not in row[1].text, (name, row[1].text)


MENDED = {
    ("apple-m4-max", "vector", "fp32"): 16.16e12,
    ("l40s", "matrix", "int4"): 1466e12,
    ("arc-a770-16gb", "vector", "fp16"): 34.4e12,
    ("jetson-xavier-nx-8gb", "matrix", "fp16"): 6.758e12,
    ("a10g", "matrix", "int8"): 140.1e12,
    ("rtx-6000-ada", "matrix", "int8"): 728.5e12,
    ("tpu-v5p", "matrix", "fp8"): 459e12,
    ("jetson-agx-orin-64gb", "matrix", "bf16"): 42.6e12,
    ("xeon-8480plus", "vector", "fp16"): 14.336e12,
}


@pytest.mark.parametrize(("name", "unit", "precision"), MENDED)
def test_peaks_that_were_wrong_or_missing(name: str, unit: Unit, precision: str) -> None:
    """Units by rate by clock, or the vendor's own table."""
    assert float(value(name, unit, precision) or 0) == MENDED[name, unit, precision]


def test_links_and_caches_that_were_wrong() -> None:
    (link,) = load_platform("tpu-v5p").interconnect
    assert (link.value, link.direction) == (Decimal("1200e9"), "both directions summed")
    for name in ("gh200-96gb", "gh200-144gb", "h200-sxm-141gb"):
        capacity = load_platform(name).cache["l2"].capacity
        assert capacity is not None
        assert capacity.value == 60 * 2**20
