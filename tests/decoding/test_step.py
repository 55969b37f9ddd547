"""What a step of decoding is called with, what it costs, and what is refused."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from fxcost.api import trace
from fxcost.errors import FxcostError
from fxcost.formulas.algebra import Constant, least_of
from fxcost.formulas.expressions import symbol
from fxcost.models.decoding import decode_source
from fxcost.models.references import load_source
from fxcost.verify.flop_counter_mode import flops_by_torch

ALL = (
    "llama", "qwen3", "mistral", "gemma3", "gpt2", "falcon", "falcon with slopes", "bloom", "mpt", "opt", "deepseek_v2",
    "deepseek_v3", "minicpm3",
)  # fmt: skip


def drawn_sizes(name: str) -> list[dict[str, int]]:
    """A past of one, one below the window of 8, one that fills it, and some beyond."""
    draw = random.Random(name)  # noqa: S311  # sizes, not secrets
    return [{"B": draw.randint(1, 9), "P": past} for past in (1, 6, 7, 8, draw.randint(9, 300))]


@pytest.mark.parametrize("name", ALL)
def test_contractions_equal_torchs_own_count(
    name: str, decoded: Callable[[str], Any], configured: Callable[..., str]
) -> None:
    costs = decoded(name)
    source = decode_source(load_source(configured(name)))
    for sizes in drawn_sizes(name):
        at = costs.at(sizes)
        ours = sum(int(layer.flops) for layer in at.layers if layer.unit == "matrix")
        assert (sizes, ours) == (sizes, flops_by_torch(source, sizes))
        assert ours == 2 * int(at.total.macs)


@pytest.mark.parametrize("name", ALL)
def test_the_cache_is_read_once_and_written_at_one_position(name: str, decoded: Callable[[str], Any]) -> None:
    """Whatever the sizes: nothing copies it, converts it, or repeats its heads."""
    costs = decoded(name)
    (dtype,) = costs.state.whole
    for sizes in drawn_sizes(name):
        at = costs.at(sizes)
        assert at.total.reads["state"] == at.state.whole
        assert at.total.writes["state"] == {dtype: sizes["B"] * costs.state.per_token[dtype]}
    readers = {layer.rule for layer in costs.layers if "state" in layer.cost.reads}
    written_out = {"bloom": {"matrix_product", "matrix_product_with_addend"}, "mpt": {"matrix_product"}}
    assert readers == written_out.get(name, {"attention"})
    assert {layer.op for layer in costs.layers if "state" in layer.cost.writes} == {"aten.copy_.default"}


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_unknown_and_each_parameter_is_counted_once(
    name: str, decoded: Callable[[str], Any], configured: Callable[..., str]
) -> None:
    costs = decoded(name)
    module: Any = load_source(configured(name)).module
    assert costs.unknown == {}
    assert costs.total.params == sum(parameter.numel() for parameter in module.parameters())
    assert (costs.mode, costs.rung, list(costs.symbols)) == ("decode", "replayed", ["B", "P"])
    assert all(allowed.low == 1 for allowed in costs.symbols.values())


PER_TOKEN = {
    # Keys and values of 2 layers, in float32.
    "llama": 2 * 2 * (2 * 16) * 4,  # 2 heads of 16
    "gpt2": 2 * 2 * (4 * 16) * 4,  # all 4 heads
    "falcon": 2 * 2 * 16 * 4,  # one head for all queries
    "deepseek_v3": 2 * (16 + 8) * 4,  # a latent of 16 and a rotary part of 8, once for keys and values
}


@pytest.mark.parametrize(("name", "expected"), PER_TOKEN.items())
def test_bytes_of_one_position(name: str, expected: int, decoded: Callable[[str], Any]) -> None:
    costs = decoded(name)
    assert costs.state.bytes_per_token(costs.bits()) == expected
    assert costs.at(B=3, P=9).state.bytes_held(costs.bits()) == 3 * 10 * expected


PUBLISHED = {
    # "Insights into DeepSeek-V3" (arXiv:2505.09343), table 1: kB of cache per token in bf16, and the layers of the model.
    "deepseek_v3": (70_272, 61, {}),
    "qwen2": (327_680, 80, {"hidden_size": 8192, "num_attention_heads": 64, "num_key_value_heads": 8}),
    "llama": (516_096, 126, {"hidden_size": 16384, "num_attention_heads": 128, "num_key_value_heads": 8}),
}


@pytest.mark.parametrize("family", PUBLISHED)
def test_published_bytes_of_one_token(family: str, configured: Callable[..., str]) -> None:
    """DeepSeek-V3, Qwen2.5-72B and Llama-3.1-405B, of which two layers stand for all."""
    published, layers, sizes = PUBLISHED[family]
    small = {
        "model_type": family,
        "num_hidden_layers": 2,
        "vocab_size": 100,
        "intermediate_size": 64,
        "dtype": "bfloat16",
    }
    if family == "deepseek_v3":
        latent = ("kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "head_dim")
        sizes = dict(zip(latent, (512, 1536, 128, 64, 128, 64), strict=True)) | {"num_attention_heads": 128}
    reference = configured("deepseek_v3" if family == "deepseek_v3" else "llama", **small, **sizes)
    costs = trace(reference, mode="decode")
    assert costs.state is not None
    assert costs.state.bytes_per_token(costs.bits()) == published * 2 // layers


def test_a_window_bounds_what_is_read(decoded: Callable[[str], Any]) -> None:
    """One layer of Gemma 3 keeps 8 positions and one keeps all: 2 heads of 16 for keys, as many for values, in float32."""
    costs = decoded("gemma3")
    batch, past = symbol("B"), symbol("P")
    each = 2 * 2 * 16
    assert costs.total.reads["state"] == {
        "float32": each * batch * least_of(Constant(8), past + 1) + each * batch * (past + 1)
    }
    assert [costs.at(B=1, P=length).total.reads["state"]["float32"] for length in (6, 7, 8, 100)] == [
        each * (held + length + 1) for length, held in ((6, 7), (7, 8), (8, 8), (100, 8))
    ]
    assert "1 of 2 layers keep the last 8 positions only" in costs.assumptions


def test_a_table_of_positions_limits_the_past(decoded: Callable[[str], Any]) -> None:
    """GPT-2's table has 1,024 rows, the last of which is for the new token; rotary positions have no end."""
    assert decoded("gpt2").symbols["P"].high == 1023
    assert decoded("llama").symbols["P"].high is None
    with pytest.raises(FxcostError, match="P=1024 is above 1023"):
        decoded("gpt2").at(P=1024)


def test_the_model_is_told_how_long_its_past_is(decoded: Callable[[str], Any]) -> None:
    """OPT makes a row of ones for each sequence, as long as the past and the new token."""
    batch, past = symbol("B"), symbol("P")
    assert [layer.outputs for layer in decoded("opt").layers if layer.op == "aten.ones.default"] == [
        ((batch, past + 1),)
    ]
    assert decoded("opt").symbols["P"].high == 511


def test_a_past_of_fixed_length(configured: Callable[..., str], decoded: Callable[[str], Any]) -> None:
    fixed = trace(configured("mistral"), "B", mode="decode", at={"P": 100})
    assert fixed.fixed["P"].value == 100
    assert fixed.at(B=5).total.bytes_moved(fixed.bits()) == decoded("mistral").at(B=5, P=100).total.bytes_moved(
        fixed.bits()
    )


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "T5": ({"model_type": "t5", "num_layers": 1}, "is a T5ForConditionalGeneration, which --mode decode cannot run"),
    "BERT": ({"model_type": "bert", "num_hidden_layers": 1}, "is a BertForMaskedLM, which --mode decode cannot run"),
    "Mamba": ({"model_type": "mamba", "num_hidden_layers": 1}, "is a MambaForCausalLM, which --mode decode cannot run"),
    "Jamba": ({"model_type": "jamba", "num_hidden_layers": 2}, "layer 0 is of the kind linear_attention"),
    "Llama 4": ({"model_type": "llama4_text", "num_hidden_layers": 4}, "is of the kind chunked_attention"),
    "BLT": ({"model_type": "blt"}, "'BltConfig' object has no attribute 'num_hidden_layers'"),
    "GPT-J": ({"model_type": "gptj", "n_layer": 1, "n_embd": 64, "n_head": 4, "rotary_dim": 8, "dtype": "bfloat16"},
              "runs aten.to.dtype over its whole cache before attention"),
    "GPT-Neo": ({"model_type": "gpt_neo", "num_layers": 2, "attention_types": [[["global", "local"], 1]]},
                "transformer.h.1.attn attends to a window, but transformers keeps its whole past"),
    "Falcon 40B": ({"model_type": "falcon", "num_hidden_layers": 1, "hidden_size": 64, "num_attention_heads": 8,
                    "num_kv_heads": 2, "new_decoder_architecture": True, "alibi": False},
                   "keeps 8 heads of keys in the cache of this model, which has 2"),
}  # fmt: skip


@pytest.mark.parametrize("model", REFUSED)
def test_what_has_no_cache_of_keys_and_values_is_refused(model: str, tmp_path: Any) -> None:
    import json

    config, said = REFUSED[model]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(FxcostError) as refusal:
        trace(f"hf:{tmp_path}", mode="decode")
    assert said in str(refusal.value)
    assert len(str(refusal.value).splitlines()) <= 2


def test_what_does_not_run_is_told_with_its_place_and_the_next_step(
    configured: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that fails with a mask as without one."""
    source = load_source(configured("llama"))
    monkeypatch.setattr(type(source.module.model.norm), "forward", lambda *_: None.to(1))  # type: ignore[union-attr]
    with pytest.raises(FxcostError) as refusal:
        decode_source(source)
    first, second = str(refusal.value).splitlines()
    assert "does not run one step of decoding: AttributeError: 'NoneType' object has no attribute 'to'" in first
    assert "test_step.py" in first
    assert second.startswith("Leave --mode out for a whole pass; --mode decode takes decoder-only language models")


def test_a_table_of_biases_limits_the_past(decoded: Callable[[str], Any]) -> None:
    """MPT's has 512 columns, of which one is for the new token; where it is used whole P would be a number."""
    assert decoded("mpt").symbols["P"].high == 510
    assert decoded("mpt").defaults["P"] == 510


def test_modules_of_other_kinds_and_inputs_are_refused(configured: Callable[..., str]) -> None:
    with pytest.raises(FxcostError, match="is a Linear, which --mode decode cannot run; it takes decoder-only"):
        trace(nn.Linear(2, 2), mode="decode")
    with pytest.raises(FxcostError, match="inputs of its own"):
        trace(configured("llama"), mode="decode", inputs=("input_ids: int64[B,1]",))
    with pytest.raises(FxcostError, match="inputs of its own"):
        trace(nn.Linear(2, 2), mode="decode", kwargs={"input": torch.zeros(2, 2)})
    with pytest.raises(
        FxcostError, match=r"no symbol S|has a symbol S; its inputs: input_ids.*and 3 more like the last"
    ):
        trace(configured("llama"), "B,S", mode="decode")
