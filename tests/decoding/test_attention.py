"""What the step computes is what transformers computes, by another way: fused, in place, latents absorbed."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch

from fxcost.errors import FxcostError
from fxcost.inputs import Arguments
from fxcost.models.decoding import decode_source
from fxcost.models.decoding.attention import attend
from fxcost.models.references import load_source
from fxcost.tracing.source import Source

EXACT = (
    "llama",
    "qwen3",
    "mistral",
    "gemma3",
    "gpt2",
    "falcon",
    "falcon with slopes",
    "bloom",
    "mpt",
    "opt",
    "deepseek_v2",
    "deepseek_v3",
    "minicpm3",
)


def on_the_cpu(reference: str) -> Any:
    """The model of a configuration with random weights, in double precision."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(reference.removeprefix("hf:"))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float64).eval()
    if hasattr(config, "n_routed_experts"):
        model.set_experts_implementation("batched_mm")  # rows grouped by expert are multiplied in lower precision only
    return model


def buffers_of(cache: Any, source: Source) -> dict[int, tuple[torch.Tensor, ...]]:
    """transformers' cache of the past as the step's own buffers, the newest position not yet written."""
    given: Mapping[int, tuple[Any, ...]] = (source.arguments.kwargs or {})["past"]
    found: dict[int, tuple[torch.Tensor, ...]] = {}
    for layer, specs in given.items():
        kept = [cache.layers[layer].keys, cache.layers[layer].values]
        kept = [torch.cat(kept, -1)] if len(specs) == 1 else kept
        found[layer] = tuple(torch.cat((each, torch.full_like(each[:, :, :1], torch.nan)), 2) for each in kept)
    return found


@pytest.mark.parametrize("past", [3, 7, 8, 21], ids=lambda n: f"past {n}")
@pytest.mark.parametrize("name", EXACT)
def test_a_step_gives_what_transformers_gives(name: str, past: int, configured: Callable[..., str]) -> None:
    """Next-token logits after a past of random tokens, below the window of 8 and beyond it."""
    from transformers import DynamicCache

    model = on_the_cpu(configured(name))
    source = decode_source(Source(name, model, Arguments()))
    tokens = torch.randint(0, 97, (2, past + 1), generator=torch.Generator().manual_seed(past))
    with torch.no_grad():
        cache = DynamicCache(config=model.config)
        model(tokens[:, :past], past_key_values=cache, use_cache=True)
        buffers = buffers_of(cache, source)
        expected = model(tokens[:, past:], past_key_values=cache, use_cache=True).logits
        given = {"input_ids": tokens[:, past:], "position_ids": torch.full((2, 1), past)}
        inputs = {key: given[key] for key in source.arguments.kwargs or {} if key in given}
        assert source.arguments.call is not None
        found = source.arguments.call(model, {"P": past}, past=buffers, **inputs)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("past", [3, 21])
@pytest.mark.parametrize("name", EXACT)
def test_the_buffers_are_as_long_as_transformers_reads(
    name: str, past: int, configured: Callable[..., str], shape_of: Callable[..., list[int]]
) -> None:
    """The sizes told of the cache's inputs are those of the buffers that the numbers above came from."""
    from transformers import DynamicCache

    model = on_the_cpu(configured(name))
    source = decode_source(Source(name, model, Arguments()))
    cache = DynamicCache(config=model.config)
    with torch.no_grad():
        model(torch.zeros(2, past, dtype=torch.long), past_key_values=cache, use_cache=True)
    told = [shape_of(spec, {"B": 2, "P": past}) for spec in source.arguments.specs() if spec.state]
    assert told == [list(t.shape) for tensors in buffers_of(cache, source).values() for t in tensors]


def test_a_module_is_left_as_it_was_found(configured: Callable[..., str]) -> None:
    from fxcost.api import trace

    model = on_the_cpu(configured("deepseek_v3"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    attributes = [(module, dict(vars(module))) for module in model.modules()]
    setting = model.config._attn_implementation
    trace(model, mode="decode")
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())
    assert all(vars(module).keys() == held.keys() for module, held in attributes)
    assert model.config._attn_implementation == setting


def test_a_tensor_that_no_rule_knows_is_refused() -> None:
    """A kernel that reads more than queries, keys, values and sinks would be counted without it."""
    one = torch.zeros(1, 1, 1, 4)
    with pytest.raises(FxcostError, match="the attention of Linear reads indices"):
        attend(torch.nn.Linear(1, 1), one, one, one, None, indices=one)


def test_sinks_are_read_and_nothing_else_changes(configured: Callable[..., str]) -> None:
    """GPT-OSS has one number for each head beside keys and values, and keeps a window in every second layer."""
    from fxcost.api import trace

    tiny = {
        "model_type": "gpt_oss", "hidden_size": 64, "intermediate_size": 32, "vocab_size": 97, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "sliding_window": 8, "num_local_experts": 4,
        "num_experts_per_tok": 2,
    }  # fmt: skip
    costs = trace(configured("llama", **tiny), mode="decode").at(B=3, P=20)
    attentions = [layer for layer in costs.layers if layer.rule == "attention"]
    # Two heads of 16 numbers for keys and as many for values: of 8 positions in one layer, of 21 in the other.
    assert [layer.cost.reads["state"] for layer in attentions] == [
        {"float32": 3 * 8 * 2 * 2 * 16},
        {"float32": 3 * 21 * 2 * 2 * 16},
    ]
    assert [layer.cost.reads["weight"] for layer in attentions] == [{"float32": 4}] * 2
    assert costs.unknown == {}
    assert not [layer.name for layer in costs.layers if layer.op == "(unused)"]


def test_the_source_of_a_reference_decodes_as_the_module_does(configured: Callable[..., str]) -> None:
    source = decode_source(load_source(configured("mistral")))
    assert [str(spec) for spec in source.arguments.specs()][:4] == [
        "input_ids: int64[B,1]",
        "position_ids: int64[B,1]",
        "past_key_values.0.keys: float32[B,2,min(P+1,8),16]",
        "past_key_values.0.values: float32[B,2,min(P+1,8),16]",
    ]
