"""Models that read a text and look at a picture: what they are called with, and what is said of what did not run."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from fxcost.api import trace
from fxcost.costs.files.saved import load
from fxcost.costs.model import NOT_RUN, cautions
from fxcost.models.references import load_source
from fxcost.models.vision_language import ALIKE, ONE_AT_A_TIME, PLACEHOLDERS
from fxcost.verify.flop_counter_mode import flops_by_torch

TEXT = {
    "hidden_size": 64, "intermediate_size": 96, "vocab_size": 97, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "pad_token_id": 0,
}  # fmt: skip
VISION = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 32, "patch_size": 8,
}  # fmt: skip
CONFIGURATIONS: Mapping[str, Mapping[str, Any]] = {
    "llava": {
        "model_type": "llava", "text_config": {"model_type": "llama", **TEXT},
        "vision_config": {"model_type": "clip_vision_model", **VISION}, "image_token_index": 96,
    },
    "gemma3": {
        "model_type": "gemma3", "text_config": {"model_type": "gemma3_text", **TEXT, "sliding_window": 8},
        "vision_config": {"model_type": "siglip_vision_model", **VISION, "vision_use_head": False},
        "mm_tokens_per_image": 4, "image_token_index": 96,
    },
    "clip": {
        "model_type": "clip", "text_config": {**TEXT, "max_position_embeddings": 20}, "vision_config": VISION, "projection_dim": 16,
    },
    "qwen2_5_vl": {
        "model_type": "qwen2_5_vl", "text_config": {"model_type": "qwen2_5_vl_text", **TEXT, "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]}},
        "vision_config": {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4, "out_hidden_size": 64},
    },
    "smolvlm": {
        "model_type": "smolvlm", "text_config": {"model_type": "llama", **TEXT},
        "vision_config": {"model_type": "smolvlm_vision", **VISION}, "scale_factor": 2, "image_token_id": 96,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    def refer(name: str) -> str:
        folder = tmp_path_factory.mktemp(name)
        (folder / "config.json").write_text(json.dumps(CONFIGURATIONS[name]))
        return f"hf:{folder}"

    return refer


@pytest.fixture(scope="module")
def told(reference: Any) -> Callable[[str], tuple[Any, list[str]]]:
    """The costs of a model, and what was said on the way."""
    known: dict[str, tuple[Any, list[str]]] = {}

    def take(name: str) -> tuple[Any, list[str]]:
        if name not in known:
            said: list[str] = []
            known[name] = trace(reference(name), at={"S": 20}, warn=said.append), said
        return known[name]

    return take


BOTH = {
    # The picture's size, whether a batch is kept, what is assumed of both together, and in which modules both run.
    "llava": ((32, 32), False, {PLACEHOLDERS, ONE_AT_A_TIME}, ("vision_tower", "language_model")),
    "gemma3": ((32, 32), True, {PLACEHOLDERS, ALIKE}, ("vision_tower", "language_model")),
    "clip": ((32, 32), True, set[str](), ("vision_model", "text_model")),
}


@pytest.mark.parametrize("name", BOTH)
def test_both_inputs_are_given(name: str, told: Any, reference: Any) -> None:
    """All parameters are used, and contractions are as torch counts them, both towers' among them."""
    size, batched, assumed, towers = BOTH[name]
    costs, _ = told(name)
    source = load_source(reference(name))
    module: Any = source.module
    specs = {spec.name: spec.dims for spec in source.arguments.specs()}
    batch = "B" if batched else 1
    assert specs["pixel_values"] == (batch, 3, *size)
    assert specs["input_ids"] == specs["attention_mask"] == (batch, "S")
    assert {PLACEHOLDERS, ONE_AT_A_TIME, ALIKE} & set(costs.assumptions) == assumed
    ran = {layer.module for layer in costs.layers if layer.macs}
    assert all(any(tower in path for path in ran) for tower in towers)
    assert costs.total.params == sum(parameter.numel() for parameter in module.parameters())
    assert costs.unknown == {}
    for sizes in ({"B": 3, "S": 19}, {"B": 1, "S": 12}):
        at = {k: v for k, v in sizes.items() if k in costs.symbols}
        ours = sum(int(layer.flops) for layer in costs.at(at).layers if layer.unit == "matrix")
        assert ours == flops_by_torch(source, {**sizes, "B": sizes["B"] if batched else 1})


LEFT = {"qwen2_5_vl": "model.visual", "smolvlm": "model.vision_model"}
"""Models that take their pictures apart by values: how many tiles there are, and which of them are padding."""


@pytest.mark.parametrize("name", LEFT)
def test_a_tower_that_did_not_run_is_told_with_its_parameters(
    name: str, told: Any, reference: Any, tmp_path: Path
) -> None:
    costs, said = told(name)
    module: Any = load_source(reference(name)).module
    tower = sum(parameter.numel() for parameter in module.get_submodule(LEFT[name]).parameters())
    (note,) = cautions(costs)
    assert note.startswith(f"{NOT_RUN}{LEFT[name]} ({tower:,} parameters)")
    assert "no pixel_values" in note
    assert note in said
    costs.save(tmp_path / "saved.json")
    assert note in load(tmp_path / "saved.json").assumptions


def test_text_given_alone_is_told(reference: Any, fxcost_command: Any, tmp_path: Path) -> None:
    """On stderr, whatever is asked of the model, and of its saved file."""
    text = ("-i", "input_ids: int64[B,S]", "--at", "S=20")
    code, _, said = fxcost_command("crossover", reference("llava"), *text, "-p", "l4", "--precision", "fp16")
    assert (code, said.startswith(f"{NOT_RUN}model.vision_tower (")) == (0, True)
    assert "model.multi_modal_projector" in said
    saved = tmp_path / "text.json"
    fxcost_command("trace", reference("llava"), *text, "-o", saved)
    code, _, said = fxcost_command("roofline", saved, "-p", "l4", "--precision", "fp16", "--at", "S=20")
    assert (code, said.startswith(NOT_RUN)) == (0, True)


def test_a_decoding_step_says_what_it_leaves_out(reference: Any) -> None:
    costs = trace(reference("llava"), mode="decode", warn=lambda _: None)
    (note,) = cautions(costs)
    assert note.startswith(f"{NOT_RUN}model.vision_tower (")
    assert "--input" not in note
