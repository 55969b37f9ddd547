"""What is said of attention is what ran: fused calls, attention written out, and softmaxes that are neither."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from fxcost.api import trace

FUSED = "attention is fused: no score matrix in memory, softmax not counted"
WRITTEN_OUT = "attention is written out by the model's own code: the score matrix goes through memory, softmax counted"
NO_MASK = "attention reads all of the cache and no mask"
A_MASK = "attention reads all of the cache and a mask or bias of the model"
COUNTED = "masked pairs of causal attention are counted"


def of_attention(costs: Any) -> list[str]:
    return [note for note in costs.assumptions if "attention" in note]


Function = Callable[[torch.Tensor], torch.Tensor]


class Layer(nn.Module):
    """A projection, then a function of it."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.into, self.out, self.function = nn.Linear(8, 8), nn.Linear(8, 8), function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.function(self.into(x)))


def fused(x: torch.Tensor) -> torch.Tensor:
    return scaled_dot_product_attention(x, x, x)


def written_out(x: torch.Tensor) -> torch.Tensor:
    return ((x @ x.transpose(1, 2)) * 0.5).float().softmax(-1) @ x


def by_einsum(x: torch.Tensor) -> torch.Tensor:
    return torch.einsum("bij,bjd->bid", torch.einsum("bid,bjd->bij", x, x).softmax(-1), x)


def gate(x: torch.Tensor) -> torch.Tensor:
    return x * x.softmax(-1)


def pooled(x: torch.Tensor) -> torch.Tensor:
    """Of a projection, not of scores, though a product with an activation follows."""
    return x.softmax(1).transpose(1, 2) @ x


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ([fused], [FUSED, COUNTED]),
        ([written_out], [WRITTEN_OUT, COUNTED]),
        ([by_einsum], [WRITTEN_OUT, COUNTED]),
        ([gate, pooled], []),
        (
            [fused, written_out, written_out],
            [FUSED.replace(":", " in 1 of 3 calls:"), WRITTEN_OUT.replace(":", " in 2 of 3 calls:"), COUNTED],
        ),
    ],
    ids=["fused", "written out", "by einsum", "neither", "both"],
)
def test_a_forward_pass(layers: list[Function], said: list[str]) -> None:
    model = nn.Sequential(*map(Layer, layers))
    assert of_attention(trace(model, inputs=("input: float32[B,S,8]",), at={"S": 5})) == said


def test_what_is_written_out_has_its_scores_in_memory_and_math_adds_none() -> None:
    """Of 3 sequences of 5: the product writes 75 scores, scale and softmax read and write them, the second product reads them."""
    costs = [
        trace(Layer(written_out), inputs=("x: float32[B,S,8]",), at={"S": 7}, attention=kind).at(B=3, S=5)
        for kind in ("fused", "math")
    ]
    assert costs[0].layers == costs[1].layers
    touched = [layer for layer in costs[0].layers if layer.outputs[0] == (3, 5, 5) or (3, 5, 5) in layer.inputs]
    assert [layer.op for layer in touched] == [
        "aten.matmul.default", "aten.mul.Tensor", "aten.softmax.int", "aten.matmul.default",
    ]  # fmt: skip


def test_pairs_that_are_written_out_are_never_skipped() -> None:
    def causal(x: torch.Tensor) -> torch.Tensor:
        return scaled_dot_product_attention(x, x, x, is_causal=True)

    model = nn.Sequential(Layer(causal), Layer(written_out))
    said = of_attention(trace(model, inputs=("input: float32[B,S,8]",), at={"S": 5}, causal_skip=True))[-1]
    assert said.startswith("masked pairs are skipped in 1 of 2 attentions")


DECODED = {
    "xglm": ({"d_model": 64, "attention_heads": 4, "num_layers": 2, "ffn_dim": 96}, [WRITTEN_OUT, NO_MASK]),
    "codegen": ({"n_embd": 64, "n_head": 4, "n_layer": 2, "rotary_dim": 8}, [WRITTEN_OUT, NO_MASK]),
    "gptj": ({"n_embd": 64, "n_head": 4, "n_layer": 2, "rotary_dim": 8}, [WRITTEN_OUT, NO_MASK]),
    # Its slopes times positions are what its products add to.
    "bloom": ({"hidden_size": 64, "n_head": 4, "n_layer": 2}, [WRITTEN_OUT, A_MASK]),
    "gpt2": ({"n_embd": 64, "n_head": 4, "n_layer": 2, "architectures": ["GPT2LMHeadModel"]}, [FUSED, NO_MASK]),
    "gpt_oss": (
        {"hidden_size": 64, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2},
        [FUSED, NO_MASK],  # sinks are one number for each head
    ),
}  # fmt: skip


@pytest.mark.parametrize("family", DECODED)
def test_a_step_of_decoding(family: str, tmp_path: Path) -> None:
    config, said = DECODED[family]
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family, "vocab_size": 97, **config}))
    costs = trace(f"hf:{tmp_path}", mode="decode", warn=lambda _: None)
    assert of_attention(costs) == said
    operators = {layer.op for layer in costs.layers if "state" in layer.cost.reads}
    assert (FUSED in said) == (operators == {"aten.scaled_dot_product_attention.default"})


def test_a_cache_with_position_biases(tmp_path: Path) -> None:
    """Falcon hands its slopes times positions to the fused call as a mask."""
    config = {
        "model_type": "falcon",
        "hidden_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "vocab_size": 97,
    }
    (tmp_path / "config.json").write_text(json.dumps({**config, "new_decoder_architecture": False, "alibi": True}))
    assert of_attention(trace(f"hf:{tmp_path}", mode="decode", warn=lambda _: None)) == [FUSED, A_MASK]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (nn.Linear(8, 8), "0 attentions: there is none"),
        (nn.Sequential(Layer(fused), Layer(fused)), "0 of 2 attentions: the others hide nothing"),
    ],
    ids=["none", "bidirectional"],
)
def test_that_nothing_is_skipped_is_said(model: nn.Module, said: str) -> None:
    told: list[str] = []
    costs = trace(model, inputs=("input: float32[B,S,8]",), at={"S": 5}, causal_skip=True, warn=told.append)
    assert told == [each for each in costs.assumptions if each.startswith(f"masked pairs are skipped in {said}")] != []


def test_decoding_skips_nothing_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "xglm", "vocab_size": 97, **DECODED["xglm"][0]}))
    told: list[str] = []
    trace(f"hf:{tmp_path}", mode="decode", causal_skip=True, warn=told.append)
    assert told == ["masked pairs are skipped in 0 of 2 attentions: the newest token sees all that came before it"]


COMMANDS = {
    "trace": (),
    "explain": ("bert.embeddings.LayerNorm",),
    "crossover": ("-p", "l4", "--precision", "fp16"),
    "roofline": ("-p", "l4", "--precision", "fp16"),
    "sweep": ("-p", "l4", "--precision", "fp16", "--over", "B=1:2:1"),
    "lock": (),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_that_nothing_is_skipped(command: str, tmp_path: Path, fxcost_command: Any) -> None:
    config = {
        "model_type": "bert",
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_attention_heads": 4,
        "vocab_size": 97,
    }
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 2}))
    more = ("-o", tmp_path / "lock.json") if command == "lock" else ()
    code, _, said = fxcost_command(command, f"hf:{tmp_path}", *COMMANDS[command], *more, "--causal-skip")
    assert code == 0
    assert said.startswith("masked pairs are skipped in 0 of 2 attentions: ")


def test_a_saved_model_says_it_again(tmp_path: Path, fxcost_command: Any) -> None:
    trace(nn.Linear(8, 8), inputs=("input: float32[B,8]",), causal_skip=True, warn=lambda _: None).save(
        tmp_path / "a.json"
    )
    code, _, said = fxcost_command("roofline", tmp_path / "a.json", "-p", "l4", "--precision", "fp16")
    assert (code, said) == (0, "masked pairs are skipped in 0 attentions: there is none")
