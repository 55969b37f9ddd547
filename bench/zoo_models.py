"""The models that the coverage table lists, by the library that builds them."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from fxcost.models.zoos import zoo_module


@dataclass(frozen=True)
class Listed:
    """A model of a library, and how it is asked for where its usual inputs are not enough."""

    name: str
    ref: str
    config: Mapping[str, Any] | None = None
    """The configuration to write where the reference says ``{config}``."""
    at: Mapping[str, int] = field(default_factory=dict[str, int])

    def reference(self, folder: Path) -> str:
        """The model's reference, once its configuration, if it has one, is written into the folder."""
        if self.config is not None:
            (folder / "config.json").write_text(json.dumps(dict(self.config)))
        return self.ref.format(config=folder)


TWO_STAGE = "rcnn"
"""In the name of every two-stage detector: how many regions they look at is decided by their data."""


def torchvision_models() -> Iterator[Listed]:
    """Every model of torchvision but the two-stage detectors."""
    for name in zoo_module("torchvision.models").list_models():
        if TWO_STAGE not in name:
            yield Listed(name, f"torchvision:{name}")


def timm_families() -> Iterator[Listed]:
    """The first model of each of timm's families."""
    timm = zoo_module("timm")
    for family in timm.list_modules():
        name = timm.list_models(module=family)[0]
        yield Listed(name, f"timm:{name}")


def timm_models() -> Iterator[Listed]:
    """Every name of timm."""
    for name in zoo_module("timm").list_models():
        yield Listed(name, f"timm:{name}")


FEW: Mapping[str, Any] = {"num_hidden_layers": 4}
"""Blocks that repeat add nothing to see."""

CONFIGURATIONS: Mapping[str, Mapping[str, Any]] = {
    "llama": FEW, "mistral": FEW, "qwen2": FEW, "qwen3": FEW, "gemma2": FEW, "gemma3_text": FEW, "phi3": FEW,
    "mixtral": FEW, "qwen2_moe": FEW, "qwen3_moe": FEW, "deepseek_v3": FEW, "gpt_oss": FEW,
    "gpt2": {"n_layer": 4}, "gpt_neox": FEW, "falcon": FEW, "opt": FEW, "bloom": {"n_layer": 4},
    "bert": FEW, "roberta": FEW, "deberta-v2": {**FEW, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "electra": FEW, "t5": {"num_layers": 4}, "bart": {"encoder_layers": 4, "decoder_layers": 4},
    "vit": FEW, "swin": {}, "dinov2": FEW, "clip_vision_model": FEW, "clip_text_model": FEW, "clip": {},
    "siglip_vision_model": FEW, "siglip": {}, "detr": {"use_timm_backbone": False},
    "segformer": {}, "whisper": {"encoder_layers": 4, "decoder_layers": 4}, "wav2vec2": FEW,
    "mamba": {"num_hidden_layers": 2}, "mamba2": {"num_hidden_layers": 2}, "rwkv": {"num_hidden_layers": 2},
}  # fmt: skip
"""By model type, what differs from the family's own defaults."""


STEP_BY_STEP = ("mamba", "rwkv")
"""Their code goes through a sequence one token at a time."""


def transformers_models() -> Iterator[Listed]:
    """One model of each family of transformers that the table lists."""
    for kind, changes in CONFIGURATIONS.items():
        at = {"S": 32} if kind in STEP_BY_STEP else {}
        yield Listed(kind, "hf:{config}", {"model_type": kind, **changes}, at)


def wild_models() -> Iterator[Listed]:
    """Models of libraries beyond these, which the extra ``wild`` installs."""
    from bench.wild import LIBRARIES, sizes_of

    for library, models in LIBRARIES.items():
        for name in models:
            yield Listed(f"{library}: {name}", f"bench.wild:{library}/{name}", at=sizes_of(library, name))


class Library(StrEnum):
    """Lists of models to walk."""

    torchvision = "torchvision"
    timm = "timm"
    timm_all = "timm-all"
    transformers = "transformers"
    wild = "wild"


LISTS: Mapping[str, Callable[[], Iterator[Listed]]] = {
    Library.torchvision: torchvision_models,
    Library.timm: timm_families,
    Library.timm_all: timm_models,
    Library.transformers: transformers_models,
    Library.wild: wild_models,
}
