"""Losses of classes as a trace finds them: formulas that hold no flattened size, and other forms."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional

from fxcost.costs.model import CostModel, LayerCost
from fxcost.errors import FxcostError

Costs = Callable[..., CostModel]


def last(costs: CostModel) -> LayerCost:
    assert not costs.unknown
    return costs.layers[-1]


CLASSES = "x: float32[B,S,7]", "t: int64[B,S]"


@pytest.mark.parametrize(
    ("loss", "each", "place"),
    [
        (functional.cross_entropy, 5, 2),
        (lambda x, t: functional.cross_entropy(x, t, reduction="none"), 5, 1),
        (lambda x, t: functional.cross_entropy(x, t, reduction="sum", ignore_index=0), 5, 2),
        (lambda x, t: functional.cross_entropy(x, t, label_smoothing=0.1), 6, 2 + 3),
        (lambda x, t: functional.nll_loss(functional.log_softmax(x, -1), t), 5, 2),
    ],
    ids=["cross entropy", "of each", "sum", "smoothed", "by likelihood"],
)
def test_losses_of_classes_hold_no_size_of_flattened_tokens(costs_of: Costs, loss: Any, each: int, place: int) -> None:
    """A logarithm of softmax for each score; for each token negate the score that it picks, and add."""

    def flattened(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return loss(x.view(-1, 7), t.view(-1))

    costs = costs_of(flattened, *CLASSES, B=3, S=11)
    assert (set(costs.symbols), costs.conditions, dict(costs.fixed)) == ({"B", "S"}, (), {})
    assert costs.total.flops == each * 3 * 11 * 7 + place * 3 * 11
    assert not costs.unknown
    layer = costs.layers[-1]
    picked = 3 * 11 if "nll" in layer.op else 3 * 11 * 7
    assert layer.cost.reads["activation"] == {"float32": picked, "int64": 3 * 11}
    assert layer.cost.writes["activation"]["float32"] == (3 * 11 if place == 1 else 1)


def test_losses_of_classes_in_other_forms(costs_of: Costs) -> None:
    """By probabilities, a product and a sum more for each of 5·7 scores; over images; with weights, which a mean adds up too."""
    scores = "x: float32[B,7]"
    soft = last(costs_of(functional.cross_entropy, scores, "t: float32[B,7]", B=5))
    assert soft.flops == (5 + 2) * 35 + (1 + 1) * 5
    images = last(costs_of(functional.nll_loss, "x: float32[B,7,H,4]", "t: int64[B,H,4]", B=5, H=3))
    assert (images.flops, images.outputs) == (2 * 60, ((),))
    weighted = last(costs_of(functional.nll_loss, scores, "t: int64[B]", "w: float32[7]", B=5))
    assert weighted.flops == 4 * 5
    one = last(costs_of(lambda x, t: functional.cross_entropy(x[0], t[0]), scores, "t: int64[B]", B=5))
    assert one.flops == 5 * 7 + 2
    with pytest.raises(FxcostError, match="does not run at B=12"):
        costs_of(functional.cross_entropy, scores, "t: int64[4]", B=5)
