"""Models of torchvision and timm, with the inputs and sizes they were published with."""

import importlib
import importlib.util
import inspect
import sys
from dataclasses import replace
from types import ModuleType
from typing import Any

import torch

from fxcost.errors import FxcostError, near_matches
from fxcost.inputs import Arguments, InputSpec
from fxcost.models.building import build, with_defaults
from fxcost.tracing.source import Source

WITHOUT_HEADS = (
    "its auxiliary heads, which run in training alone, are left out, as its published weights leave them: "
    "--set aux_logits=true builds them"
)
BATCH = 1
"""The batch size taken where none is given."""


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
    models, name = zoo_module("torchvision.models"), name.lower()
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
    if not usual.get("aux_logits", True) and "aux_logits" not in settings:
        source = replace(source, assumptions=(WITHOUT_HEADS,))
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
    name = name if timm.is_model(name) else name.lower()
    if not timm.is_model(name):
        raise FxcostError(f"timm has no model {name!r}{near_matches(name, timm.list_models())}")
    module = build(timm.create_model, {"model_name": name, "pretrained": False, **settings}, f"timm:{name}")
    channels, height, width = getattr(module, "default_cfg", {}).get("input_size", (3, 224, 224))
    channels = settings.get("in_chans", channels)
    if isinstance(settings.get("img_size"), int):
        height = width = settings["img_size"]
    arguments = Arguments((InputSpec("x", "float32", ("B", channels, "H", "W")),))
    return with_defaults(f"timm:{name}", module, arguments, {"B": BATCH, "H": height, "W": width})
