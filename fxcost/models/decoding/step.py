"""A language model of transformers as one step of decoding: what it is called with, and how."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownParameterType=false
# pyright: reportUnknownVariableType=false
# transformers is typed in part.

import inspect
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DummyLayer, get_layer_types_and_kwargs

from fxcost.errors import FxcostError
from fxcost.inputs import Arguments, InputSpec, Positions
from fxcost.models.decoding.attention import fused, is_latent
from fxcost.models.decoding.cache import Buffer, LatentBuffer
from fxcost.models.huggingface import LONGEST_DEFAULT, positions_of
from fxcost.tracing import TraceError, rehearse
from fxcost.tracing.sizes.naming import user_place
from fxcost.tracing.source import Source

PAST = "P"
FULL, WINDOW, NONE = "full_attention", "sliding_attention", "dummy"
SUPPORTED = "decoder-only language models of transformers with full, sliding-window or latent attention"

Buffers = Mapping[int, tuple[Any, ...]]
"""Of each layer that has a cache: its tensors, or what stands for them."""


def decode_source(source: Source) -> Source:
    """The source called for one new token a sequence, ``input_ids[B,1]``, with a cache of ``P`` positions and the new one's.

    The shapes of the cache are those that the model hands to it in a first call; the configuration tells which layers keep a
    window only. Raises `FxcostError` for a model that is no decoder-only language model, or that keeps something else.
    """
    model = _language_model(source)
    config = model.config.get_text_config(decoder=True)
    windows = _windows(source.ref, config)
    _refuse_hidden_windows(source.ref, model, windows)
    tokens = {"input_ids": InputSpec("input_ids", "int64", ("B", 1))}
    if "position_ids" in inspect.signature(model.forward).parameters:
        tokens["position_ids"] = InputSpec("position_ids", "int64", ("B", 1))
    masked, cache = _first_call(source.ref, model, windows, tokens)
    _refuse_repeated_heads(source.ref, config, cache)
    positions = positions_of(config)
    return replace(
        source,
        arguments=Arguments((), {**tokens, "past": cache}, call=partial(_step, masked)),
        # A table of biases is cut to the mask's length: at the table's very end the cut is none, and P would be a number.
        defaults={"B": source.defaults.get("B", 1), PAST: min(positions, LONGEST_DEFAULT) - (2 if masked else 1)},
        reaches={"position_ids": (PAST, PAST)},
        assumptions=_assumptions(model, windows),
    )


def _language_model(source: Source) -> Any:
    model = source.module
    decodes = (
        isinstance(model, PreTrainedModel)
        and model.can_generate()
        and not model.config.is_encoder_decoder
        and model.main_input_name == "input_ids"
        and "past_key_values" in inspect.signature(model.forward).parameters
    )
    if not decodes:
        kind = "an exported program" if model is None else f"a {type(model).__name__}"
        raise FxcostError(f"{source.ref} is {kind}, which --mode decode cannot run; it takes {SUPPORTED}")
    return model


def _windows(ref: str, config: Any) -> dict[int, int | None]:
    """Of each layer that keeps keys and values: how many positions at most, None without a limit."""
    try:
        kinds, details = get_layer_types_and_kwargs(config)
    except AttributeError as error:
        raise FxcostError(
            f"{ref}: its configuration does not tell how its layers keep a past ({error}); --mode decode takes {SUPPORTED}"
        ) from error
    for layer, kind in enumerate(kinds):
        if kind in (FULL, WINDOW, NONE):
            continue
        raise FxcostError(
            f"{ref}: layer {layer} is of the kind {kind}, which --mode decode does not know; it takes {SUPPORTED}"
        )
    layers = enumerate(zip(kinds, details, strict=True))
    return {
        layer: detail["sliding_window"] if kind == WINDOW else None for layer, (kind, detail) in layers if kind != NONE
    }


def _refuse_hidden_windows(ref: str, model: torch.nn.Module, windows: Mapping[int, int | None]) -> None:
    """A layer that attends to a window of which the configuration's kinds of layers say nothing, as GPT-Neo's do."""
    for path, module in model.named_modules():
        layer = getattr(module, "layer_idx", getattr(module, "layer_id", -1))
        window = getattr(module, "sliding_window", None) if getattr(module, "is_sliding", True) else None
        local = window or getattr(module, "attention_type", None) == "local"
        if local and windows.get(layer, local) is None:
            raise FxcostError(
                f"{ref}: {path} attends to a window, but transformers keeps its whole past; "
                "--mode decode would count what no serving engine keeps"
            )


def _first_call(
    ref: str, model: Any, windows: Mapping[int, int | None], tokens: Mapping[str, InputSpec]
) -> tuple[bool, Buffers]:
    """Whether the model needs a mask, to add its biases to or to run at all; and the cache's tensors, as it hands them over."""
    failures: list[TraceError] = []
    for masked in (True,) if getattr(model.config, "alibi", False) else (False, True):
        try:
            return masked, _buffers_of(ref, _filled(model, windows, tokens, masked), windows)
        except TraceError as error:
            failures.append(error)
    said, place = str(failures[0]).partition("\n")[0], user_place(failures[0].__cause__ or failures[0])
    raise FxcostError(
        f"{ref} does not run one step of decoding: {said.removeprefix('the model does not run at B=2: ')}{place}\n"
        f"Leave --mode out for a whole pass; --mode decode takes {SUPPORTED}"
    ) from failures[0]


def _filled(model: Any, windows: Mapping[int, int | None], tokens: Mapping[str, InputSpec], masked: bool) -> Cache:
    """A cache with what the model hands to it in a call with one position before it. Raises `TraceError` when it does not run."""
    cache = _cache(model, dict.fromkeys(windows, ()), past=1)

    def first_call(model: torch.nn.Module, _: Mapping[str, Any], **given: Any) -> Any:
        return _called(model, cache, given, masked)

    rehearse(model, Arguments((), tokens, call=first_call), {"B": 2})
    return cache


def _buffers_of(ref: str, cache: Cache, windows: Mapping[int, int | None]) -> Buffers:
    """The cache's tensors, each with the size and heads that the model gives them in a first call."""
    found: dict[int, tuple[Any, ...]] = {}
    for layer, window in windows.items():
        kept: Any = cache.layers[layer]
        if not kept.buffers:
            raise FxcostError(f"{ref}: layer {layer} keeps no keys and values; --mode decode takes {SUPPORTED}")
        found[layer] = tuple(_spec(layer, *each, window) for each in zip(kept.names, kept.buffers, strict=True))
    return found


def _assumptions(model: Any, windows: Mapping[int, int | None]) -> tuple[str, ...]:
    notes = [
        "one new token for each sequence, written in place into a cache that has room for it",
    ]
    kept = Counter(window for window in windows.values() if window is not None)
    notes += [f"{n} of {len(windows)} layers keep the last {window:,} positions only" for window, n in kept.items()]
    latent = next(filter(is_latent, model.modules()), None)
    if latent is not None:
        notes.append(
            f"latent attention keeps {latent.kv_lora_rank} + {latent.qk_rope_head_dim} numbers of a position for all heads and runs "
            "absorbed: queries and outputs meet the matrices that would expand the cache"
        )
    return tuple(notes)


def _spec(layer: int, name: str, shown: torch.Tensor, window: int | None) -> InputSpec:
    _, heads, _, size = shown.shape
    dims = ("B", heads, Positions(PAST, window), size)
    return InputSpec(f"past_key_values.{layer}.{name}", str(shown.dtype).removeprefix("torch."), dims, state=True)


def _refuse_repeated_heads(ref: str, config: Any, cache: Buffers) -> None:
    """A few models hand their cache each key once for every query that shares it, which no serving engine does."""
    told = next((n for key in ("num_key_value_heads", "num_kv_heads") if (n := getattr(config, key, None))), None)
    most = max(spec.dims[1] for tensors in cache.values() for spec in tensors)
    if told is not None and most > told:
        raise FxcostError(
            f"{ref}: transformers keeps {most} heads of keys in the cache of this model, which has {told}; "
            "--mode decode would count what no serving engine moves"
        )


def _step(masked: bool, model: torch.nn.Module, sizes: Mapping[str, Any], *, past: Buffers, **given: Any) -> Any:
    return _called(model, _cache(model, past, sizes[PAST]), given, masked)


def _cache(model: torch.nn.Module, buffers: Buffers, past: Any) -> Cache:
    """A cache of transformers with these tensors in it."""
    latent = {module.layer_idx for module in model.modules() if is_latent(module)}
    layers: list[Any] = [
        (LatentBuffer if layer in latent else Buffer)(past, buffers[layer]) if layer in buffers else DummyLayer()
        for layer in range(max(buffers) + 1)
    ]
    return Cache(layers=layers)


def _called(model: torch.nn.Module, cache: Cache, given: Mapping[str, Any], masked: bool) -> torch.Tensor:
    with fused(model, masked=masked):
        return model(**given, past_key_values=cache, use_cache=True).logits
