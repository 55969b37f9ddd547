"""Language models that tests decode with, by their configurations."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

TINY = {"hidden_size": 64, "intermediate_size": 96, "vocab_size": 97, "num_hidden_layers": 2, "num_attention_heads": 4}
LATENT = {
    "kv_lora_rank": 16, "q_lora_rank": 24, "qk_nope_head_dim": 12, "qk_rope_head_dim": 8, "v_head_dim": 10,
    "head_dim": 8, "num_key_value_heads": 4,
}  # fmt: skip
EXPERTS = {
    "n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "n_group": 2,
    "topk_group": 1, "first_k_dense_replace": 1,
}  # fmt: skip
SMALL: Mapping[str, Mapping[str, Any]] = {
    "llama": {"model_type": "llama", **TINY, "num_key_value_heads": 2},
    "qwen3": {"model_type": "qwen3", **TINY, "num_key_value_heads": 2, "head_dim": 16},
    "mistral": {"model_type": "mistral", **TINY, "num_key_value_heads": 2, "sliding_window": 8},
    "gemma3": {
        "model_type": "gemma3_text", **TINY, "num_key_value_heads": 2, "head_dim": 16, "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "gpt2": {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 97},
    "falcon": {
        "model_type": "falcon", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 97,
        "multi_query": True, "new_decoder_architecture": False, "alibi": False,
    },
    "falcon with slopes": {
        "model_type": "falcon", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 97,
        "multi_query": False, "new_decoder_architecture": False, "alibi": True,
    },
    "bloom": {"model_type": "bloom", "hidden_size": 64, "n_layer": 2, "n_head": 4, "vocab_size": 97},
    "mpt": {"model_type": "mpt", "d_model": 64, "n_layers": 2, "n_heads": 4, "vocab_size": 97, "max_seq_len": 512},
    "opt": {
        "model_type": "opt", "hidden_size": 64, "ffn_dim": 96, "vocab_size": 97, "num_hidden_layers": 2, "word_embed_proj_dim": 64,
        "num_attention_heads": 4, "max_position_embeddings": 512,
    },
    "deepseek_v2": {"model_type": "deepseek_v2", **TINY, **LATENT, **EXPERTS, "topk_method": "greedy"},
    "deepseek_v3": {"model_type": "deepseek_v3", **TINY, **LATENT, **EXPERTS},
    "minicpm3": {"model_type": "minicpm3", **TINY, **LATENT},
}  # fmt: skip
"""Small enough for the CPU; windows of 8 positions."""

LARGE: Mapping[str, Mapping[str, Any]] = {
    "llama-3-8b": {
        "model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 14336,
        "vocab_size": 128256, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 8192,
        "dtype": "bfloat16",
    },
    "llama-2-13b": {
        "model_type": "llama", "num_hidden_layers": 40, "hidden_size": 5120, "intermediate_size": 13824,
        "vocab_size": 32000, "num_attention_heads": 40, "dtype": "bfloat16",
    },
    "llama-2-13b-gqa": {
        "model_type": "llama", "num_hidden_layers": 40, "hidden_size": 5120, "intermediate_size": 13824,
        "vocab_size": 32000, "num_attention_heads": 40, "num_key_value_heads": 8, "dtype": "bfloat16",
    },
    "llama-3-70b": {
        "model_type": "llama", "num_hidden_layers": 80, "hidden_size": 8192, "intermediate_size": 28672,
        "vocab_size": 128256, "num_attention_heads": 64, "num_key_value_heads": 8, "dtype": "bfloat16",
    },
}  # fmt: skip
"""Published sizes, as the configurations of these models have them."""


@pytest.fixture(scope="session")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """A reference to a model by its name above, with some of its configuration changed."""

    def refer(name: str, **changes: Any) -> str:
        folder = tmp_path_factory.mktemp(name)
        (folder / "config.json").write_text(json.dumps({**{**SMALL, **LARGE}[name], **changes}))
        return f"hf:{folder}"

    return refer


@pytest.fixture(scope="session")
def decoded(configured: Callable[..., str]) -> Callable[[str], Any]:
    """The costs of one step of a model, each traced once in a session."""
    from fxcost.api import trace

    known: dict[str, Any] = {}

    def take(name: str) -> Any:
        if name not in known:
            known[name] = trace(configured(name), mode="decode")
        return known[name]

    return take


@pytest.fixture(scope="session")
def shape_of() -> Callable[..., list[int]]:
    """The shape of an input at some sizes; a window's buffer holds as many positions as there are, up to its own."""
    from fxcost.inputs import InputSpec, Positions

    def shape(spec: InputSpec, sizes: Mapping[str, int]) -> list[int]:
        found: list[int] = []
        for dim in spec.dims:
            if isinstance(dim, Positions):
                found.append(min(sizes[dim.past] + 1, dim.most or sizes[dim.past] + 1))
            else:
                found.append(sizes[dim] if isinstance(dim, str) else dim)
        return found

    return shape
