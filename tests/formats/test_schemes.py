"""Schemes: which rule a storage comes to, sheets and their lint, and schemes composed of parts."""

import re
from pathlib import Path
from typing import Any

import pytest

from fxcost.errors import FxcostError
from fxcost.formats.composing import scheme_named, schemes_named
from fxcost.formats.format_text import format_named
from fxcost.formats.number_format import Matrices
from fxcost.formats.scheme_sheets import lint, load_scheme, scheme_names
from fxcost.formats.schemes import Numbered, Scheme, StorageUse, selects
from fxcost.machines.sheets import PRECISION_BITS
from fxcost.sheet_files import SheetError

SPECS = Path(__file__).parents[2] / "specs" / "precisions"
MATRIX: dict[str, Any] = {
    "dims": 2,
    "is_factor": True,
    "operators": frozenset({"linear"}),
    "matrices": Matrices(1, 512, 512),
}


def weight(name: str, **more: Any) -> StorageUse:
    return StorageUse("weight", name, **{**MATRIX, **more})


def kept(scheme: Scheme, use: StorageUse) -> str:
    found = scheme.rule(use).kept(use)
    return found if isinstance(found, str) else found.text


# ---- sheets


def test_every_sheet_is_listed_and_clean() -> None:
    assert set(scheme_names()) == {file.stem for file in SPECS.glob("*.toml")}
    assert scheme_names()[: len(PRECISION_BITS)] == tuple(PRECISION_BITS)
    for name in scheme_names():
        scheme = load_scheme(name)
        assert scheme.name == name
        assert scheme.sources
        assert lint(scheme) == ()
        assert load_scheme(str(SPECS / f"{name}.toml")) == scheme


@pytest.mark.parametrize("name", PRECISION_BITS)
def test_plain_names_are_the_same_for_all(name: str) -> None:
    scheme = load_scheme(name.upper())
    assert scheme.uniform == scheme.matrix == scheme.vector == name
    for use in (weight("fc.weight"), StorageUse("activation"), StorageUse("state"), StorageUse("weight", "norm", 1)):
        assert format_named(kept(scheme, use)).bits == PRECISION_BITS[name]


EMBEDDED: dict[str, Any] = {"operators": frozenset({"embedding"}), "is_factor": False}
TIED: dict[str, Any] = {"operators": frozenset({"embedding", "linear"})}


@pytest.mark.parametrize(
    ("scheme", "use", "stored"),
    [
        ("awq-g128", weight("model.layers.0.mlp.up_proj.weight"), "int4:g128:zero"),
        ("awq-g128", weight("lm_head.weight"), "fp16"),
        ("awq-g128", weight("model.embed_tokens.weight", **EMBEDDED), "fp16"),
        ("awq-g128", weight("model.embed_tokens.weight", **TIED), "fp16"),
        ("awq-g128", weight("model.norm.weight", dims=1, is_factor=False), "fp16"),
        ("awq-g128", weight("model.layers.0.mlp.gate.weight"), "fp16"),
        ("fp8-block128", weight("model.layers.3.mlp.gate.weight", is_factor=False), "bf16"),
        ("fp8-block128", StorageUse("buffer", "model.layers.3.mlp.gate.e_score_correction_bias", 1), "fp32"),
        ("mxfp4", weight("model.layers.0.mlp.experts.gate_up_proj", dims=3), "mxfp4"),
        ("mxfp4", weight("model.layers.0.mlp.experts.gate_up_proj_bias", is_factor=False), "bf16"),
        ("mxfp4", weight("model.layers.0.self_attn.q_proj.weight"), "bf16"),
        ("gguf-q4_k_m", weight("model.embed_tokens.weight", **EMBEDDED), "q4_k"),
        ("gguf-q4_k_m", weight("model.embed_tokens.weight", **TIED), "q6_k"),
        ("gguf-q4_k_m", weight("lm_head.weight"), "q6_k"),
        ("gguf-q4_k_m", weight("model.layers.4.mlp.up_proj.weight", matrices=Matrices(1, 8, 896)), "q5_0"),
        ("gguf-q4_k_m", weight("transformer.h.4.attn.c_attn.weight"), "q5_k"),
        ("gguf-q5_k_m", weight("transformer.h.4.attn.c_attn.weight"), "q6_k"),
        ("gguf-q4_k_m", StorageUse("state", "past_0"), "fp16"),
        ("gguf-q4_k_m", weight("model.norm.weight", dims=1), "fp32"),
        ("amp-fp16", weight("fc.weight"), "fp32"),
        ("amp-fp16", StorageUse("activation", operators=frozenset({"linear"}), is_factor=True), "fp16"),
        ("amp-fp16", StorageUse("activation", operators=frozenset({"layer_norm"})), "fp32"),
        ("amp-fp16", StorageUse("activation", operators=frozenset({"relu"})), "inputs"),
    ],
)
def test_what_a_sheet_keeps(scheme: str, use: StorageUse, stored: str) -> None:
    assert kept(load_scheme(scheme), use) == stored


def test_more_bits_in_some_layers() -> None:
    """llama.cpp, src/llama-quant.cpp: of 32 layers the first and last four, and every third of those between."""
    scheme = load_scheme("gguf-q4_k_m")
    layers = {
        index
        for index in range(32)
        if kept(scheme, weight(f"model.layers.{index}.mlp.down_proj.weight", numbered=Numbered(index, 32))) == "q6_k"
    }
    assert layers == {0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31}


def test_layers_by_slices() -> None:
    assert [n for n in range(8) if selects("0:2,-1:", Numbered(n, 8))] == [0, 1, 7]
    assert [n for n in range(3) if selects(":", Numbered(n, 3))] == [0, 1, 2]


MINE = """
name = "mine"
title = "Mine"
sources = ["https://example.org/mine"]

[compute]
matrix = "bf16"
vector = "fp32"

[[rule]]
format = "int4:g32"
roles = ["weight"]
names = ["*.experts.*"]
layers = "1:"
compute = "int8"

[[rule]]
format = "bf16"
"""


@pytest.fixture
def mine(tmp_path: Path) -> Any:
    def write(*changes: tuple[str, str]) -> str:
        text = MINE
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (tmp_path / "mine.toml").write_text(text)
        return str(tmp_path / "mine.toml")

    return write


def test_a_sheet_of_ones_own(mine: Any) -> None:
    scheme = scheme_named(mine())
    assert (scheme.name, scheme.matrix, scheme.vector) == ("mine", "bf16", "fp32")
    assert kept(scheme, weight("a.1.experts.w", numbered=Numbered(1, 2))) == "int4:g32"
    assert kept(scheme, weight("a.0.experts.w", numbered=Numbered(0, 2))) == "bf16"
    assert kept(scheme, weight("experts.w")) == "bf16"
    assert lint(scheme) == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            ('format = "int4:g32"', 'format = "int4:32"'),
            "mine.toml: rule.0.format: number format 'int4:32': unknown part",
        ),
        (('roles = ["weight"]', 'roles = ["weights"]'), "rule.0.roles.0: "),
        (('layers = "1:"', 'layers = "most"'), "rule.0.layers: layers 'most' are neither slices"),
        (('compute = "int8"', 'compute = "int9"'), "rule.0.compute: unknown precision 'int9'"),
        (('vector = "fp32"', ""), "compute.vector: missing"),
        (
            ('title = "Mine"', 'titel = "Mine"'),
            "title: missing (and 1 more, which `fxcost precisions --lint FILE` names)",
        ),
        (
            ('title = "Mine"', 'title = "Mine"\nuniform = "fp16"'),
            "give either uniform, or [compute] and one [[rule]] or more",
        ),
        (('sources = ["https://example.org/mine"]', "sources = []"), "sources: "),
        (('name = "mine"', "name = "), "is not a readable TOML file"),
        (('format = "int4:g32"', "format = 4"), "rule.0.format: 4 is not a text"),
    ],
)
def test_a_sheet_that_is_none(mine: Any, change: tuple[str, str], words: str) -> None:
    with pytest.raises(FxcostError, match=re.escape(words)):
        load_scheme(mine(change))


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (
            ("https://example.org/mine", "hearsay"),
            "sources: none says where it can be read: give an address or a DOI [source]",
        ),
        (('format = "bf16"', 'format = "bf16"\nroles = ["weight"]'), "rule.1: does not fit all that is left"),
        (
            ('[[rule]]\nformat = "int4:g32"', '[[rule]]\nformat = "fp8"\n\n[[rule]]\nformat = "int4:g32"'),
            "rule.1: never fits, for rule.0",
        ),
        (
            ('roles = ["weight"]', 'roles = ["state"]'),
            "rule.0: says what products with weights compute in, and fits no weight [compute]",
        ),
        (
            ('layers = "1:"', 'fallback = "fp16"'),
            "rule.0: int4:g32 has no blocks that a row could leave unfilled [fallback]",
        ),
    ],
)
def test_the_lint_finds(mine: Any, change: tuple[str, str], finding: str) -> None:
    assert any(line.startswith(finding) for line in lint(load_scheme(mine(change))))


def test_all_slips_are_told_at_once(mine: Any) -> None:
    with pytest.raises(SheetError) as error:
        load_scheme(mine(('layers = "1:"', 'layers = "most"'), ('matrix = "bf16"', 'matrix = "bf15"')))
    assert len(error.value.slips) == 2


# ---- composed


def test_parts_stand_before_the_rules_of_a_base() -> None:
    scheme = scheme_named("awq-g128,cache=fp8,lm_head.*=int8:channel")
    assert kept(scheme, StorageUse("state")) == "fp8"
    assert kept(scheme, weight("lm_head.weight")) == "int8:channel"
    assert kept(scheme, weight("layers.0.weight")) == "int4:g128:zero"
    assert scheme.name == "awq-g128,cache=fp8,lm_head.*=int8:channel"
    assert not scheme.uniform


def test_weights_of_narrow_formats_are_those_of_products() -> None:
    scheme = scheme_named("weights=int4:g128,activations=bf16,cache=fp8,compute=bf16")
    assert kept(scheme, weight("fc.weight")) == "int4:g128"
    assert kept(scheme, weight("embed.weight", **EMBEDDED)) == "bf16"
    assert kept(scheme, StorageUse("weight", "norm.weight", 1)) == "bf16"
    assert [kept(scheme, StorageUse(role)) for role in ("input", "activation", "output")] == ["bf16"] * 3
    assert kept(scheme, StorageUse("state")) == "fp8"
    assert kept(scheme, StorageUse("buffer")) == "model"
    assert kept(scheme_named("weights=int8"), weight("embed.weight", **EMBEDDED)) == "model"
    assert (scheme.matrix, scheme.vector) == ("bf16", "bf16")


def test_wide_weights_are_all_weights() -> None:
    scheme = scheme_named("weights=fp16")
    assert {kept(scheme, use) for use in (weight("a"), StorageUse("weight", "norm", 1))} == {"fp16"}
    assert (scheme.matrix, scheme.vector) == ("", "")


def test_heads_embeddings_and_vectors() -> None:
    scheme = scheme_named("weights=int4:g64,head=int8:channel,embeddings=fp16,vectors=fp32")
    assert kept(scheme, weight("fc.weight", is_last_factor=True)) == "int8:channel"
    assert kept(scheme, weight("embed.weight", **EMBEDDED)) == "fp16"
    assert kept(scheme, StorageUse("weight", "norm", 1)) == "fp32"


def test_what_is_computed_in() -> None:
    scheme = scheme_named("fp8-block128,compute=bf16")
    assert {rule.compute for rule in scheme.rules} == {""}
    assert scheme.matrix == "bf16"
    assert scheme_named("int8,conv1.*=fp16").rule(weight("conv1.weight")).compute == "fp16"
    assert scheme_named("w4a16,elementwise=fp32").vector == "fp32"


def test_several_at_once() -> None:
    found = schemes_named(["fp16,w4a16,cache=fp8", "weights=int8,activations=fp16"])
    assert [each.name for each in found] == ["fp16", "w4a16,cache=fp8", "weights=int8,activations=fp16"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("w4a17", "unknown precision 'w4a17'; near: w4a16"),
        ("float16", "unknown precision 'float16'; near: fp16"),
        ("weights=int4,wieghts=int8", "'wieghts' is no key; near: weights"),
        ("weights=int4,weights=int8", "precision gives weights twice, int4 and int8"),
        ("fp16,cache=fp8,CACHE=int8", "precision gives cache twice"),
        ("weights=int4:", "unknown part ''"),
        ("compute=bf17", "unknown precision 'bf17'"),
        ("fp16,", "has an empty part"),
        ("fp16,FP16", "names fp16 twice"),
        ("fp16,bf16", "names 2 schemes, where one is asked for"),
        ("missing.toml", "cannot read missing.toml"),
    ],
)
def test_a_text_that_is_no_scheme(text: str, words: str) -> None:
    with pytest.raises(FxcostError) as error:
        scheme_named(text)
    assert words in str(error.value)
    assert len(str(error.value).splitlines()) <= 2
