"""Formulas guarded against drift: expression and value of each kind of layer, for every model that is promised.

Goldens show that a formula changed; that it is right is for test_oracles.py to show.
"""

from collections.abc import Callable
from typing import Any

import pytest

from fxcost.regression import CostRegression

MODELS = (
    "resnet50", "vgg16", "mobilenet_v3_large", "densenet121", "efficientnet_b0", "convnext_tiny", "vit_b_16", "swin_t",
    "deeplabv3_resnet50", "gpt2", "llama", "bert", "t5", "mixtral",
)  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_formulas(name: str, subject: Callable[[str], Any], cost_regression: CostRegression) -> None:
    cost_regression.check(subject(name).costs)


def test_a_changed_formula_is_seen(costs_of: Callable[..., Any]) -> None:
    from torch import nn

    narrow = costs_of(nn.Linear(8, 8), "input: float32[B,8]", B=2)
    wide = costs_of(nn.Linear(8, 9), "input: float32[B,8]", B=2)
    assert [layer.flops for layer in narrow.layers] != [layer.flops for layer in wide.layers]
