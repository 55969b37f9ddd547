"""Costs as numbers, which are those of the sizes that they were evaluated at alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fxcost.api import load
from fxcost.costs.model import CostModel, EvaluatedModel
from fxcost.errors import FxcostError


@pytest.mark.parametrize(
    "ask",
    [
        lambda costs, _: costs.at(B=3),
        lambda costs, _: costs.at(),
        lambda costs, _: costs.crossovers("l4", precision="fp16"),
        lambda costs, _: costs.on("l4", precision="fp16").rows(B=3),
        lambda costs, path: costs.save(path),
    ],
    ids=["other sizes", "the usual sizes", "crossovers", "rows on a machine", "a file for all sizes"],
)
def test_numbers_answer_for_no_other_sizes(ask: Callable[[Any, Path], Any], small_model: Path, tmp_path: Path) -> None:
    """Before they had a type of their own, each of these took the numbers of two samples for those of any batch."""
    costs = load(small_model).at(B=2, H=33, W=35)
    with pytest.raises(FxcostError, match="these are the costs of Small at B=2, H=33, W=35; ask the model"):
        ask(costs, tmp_path / "x.json")
    assert not list(tmp_path.iterdir())


def test_numbers_are_shown_and_summed(small_model: Path) -> None:
    costs = load(small_model).at(B=2, H=33, W=35)
    assert isinstance(costs, EvaluatedModel)
    assert not isinstance(costs, CostModel)
    assert {type(layer.flops) for layer in costs.layers} == {int}
    assert costs.total.macs == sum(layer.macs for layer in costs.layers) == 2 * (17 * 18 * 8 * 27 + 80)
    assert costs.by_module(depth=1)["head"].macs == 2 * 80
    assert "total at B=2, H=33, W=35" in str(costs)
    assert costs.to_pandas()["macs"].sum() == costs.total.macs
