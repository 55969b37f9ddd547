"""Models of transformers from their configurations, with the inputs and sizes they were published with."""

import inspect
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from fxcost.errors import FxcostError, near_matches
from fxcost.files import checked_file
from fxcost.inputs import Arguments, InputSpec, children
from fxcost.models.building import build, with_defaults
from fxcost.models.vision_language import with_pictures
from fxcost.models.zoos import BATCH, zoo_module
from fxcost.tracing.source import Source

USUAL_IMAGE = 224
ONE_SECOND = 16_000
"""Samples of audio taken where none are given, at the rate that speech models are trained with."""
LONGEST_DEFAULT = 2048
"""The longest sequence taken where none is given; shorter for a model that holds fewer positions."""
LONGEST_SAID = 200
"""Letters of an error of transformers that are told."""


def huggingface_model(name: str, settings: dict[str, Any]) -> Source:
    """A model of transformers from a configuration: a folder, a file, or a name on the hub."""
    transformers = zoo_module("transformers")
    ref = f"hf:{name}"
    config = _configuration(transformers, name, settings)
    family = _class_of(ref, transformers, config)
    module = build(lambda: family(config), {}, ref)
    if config.dtype is not None:
        module.to(config.dtype)
    takes = inspect.signature(module.forward).parameters
    positions = positions_of(config)
    length = ONE_SECOND if module.main_input_name == "input_values" else min(positions, LONGEST_DEFAULT)
    height, width = image_size(config)
    usual = {"B": BATCH, "S": length, "T": length, "H": height, "W": width}
    inputs = _inputs_of(module, config, takes)
    notes: tuple[str, ...] = ()
    if {"input_ids", "pixel_values"} <= takes.keys():
        inputs, notes = with_pictures(module, inputs, usual)
    source = with_defaults(ref, module, Arguments((), inputs), usual)
    return replace(source, reaches={"attention_mask": (0, 1)}, assumptions=notes)


def _configuration(transformers: ModuleType, name: str, settings: Mapping[str, Any]) -> Any:
    """The configuration with the user's settings in it; what transformers checks of either is the user's to mend."""
    ref, place = f"hf:{name}", Path(name)
    file = place / "config.json" if place.is_dir() else place
    if file.exists():
        checked_file(file, "configuration")
    try:
        config = transformers.AutoConfig.from_pretrained(name)
    except Exception as error:
        if not place.exists():
            hint = "no such file or directory here, and no such model could be fetched from the hub"
            raise FxcostError(f"{ref}: {hint}: {_said(error)}") from error
        raise FxcostError(
            f"{ref}: transformers refuses this configuration: {_said(error)}\nCorrect the file, then name it again"
        ) from error
    unknown = [key for key in settings if not hasattr(config, key)]
    if unknown:
        raise FxcostError(f"{ref}: its configuration has no {unknown[0]!r}{near_matches(unknown[0], config.to_dict())}")
    try:
        config.update(settings)
    except Exception as error:
        given = " ".join(f"--set {key}={value}" for key, value in settings.items())
        raise FxcostError(f"{ref}: its configuration does not take {given}: {_said(error)}") from error
    return config


def _said(error: Exception) -> str:
    """What an error says of the configuration, in one line: what was wrong rather than which check found it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    found = lines[1:] if lines[0].startswith(("Validation error", "Class validation error")) else lines[:1]
    said = re.sub(r"^\w+Error: ", "", " ".join(found or lines))
    return said if len(said) <= LONGEST_SAID else said[:LONGEST_SAID].rpartition(". ")[0] or said[:LONGEST_SAID]


def positions_of(config: Any) -> int:
    """The longest sequence that a configuration names; the usual one where it names none."""
    names = ("max_position_embeddings", "n_positions", "max_seq_len")
    held = (getattr(each, name, None) for each in (config, getattr(config, "text_config", None)) for name in names)
    return int(next(filter(None, held), LONGEST_DEFAULT))


def image_size(config: Any) -> tuple[int, int]:
    """Height and width of the images that a configuration, or its part for images, names; the usual ones where it names none."""
    parts = (config, getattr(config, "vision_config", None))
    size: Any = next(filter(None, (getattr(part, "image_size", None) for part in parts)), USUAL_IMAGE)
    return (size, size) if isinstance(size, int) else tuple(size)


def _picture(module: Any, config: Any) -> InputSpec:
    """An image for each text, at the size that the model's processor makes of any."""
    channels = getattr(getattr(config, "vision_config", config), "num_channels", None) or 3
    return InputSpec("pixel_values", _dtype_of(module), ("B", channels, *image_size(config)))


TASKS = (
    "IMAGE_TEXT_TO_TEXT", "ZERO_SHOT_IMAGE_CLASSIFICATION", "MASKED_LM", "CAUSAL_LM", "IMAGE_CLASSIFICATION",
    "OBJECT_DETECTION", "ZERO_SHOT_OBJECT_DETECTION", "UNIVERSAL_SEGMENTATION", "DEPTH_ESTIMATION", "SEMANTIC_SEGMENTATION",
    "VIDEO_CLASSIFICATION", "CTC", "AUDIO_CLASSIFICATION", "VISUAL_QUESTION_ANSWERING", "MULTIMODAL_LM",
)  # fmt: skip
"""What a type is used with, the first of those that it has. Beside a classifier of images, one that also reads text was
published as the two together; a type with masked and with causal language models is an encoder, unless it says otherwise."""
TRANSLATING = ("SEQ_TO_SEQ_CAUSAL_LM", "SPEECH_SEQ_2_SEQ")
"""The same of types that have an encoder and a decoder, and of what hears beside a language model."""


def _class_of(ref: str, transformers: ModuleType, config: Any) -> Any:
    """The class the configuration names, or the usual one of its kind."""
    for architecture in getattr(config, "architectures", None) or ():
        if hasattr(transformers, architecture):
            return getattr(transformers, architecture)
    tasks = (*TRANSLATING, *TASKS) if getattr(config, "is_encoder_decoder", False) else (*TASKS, *TRANSLATING)
    if getattr(config, "is_decoder", False):
        tasks = ("CAUSAL_LM", *tasks)
    for task in (*(f"MODEL_FOR_{task}" for task in tasks), "MODEL"):
        mapping = getattr(transformers, f"{task}_MAPPING", {})
        with suppress(ValueError):  # the mapping names a class that transformers does not have
            if type(config) in mapping:
                found = mapping[type(config)]
                return next(iter(children(found)), found)
    raise FxcostError(
        f"{ref}: transformers has no model for a {type(config).__name__}; name one in its 'architectures'"
    )


SPECTROGRAM = ("max_source_positions", "num_mel_bins")
"""What tells the frames and bins of a speech model's input."""


def _inputs_of(module: Any, config: Any, takes: Mapping[str, Any]) -> dict[str, Any]:
    tokens = ("B", "S")
    inputs: dict[str, Any] = {}
    if {"input_ids", "pixel_values"} <= takes.keys():
        inputs = {"input_ids": InputSpec("input_ids", "int64", tokens), "pixel_values": _picture(module, config)}
        inputs |= {n: InputSpec(n, "int64", tokens) for n in ("attention_mask", "token_type_ids") if n in takes}
    elif module.main_input_name == "pixel_values":
        inputs["pixel_values"] = InputSpec(
            "pixel_values", "float32", ("B", getattr(config, "num_channels", 3), "H", "W")
        )
    elif module.main_input_name == "input_ids":
        inputs["input_ids"] = InputSpec("input_ids", "int64", tokens)
        if "attention_mask" in takes:
            inputs["attention_mask"] = InputSpec("attention_mask", "int64", tokens)
    elif module.main_input_name == "input_values" and hasattr(config, "conv_stride"):
        inputs["input_values"] = InputSpec("input_values", "float32", tokens)  # samples of a waveform
    elif module.main_input_name == "input_features" and all(hasattr(config, name) for name in SPECTROGRAM):
        frames = 2 * config.max_source_positions  # its first convolutions halve them
        inputs["input_features"] = InputSpec("input_features", "float32", ("B", config.num_mel_bins, frames))
    if inputs and "decoder_input_ids" in takes:
        inputs["decoder_input_ids"] = InputSpec("decoder_input_ids", "int64", ("B", "T"))
    dtype = _dtype_of(module)
    inputs = {name: replace(spec, dtype=dtype) if spec.dtype == "float32" else spec for name, spec in inputs.items()}
    if "use_cache" in takes:
        inputs["use_cache"] = False
    return inputs


def _dtype_of(module: Any) -> str:
    return str(next(module.parameters()).dtype).removeprefix("torch.")
