"""Formats of stored elements: bits of each, and bytes of whole tensors, against what others publish and by hand."""

import csv
from fractions import Fraction
from pathlib import Path

import pytest

from fxcost.errors import FxcostError
from fxcost.formats.format_text import NAMED, format_named
from fxcost.formats.number_format import Matrices

DATA = Path(__file__).parents[1] / "data" / "formats"
BLOCKS = list(csv.DictReader((DATA / "block_formats.csv").read_text().splitlines()))


@pytest.mark.parametrize("row", BLOCKS, ids=lambda row: row["format"])
def test_blocks_are_as_large_as_published(row: dict[str, str]) -> None:
    kept = format_named(row["format"])
    weights, size = int(row["weights"]), int(row["bytes"])
    assert kept.stored_bytes(Matrices(1, 1, weights)) == size
    assert kept.stored_bytes(Matrices(1, 3, 5 * weights)) == 15 * size
    assert kept.bits_per_element == Fraction(8 * size, weights)


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("int4:g128:zero", Fraction("4.15625")),  # 4 + 16/128 + 4/128
        ("int4:g128", Fraction("4.125")),
        ("int4:g64:scale=fp8", Fraction("4.125")),
        ("nf4", Fraction("4.5")),
        ("nf4:double", 4 + Fraction(8, 64) + Fraction(32, 64 * 256)),  # QLoRA, section 3: 0.127 bit beside the 4
        ("fp8:128x128", 8 + Fraction(32, 128 * 128)),
        ("int8:channel", Fraction(8)),
        ("nvfp4:tensor", Fraction("4.5")),
        ("tf32", Fraction(32)),
        ("BF16", Fraction(16)),
    ],
)
def test_bits_of_an_element(text: str, bits: Fraction) -> None:
    assert format_named(text).bits_per_element == bits
    assert format_named(text).text == text.lower()


@pytest.mark.parametrize(
    ("text", "matrices", "size"),
    [
        # 576 rows of 7,168 are 5 × 56 blocks of 128 × 128, each with four bytes (DeepSeek-V3's kv_a_proj_with_mqa).
        ("fp8:128x128", Matrices(1, 576, 7168), 576 * 7168 + 5 * 56 * 4),
        ("fp8:128x128", Matrices(3, 576, 200), 3 * (576 * 200 + 5 * 2 * 4)),
        # 300 columns are three groups of 128, of which the last holds 44.
        ("int4:g128", Matrices(1, 10, 300), 10 * 300 // 2 + 10 * 3 * 2),
        ("int4:g128:zero", Matrices(1, 10, 300), 10 * 300 // 2 + 10 * 3 * 2 + 10 * 3 // 2),
        ("int8:channel", Matrices(1, 64, 147), 64 * 147 + 64 * 4),
        ("int8:channel:scale=bf16", Matrices(2, 64, 147), 2 * (64 * 147 + 64 * 2)),
        ("fp8:tensor", Matrices(4, 6, 7), 4 * (6 * 7 + 4)),
        ("nvfp4:tensor", Matrices(1, 1, 64), 36 + 4),
        # Runs go on from row to row: 3 · 50 elements are three runs of 64.
        ("nf4", Matrices(1, 3, 50), 3 * 50 // 2 + 3 * 4),
        # A row of 40 fills two blocks of 32.
        ("q8_0", Matrices(1, 2, 40), 2 * 2 * 34),
        ("int4", Matrices(1, 1, 3), 2),
        ("fp16", Matrices.of((5,)), 10),
        ("fp16", Matrices.of(()), 2),
        ("int4:g32", Matrices(1, 0, 64), 0),
    ],
)
def test_bytes_of_a_tensor(text: str, matrices: Matrices, size: int) -> None:
    assert format_named(text).stored_bytes(matrices) == size


def test_matrices_of_shapes() -> None:
    assert Matrices.of((2, 3, 5, 7)) == Matrices(6, 5, 7)
    assert Matrices.of((5, 7)).transposed == Matrices(1, 7, 5)
    assert Matrices.of((5, 7)).elements == 35


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("float16", "unknown number format 'float16'; near: fp16; known: fp64, "),
        ("q4k", "near: q4_k"),
        ("int4:g128:zeros", "'int4:g128:zeros': unknown part 'zeros'; known: g128"),
        ("int4:g128:g64", "'int4:g128:g64' says a part twice"),
        ("int4:g128:scale=fp16:scale=fp32", "says a part twice"),
        ("int4:zero", "does not say what shares a scale"),
        ("int4:g128:scale=fp13", "a scale is fp32, fp16, bf16, fp8, e8m0, not 'fp13'"),
        ("int4:g0", "unknown part 'g0'"),
        ("", "unknown number format ''"),
    ],
)
def test_a_text_that_is_no_format(text: str, words: str) -> None:
    with pytest.raises(FxcostError) as error:
        format_named(text)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_names_are_read_back() -> None:
    assert all(format_named(name).text == name for name in NAMED)
    assert [kept.computes for kept in map(format_named, ("bf16", "int8", "int8:channel", "q8_0"))] == [
        "bf16",
        "int8",
        "",
        "",
    ]
