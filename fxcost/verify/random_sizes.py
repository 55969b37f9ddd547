"""Sizes drawn at random from where a model's formulas hold."""

from collections.abc import Mapping
from random import Random

from fxcost.costs.model import CostModel, fit
from fxcost.formulas.ranges.domain import SymbolRange

MOST_BATCH = 9
LARGEST = 300
SMALLEST = 17
"""Of sizes other than the batch; a range or a multiple of its own goes before."""
MOST_DRAWS = 2000
FEW_SAMPLES = 3
"""The largest batch beside a usual size, of models that are run with weights."""


def drawn_sizes(costs: CostModel, seed: str, many: int) -> list[dict[str, int]]:
    """So many sizes, each another batch, with 1 among the batches; fewer where the formulas hold at fewer."""
    random = Random(seed)  # noqa: S311  # sizes, not secrets
    batches = [1, *random.sample(range(2, MOST_BATCH + 1), MOST_BATCH - 1)]
    if "B" in costs.symbols:
        batches = [size for size in batches if costs.symbols["B"].refusal("B", size) is None]
    found: list[dict[str, int]] = []
    for count in range(MOST_DRAWS):
        # Where formulas hold at few sizes, those near the usual ones are the likeliest.
        usual: Mapping[str, int] = costs.defaults if count > MOST_DRAWS // 2 else {}
        point = {name: _drawn(random, each, usual.get(name)) for name, each in costs.symbols.items()}
        if "B" in point:
            point["B"] = batches[len(found)]
        if point not in found and _holds(costs, point):
            found.append(point)
        if len(found) == min(many, len(batches)):
            break
    return found


def sizes_near(costs: CostModel, at: Mapping[str, int], seed: int, many: int) -> tuple[Mapping[str, int], ...]:
    """The sizes ``at``, else the usual ones, then others from half of them up to them, batches to 3; fewer where formulas hold at fewer."""
    first = costs.point(at)
    found = [first]
    random = Random(seed)  # noqa: S311  # sizes, not secrets
    for _ in range(MOST_DRAWS):
        if len(found) == many:
            break
        point = {name: _near(random, each, name, first[name]) for name, each in costs.symbols.items()}
        if point not in found and _holds(costs, point):
            found.append(point)
    return tuple(found)


def _near(random: Random, allowed: SymbolRange, name: str, usual: int) -> int:
    highest = max(usual, FEW_SAMPLES if name == "B" else 0, allowed.low + 2 * allowed.multiple_of)
    return _between(random, allowed, usual // 2, highest)


def _drawn(random: Random, allowed: SymbolRange, near: int | None) -> int:
    step = allowed.multiple_of
    if near is not None:
        return fit(near + step * random.choice((0, 0, 1, 2, 5)), allowed)
    return _between(random, allowed, SMALLEST, max(LARGEST, allowed.low + 8 * step))


def _between(random: Random, allowed: SymbolRange, low: int, high: int) -> int:
    step = allowed.multiple_of
    high = high if allowed.high is None else min(high, allowed.high)
    low = max(allowed.low, min(-(-low // step) * step, high // step * step))
    return low + step * random.randint(0, (high - low) // step)


def _holds(costs: CostModel, point: Mapping[str, int]) -> bool:
    return all(costs.symbols[name].refusal(name, size) is None for name, size in point.items()) and all(
        condition.holds(point) for condition in costs.conditions
    )
