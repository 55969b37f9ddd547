"""Every figure that torchvision publishes of its weights: multiply-adds to all printed decimals, and parameters.

The eight entries of two-stage detectors are left out: how many regions those look at is decided by their data.
"""

from typing import Any

import pytest
from torch import nn

from fxcost.costs.analysis import Request, trace_source
from fxcost.models.references import load_source
from fxcost.models.zoos import zoo_module

MODELS: Any = zoo_module("torchvision.models")
NAMES = [name for name in MODELS.list_models() if "rcnn" not in name]
FROZEN = ("fcos_resnet50_fpn", "retinanet_resnet50_fpn")
"""Their weights are loaded into batch norms whose scales and shifts are buffers. Built without weights, they are parameters."""


def measured_at(kind: str, entry: Any) -> dict[str, int]:
    """The size that torchvision measured an entry at; nothing where its model resizes by itself."""
    if kind == "detection":
        return {}
    if kind == "segmentation":  # its transforms crop nothing
        return {"H": 520, "W": 520}
    if kind == "optical_flow":
        return {"H": 512, "W": 512}
    crop = entry.transforms.keywords["crop_size"]
    height, width = (crop, crop) if isinstance(crop, int) else crop
    return {"H": height, "W": width, **({"T": 16} if kind == "video" else {})}


@pytest.mark.zoo
@pytest.mark.parametrize("name", NAMES)
def test_published_figures(name: str) -> None:
    kind = MODELS.get_model_builder(name).__module__.split(".")[2]
    for entry in MODELS.get_model_weights(name):
        sizes = measured_at(kind, entry)
        # The end-to-end SWAG weights of ViT are of a model with more positions.
        settings = {"image_size": sizes["H"]} if kind == "vision_transformer" else {}
        source = load_source(f"torchvision:{name}", settings)
        symbols = source.arguments.symbols()
        costs = trace_source(source, Request("B" if "B" in symbols else "", sizes=sizes), lambda _: None)
        total = costs.at({"B": 1} if "B" in symbols else {}).total
        assert f"{int(total.macs) / 1e9:.3f}" == f"{entry.meta['_ops']:.3f}", entry.name
        assert total.params - frozen(name, source.module) == entry.meta["num_params"], entry.name


def frozen(name: str, module: Any) -> int:
    if name not in FROZEN:
        return 0
    norms = [each for each in module.backbone.body.modules() if isinstance(each, nn.BatchNorm2d)]
    return sum(parameter.numel() for norm in norms for parameter in norm.parameters())


def test_every_entry_is_there() -> None:
    """158 entries of 114 models, and the 8 that are left out."""
    assert len(NAMES) == 114
    assert sum(len(MODELS.get_model_weights(name)) for name in NAMES) == 158
    assert sum(len(MODELS.get_model_weights(n)) for n in MODELS.list_models() if n not in NAMES) == 8
