"""Attention of transformers: what is counted against what its models call on real tensors, and against pairs counted by hand."""

import importlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch.nn import functional

from fxcost.api import trace
from fxcost.costs import analysis
from fxcost.formulas.algebra import expanded
from fxcost.formulas.evaluation import evaluate
from fxcost.formulas.with_sympy import from_sympy
from fxcost.graph import TensorSpec, operations
from fxcost.inputs import InputSpec
from fxcost.models.building import built_on
from fxcost.models.references import load_source
from fxcost.ops.kernels import ATTENTION
from fxcost.ops.rules import call_of

WINDOW = 8
TEXT = {
    "hidden_size": 64, "intermediate_size": 96, "vocab_size": 97, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "pad_token_id": 0,
}  # fmt: skip
GEMMA = {**TEXT, "head_dim": 16, "sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
LANGUAGE: Mapping[str, Mapping[str, Any]] = {
    "llama": {"model_type": "llama", **TEXT},
    "qwen2": {"model_type": "qwen2", **TEXT},
    "mistral": {"model_type": "mistral", **TEXT, "sliding_window": WINDOW},
    "gemma3": {"model_type": "gemma3_text", **GEMMA},
    "gpt2": {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 97},
    "bert": {"model_type": "bert", **TEXT},
    "t5": {"model_type": "t5", "d_model": 64, "d_kv": 16, "d_ff": 96, "num_heads": 4, "num_layers": 2, "vocab_size": 97},
}  # fmt: skip
WRITTEN_OUT: Mapping[str, Mapping[str, Any]] = {
    "gemma2": {"model_type": "gemma2", **GEMMA},
    "gpt_oss": {
        "model_type": "gpt_oss", **GEMMA, "num_local_experts": 4, "num_experts_per_tok": 2, "intermediate_size": 32,
    },
}  # fmt: skip
OTHERS: Mapping[str, Mapping[str, Any]] = {
    "whisper": {
        "model_type": "whisper", "d_model": 64, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 4,
        "decoder_attention_heads": 4, "encoder_ffn_dim": 96, "decoder_ffn_dim": 96, "vocab_size": 97, "num_mel_bins": 8,
        "max_source_positions": 20, "pad_token_id": 0,
    },
    "vit": {
        "model_type": "vit", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96,
        "image_size": 32, "patch_size": 8,
    },
}  # fmt: skip
SMALL = {**LANGUAGE, **WRITTEN_OUT, **OTHERS}


class Seen(NamedTuple):
    """One call of attention, by what its cost follows from."""

    query: tuple[int, ...]
    key: tuple[int, ...]
    value: tuple[int, ...]
    mask: tuple[Any, ...] | None
    is_causal: bool
    enable_gqa: bool


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    def refer(name: str) -> str:
        folder = tmp_path_factory.mktemp(name)
        (folder / "config.json").write_text(json.dumps(SMALL[name]))
        return f"hf:{folder}"

    return refer


@pytest.fixture
def graph_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The graph that a model's costs are read off."""
    kept: list[Any] = []
    plain = analysis.collect

    def keeping(source: Any, traced: Any, *others: Any) -> Any:
        kept.append(traced.graph)
        return plain(source, traced, *others)

    def graph(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(analysis, "collect", keeping)
        trace(*args, **kwargs, warn=lambda _: None)
        return kept[-1]

    return graph


def shape(tensor: TensorSpec, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(int(evaluate(from_sympy(size), sizes)) for size in tensor.shape)


def counted(graph: Any, sizes: Mapping[str, int]) -> Iterator[Seen]:
    """The calls of torch's own attention in a graph, at sizes."""
    for node in operations(graph):
        if str(node.target) == "aten.scaled_dot_product_attention.default":
            call = call_of(node)
            assert call is not None
            q, k, v = (shape(call[name], sizes) for name in ("query", "key", "value"))
            mask = call["attn_mask"]
            told = None if mask is None else (*shape(mask, sizes), mask.dtype)
            yield Seen(q, k, v, told, call["is_causal"], call["enable_gqa"])


def called(monkeypatch: pytest.MonkeyPatch, ref: str, given: Mapping[str, torch.Tensor]) -> list[Seen]:
    """The calls that a model makes on real tensors."""
    seen: list[Seen] = []
    plain = functional.scaled_dot_product_attention

    def spy(query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
            scale: Any = None, enable_gqa: bool = False) -> Any:  # fmt: skip
        mask = None if attn_mask is None else (*attn_mask.shape, str(attn_mask.dtype).removeprefix("torch."))
        seen.append(Seen(tuple(query.shape), tuple(key.shape), tuple(value.shape), mask, is_causal, enable_gqa))
        return plain(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)

    module = real_model(ref)
    monkeypatch.setattr(functional, "scaled_dot_product_attention", spy)
    with torch.no_grad():
        module(**given, **({"use_cache": False} if "input_ids" in given else {}))
    monkeypatch.setattr(functional, "scaled_dot_product_attention", plain)
    return seen


def real_model(ref: str) -> Any:
    with built_on("cpu"):
        return load_source(ref).module


def tensors_of(specs: tuple[InputSpec, ...], sizes: Mapping[str, int]) -> dict[str, torch.Tensor]:
    """Ones, so that masks hide nothing, and tokens are none of those that stand for padding."""
    return {spec.name: torch.ones(spec.shape(sizes), dtype=getattr(torch, spec.dtype)) for spec in specs}


@pytest.mark.parametrize("masked", [True, False], ids=["a mask of ones", "no mask"])
@pytest.mark.parametrize("length", [WINDOW - 3, WINDOW, WINDOW + 5])
@pytest.mark.parametrize("name", LANGUAGE)
def test_attention_is_counted_as_it_is_called_on_real_tensors(
    name: str, length: int, masked: bool, reference: Any, graph_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is causal, shares heads and reads a mask, and all its shapes, below, at and above a window."""
    ref, sizes = reference(name), {"B": 3, "S": length, "T": 4}
    specs = tuple(spec for spec in load_source(ref).arguments.specs() if masked or spec.name != "attention_mask")
    traced_at = length + 2 if length >= WINDOW else length - 1
    graph = graph_of(ref, inputs=() if masked else specs, at={"S": traced_at, **({"T": 6} if name == "t5" else {})})
    run = called(monkeypatch, ref, tensors_of(specs, sizes))
    assert list(counted(graph, sizes)) == run != []


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_too(name: str, reference: Any, graph_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ref, sizes = reference(name), {"B": 3, "T": 5, "H": 32, "W": 32}
    specs = load_source(ref).arguments.specs()
    run = called(monkeypatch, ref, tensors_of(specs, sizes))
    assert list(counted(graph_of(ref), sizes)) == run != []


@pytest.mark.parametrize("length", [WINDOW - 3, WINDOW + 5])
@pytest.mark.parametrize("name", WRITTEN_OUT)
def test_what_a_kernel_takes_in_is_what_attention_is_given(
    name: str, length: int, reference: Any, graph_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers writes out what has sinks or soft caps; the one call counted has its queries, keys, window and sinks."""
    ref, sizes = reference(name), {"B": 3, "S": length}
    given: list[Any] = []
    code = importlib.import_module(f"transformers.models.{name}.modeling_{name}")
    plain = code.eager_attention_forward

    def spy(module: Any, query: Any, key: Any, value: Any, mask: Any, **others: Any) -> Any:
        sinks = others.get("s_aux")
        shapes = *(tuple(each.shape) for each in (query, key, value)), None if sinks is None else tuple(sinks.shape)
        given.append((*shapes, module.is_causal if hasattr(module, "is_causal") else True, others["sliding_window"]))
        return plain(module, query, key, value, mask, **others)

    monkeypatch.setattr(code, "eager_attention_forward", spy)
    specs = load_source(ref).arguments.specs()
    assert called(monkeypatch, ref, tensors_of(specs, sizes)) == []
    monkeypatch.setattr(code, "eager_attention_forward", plain)
    graph = graph_of(ref)
    assert list(counted(graph, sizes)) == []
    calls = [call_of(node) for node in operations(graph) if node.target is ATTENTION]
    found = [
        (
            *(shape(call[part], sizes) for part in ("query", "key", "value")),
            None if call["sinks"] is None else shape(call["sinks"], sizes),
            call["is_causal"],
            call["window"],
        )
        for call in calls
        if call is not None
    ]
    assert found == given != []
    assert all(call is not None and call["attn_mask"] is None for call in calls)


SKIPPING = {"mistral": 2, "gemma3": 1, "gemma2": 1, "gpt_oss": 1}
"""How many of two layers have a window."""


@pytest.mark.parametrize("name", SKIPPING)
def test_pairs_within_a_window_are_those_of_transformers_own_mask(name: str, reference: Any) -> None:
    """Counted on real tensors, from one position to far beyond the window, by formulas that hold for all of them."""
    from transformers import masking_utils

    ref = reference(name)
    costs = trace(ref, causal_skip=True, warn=lambda _: None)
    config = real_model(ref).config
    config._attn_implementation = "sdpa"
    heads, size = config.num_attention_heads, getattr(config, "head_dim", None) or 64 // 4
    for length in (2, 3, WINDOW - 1, WINDOW, WINDOW + 1, 29):
        asked: dict[str, Any] = {
            "inputs_embeds": torch.zeros(1, length, 1),
            "attention_mask": None,
            "past_key_values": None,
        }
        made: tuple[Any, ...] = (masking_utils.create_sliding_window_causal_mask, masking_utils.create_causal_mask)
        within, below = (int(make(config, **asked, allow_is_causal_skip=False).sum()) for make in made)
        layers = [layer for layer in costs.at(B=3, S=length).layers if layer.rule == "attention"]
        pairs = [int(layer.macs) / (3 * heads * 2 * size) for layer in layers]
        assert pairs == [*[within] * SKIPPING[name], *[below] * (2 - SKIPPING[name])]
        assert [layer.reason.endswith("masked pairs skipped") for layer in layers] == [True, True]


def test_a_window_is_read_without_a_mask_when_pairs_are_skipped(reference: Any) -> None:
    """Queries, keys, values of fewer heads and the output once; as users of transformers run it, a mask and each head's own."""
    at = {"B": 3, "S": WINDOW + 5}
    length, heads, shared, size = at["S"], 4, 2, 16
    skipping, plain = (
        trace(reference("mistral"), at={"S": 20}, causal_skip=skip, warn=lambda _: None).at(at)
        for skip in (True, False)
    )
    (one, _), (other, _) = (
        [layer.cost.bytes_moved(costs.bits()) for layer in costs.layers if layer.rule == "attention"]
        for costs in (skipping, plain)
    )
    assert one == 4 * 3 * length * size * 2 * (heads + shared)
    assert other == 4 * 3 * length * size * 4 * heads + 3 * length**2
    assert "sliding windows of 8 positions are known to the kernel" in " ".join(skipping.assumptions)
    assert "sliding windows" not in " ".join(plain.assumptions)


def test_formulas_of_users_own_branch_end_at_the_window(reference: Any) -> None:
    """transformers builds a mask from as many positions on as the window has, and none below."""
    below = trace(reference("mistral"), at={"S": 5}, warn=lambda _: None)
    above = trace(reference("mistral"), at={"S": 20}, warn=lambda _: None)
    assert (below.symbols["S"].ends, above.symbols["S"].low) == ((2, WINDOW - 1), WINDOW)


def test_masks_are_said_to_hide_nothing_where_a_model_asks(reference: Any) -> None:
    said = "attention masks hide nothing: rows are full, one sequence each"
    assert said in trace(reference("llama")).assumptions
    assert said not in trace(reference("vit")).assumptions


def test_a_module_given_in_python_is_answered_alike(reference: Any) -> None:
    ref = reference("llama")
    module: Any = load_source(ref).module
    inputs = {spec.name: spec for spec in load_source(ref).arguments.specs()}
    given = trace(
        module, kwargs={**{name: str(spec) for name, spec in inputs.items()}, "use_cache": False}, at={"S": 9}
    )
    assert [layer.cost for layer in given.layers] == [layer.cost for layer in trace(ref, at={"S": 9}).layers]
    assert given.assumptions == trace(ref).assumptions


def test_what_a_run_is_answered_ends_with_it(reference: Any) -> None:
    from transformers import masking_utils, modeling_utils

    def state() -> Any:
        names = ("fast_all", "is_tracing", "find_packed_sequence_indices", "sliding_window_causal_mask_function")
        mappings = (masking_utils.ALL_MASK_ATTENTION_FUNCTIONS, modeling_utils.ALL_ATTENTION_FUNCTIONS)
        return [getattr(masking_utils, name) for name in names], [dict(each._local_mapping) for each in mappings]

    module: Any = load_source(reference("gpt_oss")).module
    before = state()
    trace(module, inputs=("input_ids: int64[B,S]",), at={"S": 5}, causal_skip=True, warn=lambda _: None)
    assert state() == before
    assert module.config._attn_implementation == "eager"


def published(folder: Path, config: Mapping[str, Any]) -> str:
    (folder / "config.json").write_text(json.dumps(config))
    return f"hf:{folder}"


def triangle(length: int) -> int:
    """Pairs of a query and a key that is not after it."""
    return length * (length + 1) // 2


def test_llama_3_8b_by_hand(tmp_path: Path) -> None:
    """A prefill of 2 rows of 1,000 tokens in bfloat16, every operation of its code written down from the configuration."""
    hidden, inner, words, layers, heads, shared, size = 4096, 14336, 128256, 32, 32, 8, 128
    config = {
        "model_type": "llama", "num_hidden_layers": layers, "hidden_size": hidden, "intermediate_size": inner, "vocab_size": words,
        "num_attention_heads": heads, "num_key_value_heads": shared, "max_position_embeddings": 8192, "dtype": "bfloat16",
    }  # fmt: skip
    rows, length = 2, 1000
    costs = trace(published(tmp_path, config), causal_skip=True, warn=lambda _: None).at(B=rows, S=length)
    tokens, keys = rows * length, shared * size

    weights = {(hidden, hidden): 2, (hidden, keys): 2, (hidden, inner): 3}
    matrices = layers * sum(n * a * b for (a, b), n in weights.items()) + hidden * words
    scores = layers * rows * heads * triangle(length)
    assert costs.total.macs == tokens * matrices + scores * 2 * size
    assert costs.total.params == matrices + hidden * words + (2 * layers + 1) * hidden

    # Bytes of one token: what is read and what is written, in two bytes a number, or four where norms count in float32.
    norm = (2 + 4) * hidden + (4 + 4) * hidden + (4 * hidden + 4) + (4 + 4) + (4 + 4) + (4 * hidden + 4 + 4 * hidden)
    norm += (4 + 2) * hidden + (2 + 2) * hidden  # back to bfloat16, times its weight
    linears = sum(n * 2 * (a + b) for (a, b), n in weights.items())
    # Rotary positions of queries and keys: times cosines; half of them negated, put in front of the rest, times sines; the sum.
    rotary = (4 + 2 + 4 + 4 + 6) * (hidden + keys)
    attention = 2 * (hidden + 2 * keys + hidden)  # whose result lies as the projection wants it: nothing is copied
    gate = 4 * inner + 6 * inner
    sums = 2 * 6 * hidden
    layer = 2 * norm + linears + rotary + attention + gate + sums
    # The row of a token, found by its number; the mask as booleans, and their sum; logits.
    ends = (2 + 2) * hidden + 8 + (8 + 1) + 1 + norm + 2 * (hidden + words)
    # A layer reads cosines and sines of each position for queries and for keys, 2 bytes each.
    tables = layers * 4 * 2 * size * length
    # Positions, plus how many came before, as floats, times half as many frequencies, that beside itself; then cosines and
    # sines, each scaled and rounded to bfloat16.
    half = size // 2
    made = length * (8 + 16 + (8 + 4) + (4 + 4 * half) + (4 * half + 4 * size) + 2 * (8 + 8 + 6) * size)
    made += (2 + 4) * half + 4 * half  # the frequencies, made floats and read
    held = 2 * (matrices + (2 * layers + 1) * hidden)
    whole_mask = 1
    assert costs.total.bytes_moved(costs.bits()) == (
        tokens * (layers * layer + ends) + tables + made + held + whole_mask
    )


def test_gemma_3_4b_by_hand(tmp_path: Path) -> None:
    """Of its 34 layers each sixth sees all positions before its own, the others the last 1,024; below that all are alike.

    FLOPs of all matrix products, and their bytes, attention's among them, in bfloat16.
    """
    hidden, inner, words, layers, heads, shared, size, window = 2560, 10240, 262208, 34, 8, 4, 256, 1024
    config = {
        "model_type": "gemma3_text", "num_hidden_layers": layers, "hidden_size": hidden, "intermediate_size": inner,
        "vocab_size": words, "num_attention_heads": heads, "num_key_value_heads": shared, "head_dim": size, "sliding_window": window,
        "dtype": "bfloat16",
    }  # fmt: skip
    costs = trace(published(tmp_path, config), causal_skip=True, warn=lambda _: None)
    whole, keys = heads * size, shared * size
    block = [(hidden, whole), (hidden, keys), (hidden, keys), (whole, hidden), *2 * [(hidden, inner)], (inner, hidden)]
    matrices = [*layers * block, (hidden, words)]
    full = layers // 6
    for rows, length in ((3, 700), (1, window), (2, 8192)):
        at, tokens = costs.at(B=rows, S=length), rows * length
        seen = min(length, window)
        within = triangle(seen) + (length - seen) * window
        pairs = rows * heads * (full * triangle(length) + (layers - full) * within)
        macs = tokens * sum(a * b for a, b in matrices) + pairs * 2 * size
        products = [layer for layer in at.layers if layer.unit == "matrix" and "rotary" not in layer.name]
        assert sum(layer.macs for layer in products) == macs
        assert sum(layer.flops for layer in products) == 2 * macs
        read = sum(a * b + tokens * (a + b) for a, b in matrices)
        attention = layers * tokens * 2 * (whole + keys)  # queries and the output, keys and values
        assert sum(layer.cost.bytes_moved(at.bits()) for layer in products) == 2 * (read + attention)
    assert [layer.rule for layer in costs.layers].count("attention") == layers


def test_recurrent_layers_are_given_no_mask(tmp_path: Path) -> None:
    """Mamba 2 looks whether its mask hides anything, and multiplies by it where it does."""
    small = {"hidden_size": 64, "num_heads": 4, "head_dim": 32, "n_groups": 1, "state_size": 16, "vocab_size": 97}
    ref = published(tmp_path, {"model_type": "mamba2", "num_hidden_layers": 1, **small})
    masked, unmasked = (
        trace(ref, inputs=inputs, at={"S": 300}, warn=lambda _: None).total
        for inputs in ((), ("input_ids: int64[B,S]",))
    )
    assert masked.macs == unmasked.macs
    bits = {"int64": 64, "float32": 32, "bool": 8}
    asked: Any = masked.bytes_moved(bits) - unmasked.bytes_moved(bits)  # pyright: ignore[reportOperatorIssue]
    # The mask read, whether each of it is one written and read, and the answer.
    assert str(expanded(asked)) == "10*B*S + 1"


def test_a_mask_that_a_model_computes_with_itself_is_built(reference: Any) -> None:
    """What stands for a mask in a kernel that knows its window is of no use to code that calls attention on its own."""
    from transformers import masking_utils

    config: Any = real_model(reference("mistral")).config

    class Own(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mask = masking_utils.create_sliding_window_causal_mask(config, x, None, None)
            return functional.scaled_dot_product_attention(x, x, x, None if mask is None else mask[:, 0])

    config._attn_implementation = "sdpa"
    skipping, plain = (
        trace(Own(), inputs=("x: float32[B,S,16]",), at={"S": 20}, causal_skip=skip, warn=lambda _: None)
        for skip in (True, False)
    )
    assert [layer.cost for layer in skipping.layers] == [layer.cost for layer in plain.layers]
    assert plain.layers[-1].cost.reads["activation"]["bool"] != 0
