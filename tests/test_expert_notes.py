"""What is said of mixtures of experts: all of them run, or those that a router picks."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fxcost.api import trace

SMALL = {
    "hidden_size": 64, "intermediate_size": 32, "vocab_size": 97, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 1,
}  # fmt: skip
ALL = "all 4 experts run on every token in 2 layers: Llama4TextExperts multiplies them all, whatever a router picks"
PICKED = "tokens pick experts uniformly: of E experts Touched(E, k, tokens)"
SAID: Mapping[str, tuple[dict[str, Any], str, str]] = {
    "llama4_text": ({"intermediate_size_mlp": 48, "interleave_moe_layer_step": 1}, ALL, PICKED),
    "mixtral": ({}, PICKED, "experts run on every token"),
    "gpt_oss": ({}, PICKED, "experts run on every token"),
}


@pytest.mark.parametrize("family", SAID)
def test_what_experts_do_is_said(family: str, tmp_path: Path) -> None:
    more, said, unsaid = SAID[family]
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family, **SMALL, **more}))
    costs = trace(f"hf:{tmp_path}", at={"S": 5}, warn=lambda _: None)
    assert said in "; ".join(costs.assumptions)
    assert unsaid not in "; ".join(costs.assumptions)
    if said is ALL:
        experts = [
            layer for layer in costs.at(B=3, S=5).layers if layer.module_type == "Llama4TextExperts" and layer.macs
        ]
        assert sum(int(layer.macs) for layer in experts) == 2 * 3 * 5 * 4 * (64 * 2 * 32 + 32 * 64)
