"""Bytes of models as stored: sizes of published checkpoints to the byte, from configurations alone, and small models by hand."""

import csv
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fxcost.api import CostModel, load, trace
from fxcost.errors import FxcostError
from fxcost.formats.composing import scheme_named
from fxcost.formats.schemes import Numbered
from fxcost.formats.storing import placed

DATA = Path(__file__).parents[1] / "data" / "formats"
PUBLISHED = list(csv.DictReader((DATA / "published_sizes.csv").read_text().splitlines()))


@cache
def configured(name: str) -> CostModel:
    """A model traced from its published configuration, on no device."""
    return trace(f"hf:{DATA / name}.json", warn=lambda _: None)


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: f"{row['model']}-{row['precision']}")
def test_checkpoints_are_as_large_as_published(row: dict[str, str]) -> None:
    """Beside the parameters a file may hold what its format adds: GGUF the 64 factors in fp32 that scale rotary frequencies."""
    assert configured(row["model"]).stored_bytes(row["precision"]) + int(row["beside"]) == int(row["bytes"])


@pytest.mark.parametrize(
    ("precision", "bits"),
    [
        ("gguf-q4_k_m", "4.8944"),
        ("gguf-q6_k", "6.5633"),
        ("gguf-q8_0", "8.5008"),
        ("weights=fp16,vectors=fp32", "16.0005"),
    ],
)
def test_bits_of_a_weight(precision: str, bits: str) -> None:
    """The table of Llama-3.1-8B in llama.cpp's tools/quantize/README.md, for 8,030,261,248 parameters; F16 keeps norms in fp32."""
    assert f"{8 * configured('llama-3.1-8b').stored_bytes(precision) / 8_030_261_248:.4f}" == bits


def test_parameters_of_gpt_oss() -> None:
    """21B and 117B on the model cards."""
    assert configured("gpt-oss-20b").total.params == 20_914_757_184
    assert configured("gpt-oss-120b").total.params == 116_829_156_672


def test_elements_of_deepseek_v3_in_fp8() -> None:
    """safetensors.parameters of deepseek-ai/DeepSeek-V3: 680,571,043,840 in F8_E4M3, those of its 62nd layer among them.

    transformers builds the 61 layers alone. The layer that predicts a second token has an attention and experts like
    the others; its eh_proj stays in bf16.
    """
    here = placed(configured("deepseek-v3"), scheme_named("fp8-block128"))
    elements = {each.name: each.elements for each in here.weights if each.format.text == "fp8:128x128"}
    assert sum(elements.values()) == 669_065_609_216
    assert sum(elements.values()) + sum(n for name, n in elements.items() if ".layers.60." in name) == 680_571_043_840
    assert not any("embed" in name or "lm_head" in name or name.endswith("mlp.gate.weight") for name in elements)


def test_llama_in_fp8() -> None:
    """nvidia/Llama-3.1-8B-Instruct-FP8 has files of 5.00 and 4.08 GB."""
    assert f"{configured('llama-3.1-8b').stored_bytes('fp8-tensor') / 1e9:.2f}" == "9.08"


def test_weights_that_vllm_loads() -> None:
    """14.9595 GiB in its logs, of which a table of 8,192 positions' sines and cosines is the engine's."""
    table = 8192 * 128 * 2
    assert f"{(configured('llama-3.1-8b').stored_bytes('bf16') + table) / 2**30:.4f}" == "14.9595"


def test_layers_are_numbered() -> None:
    uses = {use.name: use.numbered for use in placed(configured("llama-3.1-8b"), scheme_named("fp16")).uses}
    assert uses["model.layers.31.mlp.down_proj.weight"] == Numbered(31, 32)
    assert uses["lm_head.weight"] is None


class Tied(nn.Module):
    """A table that is the head too, a convolution, a bias, an LSTM, and buffers of which one is saved."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(40, 24)
        self.convolved = nn.Conv1d(24, 24, 3, padding=1)
        self.norm = nn.LayerNorm(24)
        self.head = nn.Linear(24, 40, bias=False)
        self.head.weight = self.table.weight
        self.idle = nn.Linear(8, 2)
        self.kept: torch.Tensor
        self.made: torch.Tensor
        self.register_buffer("kept", torch.zeros(24))
        self.register_buffer("made", torch.zeros(24), persistent=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.convolved(self.table(ids).transpose(1, 2)).transpose(1, 2)
        return self.head(self.norm(x + self.kept + self.made))


@pytest.fixture(scope="module")
def tied() -> Any:
    return trace(Tied(), inputs=("ids: int64[B,S]",), at={"S": 16}, warn=lambda _: None)


NORM, BIAS, KEPT, IDLE_BIAS = 2 * 24, 24, 24, 2
TABLE, CONV, IDLE = 40 * 24, 24 * 24 * 3, 2 * 8


def test_as_the_model_has_it(tied: Any) -> None:
    state = sum(each.numel() * each.element_size() for each in Tied().state_dict().values()) - TABLE * 4
    assert tied.stored_bytes() == tied.stored_bytes("fp32") == state
    assert tied.stored_bytes("fp16") == state / 2


def test_tied_weights_are_one_and_convolutions_have_a_row_for_each_channel(tied: Any) -> None:
    rest = 4 * (NORM + BIAS + KEPT + IDLE_BIAS)
    assert tied.stored_bytes("weights=int8:channel") == (TABLE + 40 * 4) + (CONV + 24 * 4) + (IDLE + 2 * 4) + rest
    # 72 inputs of an output channel are three groups of 32, 24 of the head are one, 8 of the one not used are one.
    groups = 24 * 3 + 40 * 1 + 2 * 1
    assert tied.stored_bytes("weights=int4:g32") == (TABLE + CONV + IDLE) // 2 + 2 * groups + rest


def test_the_last_product_is_the_head(tied: Any) -> None:
    assert tied.stored_bytes("fp16,head=fp32") == tied.stored_bytes("fp16") + 2 * TABLE


class Multiplied(nn.Module):
    """Weights whose rows are the inputs, as GPT-2 has them, and whose columns are, transposed on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.zeros(10, 6))
        self.columns = nn.Parameter(torch.zeros(4, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.mm(torch.mm(x, self.rows), self.columns.t())


def test_scales_follow_the_inputs(tmp_path: Path) -> None:
    costs = trace(Multiplied(), inputs=("x: float32[B,10]",), warn=lambda _: None)
    assert costs.stored_bytes("weights=int8:g10") == 10 * 6 + 4 * 6 + 2 * (6 * 1 + 4 * 1)
    costs.save(tmp_path / "multiplied.json")
    assert load(tmp_path / "multiplied.json").stored_bytes("weights=int8:g10") == costs.stored_bytes("weights=int8:g10")


def test_integers_stay_as_they_are() -> None:
    class Counted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.zeros(8))
            self.index: torch.Tensor
            self.register_buffer("index", torch.zeros(8, dtype=torch.int64))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.scale[self.index]

    costs = trace(Counted(), inputs=("x: float32[B,8]",), warn=lambda _: None)
    assert costs.stored_bytes("int8") == 8 + 64


def test_files_without_storages_are_refused_by_name() -> None:
    old = load(Path(__file__).parents[1] / "data" / "version1" / "resnet18.json")
    with pytest.raises(FxcostError, match=r"was saved before files held who feeds whom"):
        old.stored_bytes("awq-g128")
