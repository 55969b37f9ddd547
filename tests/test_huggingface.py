"""Which model a configuration stands for that names no architecture."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fxcost.models.references import load_source

SMALL = {
    "hidden_size": 64, "intermediate_size": 96, "vocab_size": 97, "num_hidden_layers": 1, "num_attention_heads": 4,
    "num_key_value_heads": 2,
}  # fmt: skip
USED_WITH: Mapping[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", {}),
    "gpt2": ("GPT2LMHeadModel", {}),
    "bert": ("BertForMaskedLM", {}),
    "bert that decodes": ("BertLMHeadModel", {"model_type": "bert", "is_decoder": True}),
    "t5": ("T5ForConditionalGeneration", {"d_model": 64, "d_kv": 16, "d_ff": 96, "num_heads": 4, "num_layers": 1}),
    "bart": ("BartForConditionalGeneration", {"d_model": 64, "encoder_layers": 1, "decoder_layers": 1}),
    "whisper": ("WhisperForConditionalGeneration", {"d_model": 64, "encoder_layers": 1, "decoder_layers": 1}),
    "vit": ("ViTForImageClassification", {}),
    "clip": ("CLIPModel", {}),
    "siglip": ("SiglipModel", {}),
    "llava": ("LlavaForConditionalGeneration", {}),
    "gemma3": ("Gemma3ForConditionalGeneration", {}),
    "gemma3_text": ("Gemma3ForCausalLM", {}),
    "qwen2_5_vl": ("Qwen2_5_VLForConditionalGeneration", {}),
    "smolvlm": ("SmolVLMForConditionalGeneration", {}),
    "blip": ("BlipForConditionalGeneration", {}),
    "depth_anything": ("DepthAnythingForDepthEstimation", {}),
    "dpt": ("DPTForDepthEstimation", {}),
    "wav2vec2": ("Wav2Vec2ForCTC", {}),
    "audio-spectrogram-transformer": ("ASTForAudioClassification", {}),
    "qwen2_audio": ("Qwen2AudioForConditionalGeneration", {}),
    "siglip_vision_model": ("SiglipVisionModel", {}),
}


@pytest.mark.parametrize("family", USED_WITH)
def test_the_head_that_a_type_is_used_with(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    from fxcost.models import huggingface

    expected, changes = USED_WITH[family]
    kind = changes.get("model_type", family)
    config = transformers.CONFIG_MAPPING[kind](**{k: v for k, v in changes.items() if k != "model_type"})
    assert huggingface._class_of(family, transformers, config).__name__ == expected  # pyright: ignore[reportPrivateUsage]


def test_the_architecture_that_is_named_is_taken(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "bert", **SMALL, "architectures": ["BertForSequenceClassification"]})
    )
    assert type(load_source(f"hf:{tmp_path}").module).__name__ == "BertForSequenceClassification"
