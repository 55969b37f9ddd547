"""Models of torchvision, timm and transformers, with the inputs and sizes they were published with."""

import importlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from fxcost.building import Source, build, with_defaults
from fxcost.errors import FxcostError, near_matches
from fxcost.inputs import Arguments, InputSpec, children

BATCH = 1
"""The batch size taken where none is given."""
ONE_SECOND = 16_000
"""Samples of audio taken where none are given, at the rate that speech models are trained with."""
LONGEST_DEFAULT = 2048
"""The longest sequence taken where none is given; shorter for a model that holds fewer positions."""


def zoo_module(name: str) -> ModuleType:
    """Import a model library, or say how to get it."""
    _declare_torchvision_operators()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise FxcostError(f"{name} is not installed; pip install 'fxcost[zoo]'") from error


def _declare_torchvision_operators() -> None:
    """Make torchvision importable beside a torch its compiled half was not built for.

    Its Python half, all that models are made of, needs the names of two operators that live in the other half.
    """
    if "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for loaded in [m for m in sys.modules if m.partition(".")[0] == "torchvision"]:
            del sys.modules[loaded]
        for operator in ("nms", "qnms"):
            _DECLARED.define(  # pyright: ignore[reportUnknownMemberType]  # torch leaves its result open
                f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
        importlib.import_module("torchvision")


_DECLARED = torch.library.Library("torchvision", "FRAGMENT")


def torchvision_model(name: str, settings: dict[str, Any]) -> Source:
    """A model of torchvision, built as its published weights have it."""
    models = zoo_module("torchvision.models")
    if name not in models.list_models():
        raise FxcostError(f"torchvision has no model {name!r}{near_matches(name, models.list_models())}")
    builder = models.get_model_builder(name)
    takes = inspect.signature(builder).parameters
    # As its published weights build it: with the auxiliary head of segmentation models, without that of GoogLeNet.
    usual: dict[str, Any] = {"weights": None}
    usual |= {k: v for k, v in {"weights_backbone": None, "aux_loss": True}.items() if k in takes}
    if name.endswith("googlenet"):
        usual |= {"aux_logits": False, "init_weights": False}
    if name == "inception_v3":
        usual |= {"init_weights": False}
    module = build(builder, {**usual, **settings}, f"torchvision:{name}")
    family = builder.__module__
    size = _torchvision_size(list(models.get_model_weights(name)))
    built_for: Any = getattr(module, "image_size", None)
    if isinstance(built_for, int):
        size = (built_for, built_for)
    if ".detection." in family:
        arguments = Arguments(([InputSpec("image", "float32", (3, "H", "W"))],))
    elif ".video." in family:
        arguments = Arguments((InputSpec("x", "float32", ("B", 3, "T", "H", "W")),))
    elif ".optical_flow." in family:
        image = ("B", 3, "H", "W")
        arguments = Arguments((InputSpec("image1", "float32", image), InputSpec("image2", "float32", image)))
    else:
        arguments = Arguments((InputSpec("x", "float32", ("B", 3, "H", "W")),))
    defaults = {"B": BATCH, "T": 16, "H": size[0], "W": size[1]}
    source = with_defaults(f"torchvision:{name}", module, arguments, defaults)
    if not hasattr(module, "postprocess_detections"):
        return source
    # A one-stage detector's method of that name, which a module has to stand for.
    module.post_processing = vars(module)["postprocess_detections"] = _PostProcessing()
    return replace(source, leaves=("post_processing",))


class _PostProcessing(torch.nn.Module):
    """Stands for what follows the heads of a one-stage detector: thresholds and overlaps, decided by the data."""

    def forward(self, *_: Any) -> list[Any]:
        return []


def _torchvision_size(weights: list[Any]) -> tuple[int, int]:
    """The crop that the model's published weights were measured at; 520 for segmentation, where they only resize."""
    keywords: dict[str, Any] = getattr(weights[0].transforms, "keywords", {}) if weights else {}
    size = keywords.get("crop_size") or keywords.get("resize_size") or 224
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[-1]))


def timm_model(name: str, settings: dict[str, Any]) -> Source:
    """A model of timm at its own input size."""
    timm = zoo_module("timm")
    if not timm.is_model(name):
        raise FxcostError(f"timm has no model {name!r}{near_matches(name, timm.list_models())}")
    module = build(timm.create_model, {"model_name": name, "pretrained": False, **settings}, f"timm:{name}")
    channels, height, width = getattr(module, "default_cfg", {}).get("input_size", (3, 224, 224))
    channels = settings.get("in_chans", channels)
    if isinstance(settings.get("img_size"), int):
        height = width = settings["img_size"]
    arguments = Arguments((InputSpec("x", "float32", ("B", channels, "H", "W")),))
    return with_defaults(f"timm:{name}", module, arguments, {"B": BATCH, "H": height, "W": width})


def huggingface_model(name: str, settings: dict[str, Any]) -> Source:
    """A model of transformers from a configuration: a folder, a file, or a name on the hub."""
    transformers = zoo_module("transformers")
    ref = f"hf:{name}"
    try:
        config = transformers.AutoConfig.from_pretrained(name)
    except (OSError, ValueError, KeyError, json.JSONDecodeError) as error:
        path = Path(name)
        said = str(error).strip().splitlines()[0][:160]
        hint = (
            "the file is no model configuration"
            if path.exists()
            else "no such file or directory here, and no such model could be fetched from the hub"
        )
        raise FxcostError(f"{ref}: {hint}: {said}") from error
    unknown = [key for key in settings if not hasattr(config, key)]
    if unknown:
        raise FxcostError(f"{ref}: its configuration has no {unknown[0]!r}{near_matches(unknown[0], config.to_dict())}")
    config.update(settings)
    family = _huggingface_class(transformers, config)
    module = build(lambda: family(config), {}, ref)
    if config.dtype is not None:
        module.to(config.dtype)
    takes = inspect.signature(module.forward).parameters
    arguments = Arguments((), _huggingface_inputs(module, config, takes))
    positions = next(
        (n for key in ("max_position_embeddings", "n_positions") if (n := getattr(config, key, None))), LONGEST_DEFAULT
    )
    length = ONE_SECOND if module.main_input_name == "input_values" else min(int(positions), LONGEST_DEFAULT)
    size = getattr(config, "image_size", None) or 224
    height, width = (size, size) if isinstance(size, int) else size
    source = with_defaults(ref, module, arguments, {"B": BATCH, "S": length, "T": length, "H": height, "W": width})
    limit = positions_held(module, int(positions))
    return replace(source, limits={} if limit is None else {"S": limit, "T": limit})


def positions_held(module: torch.nn.Module, positions: int) -> int | None:
    """How many positions a model's learned tables hold; None for a model that computes its positions."""
    named: list[tuple[str, torch.nn.Module]] = [*module.named_modules()]
    rows = [m.num_embeddings for name, m in named if isinstance(m, torch.nn.Embedding) and _holds_positions(name)]
    return min(positions, *rows) if rows else None


def _holds_positions(name: str) -> bool:
    """Whether a module's name says that it is a table of positions: ``wpe``, ``embed_positions``, ``position_embeddings``."""
    last = name.rpartition(".")[2]
    return last == "wpe" or "position" in last


def _huggingface_class(transformers: ModuleType, config: Any) -> Any:
    """The class the configuration names, or the usual one of its kind."""
    for architecture in getattr(config, "architectures", None) or ():
        if hasattr(transformers, architecture):
            return getattr(transformers, architecture)
    tasks = ["MODEL_FOR_MASKED_LM", "MODEL_FOR_CAUSAL_LM", "MODEL_FOR_IMAGE_CLASSIFICATION", "MODEL"]
    if getattr(config, "is_encoder_decoder", False):
        tasks = ["MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM", "MODEL_FOR_SPEECH_SEQ_2_SEQ", *tasks]
    for task in tasks:
        mapping = getattr(transformers, f"{task}_MAPPING")
        if type(config) in mapping:
            found = mapping[type(config)]
            return next(iter(children(found)), found)
    raise FxcostError(f"transformers has no model for a {type(config).__name__}; name one in its 'architectures'")


def _huggingface_inputs(module: Any, config: Any, takes: Mapping[str, Any]) -> dict[str, Any]:
    tokens = ("B", "S")
    inputs: dict[str, Any] = {}
    if module.main_input_name == "pixel_values":
        inputs["pixel_values"] = InputSpec(
            "pixel_values", "float32", ("B", getattr(config, "num_channels", 3), "H", "W")
        )
    elif module.main_input_name == "input_ids":
        inputs["input_ids"] = InputSpec("input_ids", "int64", tokens)
        if "attention_mask" in takes:
            inputs["attention_mask"] = InputSpec("attention_mask", "int64", tokens)
    elif module.main_input_name == "input_values" and hasattr(config, "conv_stride"):
        inputs["input_values"] = InputSpec("input_values", "float32", tokens)  # samples of a waveform
    elif module.main_input_name == "input_features":
        frames = 2 * config.max_source_positions  # its first convolutions halve them
        inputs["input_features"] = InputSpec("input_features", "float32", ("B", config.num_mel_bins, frames))
    if inputs and "decoder_input_ids" in takes:
        inputs["decoder_input_ids"] = InputSpec("decoder_input_ids", "int64", ("B", "T"))
    dtype = str(next(module.parameters()).dtype).removeprefix("torch.")
    inputs = {name: replace(spec, dtype=dtype) if spec.dtype == "float32" else spec for name, spec in inputs.items()}
    if "use_cache" in takes:
        inputs["use_cache"] = False
    return inputs
