"""What stays in the last-level cache, against a cache that is played through."""

import random
from collections import OrderedDict
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from torch import Tensor, nn

from fxcost.api import CostModel, trace
from fxcost.costs.graph.cost_graph import Access
from fxcost.errors import FxcostError
from fxcost.machines.sheets import load_platform
from fxcost.roofline.caches import _distances, _Touch, weights_stay_up_to, with_cache
from fxcost.roofline.points import layer_points
from fxcost.roofline.rate import Machine


def played(touches: list[_Touch], capacity: int) -> list[bool]:
    """Whether each touch of a second round finds its storage in a cache that gives up what was used the longest ago."""
    held: OrderedDict[int, Fraction] = OrderedDict()
    hits: list[bool] = []
    for touch in (*touches, *touches):
        newer = list(held)[list(held).index(touch.storage) + 1 :] if touch.storage in held else None
        between = None if newer is None else sum((held[each] for each in newer), Fraction(0)) + touch.bytes_touched
        hits.append(between is not None and between <= capacity)
        held[touch.storage] = touch.bytes_touched
        held.move_to_end(touch.storage)
    return hits[len(touches) :]


def test_distances_are_those_of_a_cache_that_is_played_through() -> None:
    numbers = random.Random(3)  # noqa: S311  # drawn, and drawn again the same
    for _ in range(60):
        touches = [
            _Touch(0, Access(0), numbers.randint(0, 7), 1, 0, Fraction(numbers.randint(1, 40)), given=True)
            for _ in range(numbers.randint(1, 25))
        ]
        for capacity in (1, 30, 90, 400):
            assert [d <= capacity for d in _distances(touches)] == played(touches, capacity)


class Two(nn.Module):
    """Two products, of 4 MB and 1 MB of weights."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Linear(1024, 1024, bias=False), nn.Linear(1024, 256, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.narrow(self.wide(x))


@pytest.fixture(scope="module")
def two() -> CostModel:
    return trace(Two(), inputs=["x: float32[B,1024]"])


def test_by_hand(two: CostModel) -> None:
    """A T4 has 4 MiB: nothing comes back in time but what the first product leaves to the second; an L4's 48 MiB hold all."""
    t4, l4 = (Machine(load_platform(name), "fp32") for name in ("t4", "l4"))
    kept = 4 * 1024 * 1024  # bytes of the first weights, which alone fill the cache of a T4
    moved = [row.bytes_moved for row in layer_points(two, t4, {"B": 8}, "ideal")]
    between = 4 * 8 * 1024
    assert moved == [4 * 8 * 1024 + kept + between, 4 * 1024 * 256 + 4 * 8 * 256]
    assert [row.bytes_moved for row in layer_points(two, l4, {"B": 8}, "ideal")] == [0, 0]
    assert sum(row.bytes_moved for row in layer_points(two, l4, {"B": 8})) == sum(moved) + between


def test_up_to_which_batch_weights_stay(two: CostModel) -> None:
    l4 = Machine(load_platform("l4"), "fp32")
    last = weights_stay_up_to(two, l4, "B", {})
    assert last is not None
    for size, stays in ((last, True), (last + 1, False)):
        rows = with_cache(two, l4, {"B": size}).layers
        assert all("weight" not in row.cost.reads for row in rows) == stays
    assert weights_stay_up_to(two, Machine(load_platform("t4"), "fp32"), "B", {}) is None


def test_the_command(fxcost_command: Callable[..., tuple[int, str, str]], two: CostModel, tmp_path: Path) -> None:
    file = tmp_path / "two.json"
    two.save(file)
    code, printed, _ = fxcost_command("roofline", file, "-p", "l4", "--at", "B=8", "--cache", "ideal")
    assert code == 0
    assert "l4: 0 of 5.349 MB reach memory beside a cache of 50.332 MB; weights stay in it up to B = 4,892." in printed
    sheet = (Path(__file__).parents[1] / "specs" / "machines" / "l4.toml").read_text()
    bare = tmp_path / "bare.toml"
    bare.write_text(sheet.replace('[cache.l2]\ncapacity = {bytes = 50331648, source = "techpowerup"}\n', ""))
    with pytest.raises(FxcostError, match="publishes no cache; ask with --cache ignore"):
        layer_points(two, Machine(load_platform(str(bare)), "fp32"), {"B": 8}, "ideal")
