"""Formulas guarded against drift: expression and value of each kind of layer, for every model that is promised.

Goldens show that a formula changed; that it is right is for test_oracles.py to show.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from pytest_regressions.data_regression import DataRegressionFixture

MODELS = (
    "resnet50", "vgg16", "mobilenet_v3_large", "densenet121", "efficientnet_b0", "convnext_tiny", "vit_b_16", "swin_t",
    "deeplabv3_resnet50", "gpt2", "llama", "bert", "t5", "mixtral",
)  # fmt: skip


def guarded(costs: Any) -> dict[str, Any]:
    """Each operator's formulas and values, and the totals; equal layers are told once with their number."""
    from fxcost.saved import quantity_text

    point = costs.at()
    layers: Counter[tuple[str, ...]] = Counter()
    for layer, value in zip(costs.layers, point.layers, strict=True):
        moved = layer.cost.bytes_moved(costs.bits())
        row = (layer.op, layer.module_type, layer.flops, value.flops, layer.macs, moved, layer.params)
        layers[tuple(map(quantity_text, row))] += 1
    keys = ("op", "module", "flops", "flops_at", "macs", "bytes_moved", "params")
    return {
        "symbols": {name: str(allowed) for name, allowed in costs.symbols.items()},
        "fixed": {name: pin.value for name, pin in costs.fixed.items()},
        "at": dict(point.sizes),
        "total": {
            "flops": quantity_text(costs.total.flops),
            "flops_at": int(point.total.flops),
            "macs_at": int(point.total.macs),
            "bytes_moved_at": int(point.total.bytes_moved(costs.bits())),
            "params": costs.total.params,
        },
        "layers": [dict(zip(keys, row, strict=True), times=times) for row, times in layers.items()],
    }


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.xdist_group(n)) for n in MODELS])
def test_formulas(name: str, subject: Callable[[str], Any], data_regression: DataRegressionFixture) -> None:
    data_regression.check(guarded(subject(name).costs))


def test_a_changed_formula_is_seen(costs_of: Callable[..., Any]) -> None:
    from torch import nn

    narrow = costs_of(nn.Linear(8, 8), "input: float32[B,8]", B=2)
    wide = costs_of(nn.Linear(8, 9), "input: float32[B,8]", B=2)
    assert [layer.flops for layer in narrow.layers] != [layer.flops for layer in wide.layers]
