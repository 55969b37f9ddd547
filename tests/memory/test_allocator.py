"""What calls hold, against PyTorch's own allocator: of small models here and now, and as others measured larger ones."""

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from bench.memory import UNet, allocated
from fxcost.api import trace
from fxcost.memory.footprint import footprint

MEASURED = """model,batch,bytes
torchvision:resnet18,1,10039296
torchvision:resnet18,8,51380736
timm:vit_tiny_patch16_224,1,1815552
timm:vit_tiny_patch16_224,8,14524416
"""
"""Real CPU allocator peaks above start, without gradients, float32 3x224x224, torch 2.13: allocator events of a second run."""


@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:vit_tiny_patch16_224"])
def test_measured_peaks_are_told_to_the_byte(name: str) -> None:
    told = footprint(trace(name, symbolic="B"), None, "none", on_cpu=True)
    rows = [row for row in csv.DictReader(io.StringIO(MEASURED)) if row["model"] == name]
    assert len(rows) == 2
    for row in rows:
        use = told.at({"B": int(row["batch"])})
        assert use.activations + use.scratch == int(row["bytes"])


class Dense(nn.Module):
    """Keeps the results of all its layers in a list, as DenseNet does."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(32 * n, 32) for n in range(1, 5))
        self.last = nn.Linear(160, 400)

    def forward(self, x: Any) -> Any:
        found = [x]
        for layer in self.layers:
            found.append(layer(torch.cat(found, 1)).relu())
        return self.last(torch.cat(found, 1))


class Residual(nn.Module):
    """A caller's variable keeps the input of its block until the block returns."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(32, 64)
        self.block = nn.Sequential(nn.Linear(64, 8), nn.Linear(8, 8), nn.Linear(8, 100), nn.Linear(100, 16))

    def forward(self, x: Any) -> Any:
        x = self.first(x)
        return self.block(x)


class Attention(nn.Module):
    """With a mask of booleans, which is added as numbers."""

    def forward(self, x: Any, mask: Any) -> Any:
        return scaled_dot_product_attention(x, x, x, attn_mask=mask)


class Scores(nn.Module):
    """Products of matrices that do not lie at one distance from each other, which are copied."""

    def forward(self, x: Any) -> Any:
        q = x.unflatten(2, (4, 8)).transpose(1, 2)
        return q @ q.transpose(2, 3)


class Pooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Any) -> Any:
        return self.pool(x) + 1


X = "x: float32[B,32]"
IMAGE = "x: float32[B,3,32,32]"
CASES: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...], Callable[[int], tuple[torch.Tensor, ...]]]] = {
    "dense": (Dense, (X,), lambda batch: (torch.randn(batch, 32),)),
    "residual": (Residual, (X,), lambda batch: (torch.randn(batch, 32),)),
    "pooled": (Pooled, (IMAGE,), lambda batch: (torch.randn(batch, 3, 32, 32),)),
    "unet": (UNet, (IMAGE,), lambda batch: (torch.randn(batch, 3, 32, 32),)),
    "norm": (lambda: nn.BatchNorm2d(3), (IMAGE,), lambda batch: (torch.randn(batch, 3, 32, 32),)),
    "rows": (lambda: nn.LayerNorm(32), (X,), lambda batch: (torch.randn(batch, 32),)),
    "scores": (Scores, ("x: float32[B,16,32]",), lambda batch: (torch.randn(batch, 16, 32),)),
}


@pytest.mark.parametrize("name", CASES)
def test_small_models_hold_what_the_allocator_says(name: str) -> None:
    build, inputs, tensors = CASES[name]
    model = build().eval()
    costs = trace(model, inputs=inputs, at={"B": 3}, isolated=False)
    told = footprint(costs, None, "none", on_cpu=True)
    assert told.source == "observed"
    for batch in (4, 7):
        given = tensors(batch)
        use = told.at({"B": batch})
        assert use.activations + use.scratch == allocated(lambda given=given: model(*given))


def test_a_mask_of_booleans_is_held_as_numbers_too() -> None:
    """What each thread of the kernel holds besides does not grow with the batch, and is not told."""
    told = footprint(
        trace(Attention(), inputs=("x: float32[B,4,16,8]", "mask: bool[B,1,16,16]"), at={"B": 3}, isolated=False),
        None,
        "none",
    )

    def measured(batch: int) -> int:
        x, mask = torch.randn(batch, 4, 16, 8), torch.ones(batch, 1, 16, 16, dtype=torch.bool)
        return allocated(lambda: Attention()(x, mask))

    assert told.at({"B": 7}).activations - told.at({"B": 4}).activations == measured(7) - measured(4)


@pytest.mark.parametrize(("name", "same"), [("residual", True), ("dense", False), ("unet", False)])
def test_without_an_observed_run_the_rule_tells_what_a_graph_shows(name: str, same: bool) -> None:
    """What is passed to a module it knows; a forward's own variables it does not, and then tells less."""
    build, inputs, tensors = CASES[name]
    model = build().eval()
    costs = trace(model, inputs=inputs, at={"B": 3}, isolated=False)
    assert costs.graph is not None
    unseen = tuple(replace(each, held_for=None) for each in costs.graph.storages)
    told = footprint(replace(costs, graph=replace(costs.graph, storages=unseen)), None, "none", on_cpu=True)
    assert told.source == "by rule"
    given, use = tensors(4), told.at({"B": 4})
    measured = allocated(lambda: model(*given))
    assert use.activations + use.scratch == measured if same else use.activations + use.scratch < measured
