"""Sizes drawn at random from where a model's formulas hold."""

from collections.abc import Mapping
from random import Random

from fxcost.conditions import SymbolRange
from fxcost.costs import CostModel, fit

MOST_BATCH = 9
LARGEST = 300
SMALLEST = 17
"""Of sizes other than the batch; a range or a multiple of its own goes before."""
MOST_DRAWS = 2000


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


def _drawn(random: Random, allowed: SymbolRange, near: int | None) -> int:
    step = allowed.multiple_of
    if near is not None:
        return fit(near + step * random.choice((0, 0, 1, 2, 5)), allowed)
    highest = max(LARGEST, allowed.low + 8 * step)
    highest = highest if allowed.high is None else min(highest, allowed.high)
    low = max(allowed.low, min(-(-SMALLEST // step) * step, highest // step * step))
    return low + step * random.randint(0, (highest - low) // step)


def _holds(costs: CostModel, point: Mapping[str, int]) -> bool:
    return all(costs.symbols[name].refusal(name, size) is None for name, size in point.items()) and all(
        condition.holds(point) for condition in costs.conditions
    )
