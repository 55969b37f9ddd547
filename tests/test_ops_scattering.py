"""Indexed writes: in place only what is picked moves; out of place everything is copied."""

from collections.abc import Callable
from typing import Any

import pytest

from fxcost.costs.model import CostModel, LayerCost

Costs = Callable[..., CostModel]
TARGET, INDEX, SOURCE = "x: float32[B,8]", "i: int64[B,3]", "s: float32[B,4]"
WHOLE, PICKED = 5 * 8, 5 * 3


def written(costs: CostModel) -> LayerCost:
    """The one that writes, after the copy that keeps the input as it was."""
    return costs.layers[-1]


@pytest.mark.parametrize(
    ("write", "picked", "sources", "flops"),
    [
        pytest.param(write, picked, sources, flops, id=name)
        for name, write, picked, sources, flops in [
            # The source has a column more than the index: what no index names is not read.
            ("scatter", lambda x, i, s: x.scatter_(1, i, s), PICKED, PICKED, 0),
            ("scatter a value", lambda x, i, _: x.scatter_(1, i, 2.0), PICKED, 0, 0),
            ("index_copy", lambda x, i, s: x.index_copy_(1, i[0, :], s[:, :3]), PICKED, PICKED, 0),
            ("index_fill", lambda x, i, _: x.index_fill_(1, i[0, :], 2.0), PICKED, 0, 0),
        ]
    ],
)
def test_writes_in_place(costs_of: Costs, write: Any, picked: int, sources: int, flops: int) -> None:
    layer = written(costs_of(lambda x, i, s: write(x * 1, i, s), TARGET, INDEX, SOURCE, B=5))
    assert layer.flops == flops
    assert layer.cost.writes == {"activation": {"float32": picked}}
    assert layer.cost.reads["activation"].get("float32", 0) == sources


@pytest.mark.parametrize(
    "write",
    [
        lambda x, i, s: x.scatter_add_(1, i, s),
        lambda x, i, s: x.scatter_reduce_(1, i, s, "amax"),
        lambda x, i, s: x.index_add_(1, i[0, :], s[:, :3]),
    ],
    ids=["scatter_add", "scatter_reduce", "index_add"],
)
def test_sums_in_place(costs_of: Costs, write: Any) -> None:
    """Each picked element is read, meets one of the source, and is written."""
    layer = written(costs_of(lambda x, i, s: write(x * 1, i, s), TARGET, INDEX, SOURCE, B=5))
    assert layer.flops == PICKED
    assert layer.cost.writes == {"activation": {"float32": PICKED}}
    assert layer.cost.reads["activation"]["float32"] == 2 * PICKED


def test_a_factor_is_multiplied(costs_of: Costs) -> None:
    add = lambda x, i, s: x.index_add(1, i[0, :], s[:, :3], alpha=2)  # noqa: E731
    assert written(costs_of(add, TARGET, INDEX, SOURCE, B=5)).flops == 2 * PICKED


def test_out_of_place_the_target_is_copied(costs_of: Costs) -> None:
    layer = written(costs_of(lambda x, i, s: x.scatter_add(1, i, s), TARGET, INDEX, SOURCE, B=5))
    assert layer.flops == PICKED
    assert layer.cost.writes == {"activation": {"float32": WHOLE}}
    assert layer.cost.reads["activation"] == {"float32": WHOLE + PICKED, "int64": PICKED}


def test_an_accumulating_write_adds(costs_of: Costs) -> None:
    """Three rows of eight are added to; a plain write of them computes nothing."""
    put = lambda x, i, v, add: x.index_put((i,), v, accumulate=add)  # noqa: E731
    shapes = TARGET, "i: int64[3]", "v: float32[3,8]"
    assert written(costs_of(lambda x, i, v: put(x, i, v, True), *shapes, B=5)).flops == 3 * 8
    assert written(costs_of(lambda x, i, v: put(x, i, v, False), *shapes, B=5)).flops == 0


def test_a_scattered_mean_is_unknown(costs_of: Costs) -> None:
    costs = costs_of(lambda x, i, s: x.scatter_reduce(1, i, s, "mean"), TARGET, INDEX, SOURCE, B=5)
    assert list(costs.unknown) == ["aten.scatter_reduce.two"]
    assert "as many elements as the indices name" in written(costs).reason
