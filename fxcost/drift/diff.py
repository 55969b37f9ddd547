"""Two models' costs compared: which layers changed, and by how much at several sizes."""

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from fractions import Fraction
from functools import cached_property
from math import lcm
from random import Random
from typing import Any, Literal, NamedTuple

from fxcost.costs.model import Cost, CostModel, Costs, LayerCost, fit, operator_name
from fxcost.errors import FxcostError
from fxcost.formulas.quantities import Mapper, Quantity, number
from fxcost.formulas.ranges.domain import SymbolRange

MEASURES = ("flops", "macs", "params", "bytes")

POINTS = 8
"""Sizes at which formulas that are written differently are compared."""
ENOUGH = 4
"""Where fewer sizes are allowed, equal formulas must be written alike."""
DRAWS = 300


class Measures(NamedTuple):
    """What a cost comes to: formulas, or their values at one point; bytes in the model's own dtype."""

    flops: Quantity
    macs: Quantity
    params: Quantity
    bytes: Quantity


@dataclass(frozen=True)
class Pair:
    """A layer before and after; one side is missing for a layer that was added or removed."""

    old: LayerCost | None
    new: LayerCost | None
    equal: bool
    """Whether both cost the same at every size."""

    @property
    def kind(self) -> Literal["added", "removed", "changed", "renamed", "same"]:
        if self.old is None:
            return "added"
        if self.new is None:
            return "removed"
        if not self.equal:
            return "changed"
        return "same" if self.old.name == self.new.name else "renamed"


@dataclass(frozen=True)
class Move:
    """How far one total moved: at the point asked for, or, where it did not there, at the point where it moved most."""

    measure: str
    point: Mapping[str, int]
    old: Fraction
    new: Fraction

    @property
    def share(self) -> Fraction | None:
        """The change as a share of the old value; None where that was zero."""
        return (self.new - self.old) / self.old if self.old else None

    def size(self) -> float | Fraction:
        """The change without its sign, endless where it starts from zero."""
        if self.share is None:
            return float("inf") if self.new else 0.0
        return abs(self.share)


@dataclass(frozen=True)
class Difference:
    """Two cost models side by side, at points where the formulas of both hold."""

    old: CostModel
    new: CostModel
    points: tuple[Mapping[str, int], ...]
    """The point asked for, then others, each with the sizes that both models hold fixed alike."""

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """Every layer of either model once, in the order they run."""
        olds, news = (self._keyed(model) for model in (self.old, self.new))
        return tuple(_paired(olds, news))

    @property
    def changes(self) -> tuple[Pair, ...]:
        """Layers that were added, removed, or cost otherwise."""
        return tuple(pair for pair in self.pairs if pair.kind in {"added", "removed", "changed"})

    @property
    def gained_unknown(self) -> Mapping[str, tuple[str, ...]]:
        """Operators without a rule that the old model did not call, and the layers that call them."""
        return {op: names for op, names in self.new.unknown.items() if op not in self.old.unknown}

    def moves(self, tolerance: Fraction = Fraction(0)) -> tuple[Move, ...]:
        """The totals that differ by more than ``tolerance``, a share of the old value, at any point."""
        found = (self._move(index, tolerance) for index in range(len(MEASURES)))
        return tuple(move for move in found if move is not None)

    def _move(self, index: int, tolerance: Fraction) -> Move | None:
        sides = [[number(values[index]) for values in self._totals(model)] for model in (self.old, self.new)]
        moves = [Move(MEASURES[index], *each) for each in zip(self.points, *sides, strict=True)]
        for move in (moves[0], max(moves, key=Move.size)):
            if move.size() > tolerance:
                return move
        formulas = [amounts(model, model.total)[index] for model in (self.old, self.new)]
        return moves[0] if self._texts and not tolerance and formulas[0] != formulas[1] else None

    def _totals(self, model: CostModel) -> list[Measures]:
        return [amounts(model, model.total.map(_at(model, point))) for point in self.points]

    def here(self, model: CostModel, cost: Cost) -> Measures:
        """The values of a cost of either model at the point asked for."""
        return amounts(model, cost.map(_at(model, self.points[0])))

    @property
    def _texts(self) -> bool:
        """Whether the points are too few to tell formulas apart by their values."""
        return bool(self.old.symbols or self.new.symbols) and len(self.points) < ENOUGH

    def _keyed(self, model: CostModel) -> "list[_Keyed]":
        mappers = [_at(model, point) for point in self.points]
        return [_Keyed(layer, self._cost_key(model, layer, mappers)) for layer in model.layers]

    def _cost_key(self, model: CostModel, layer: LayerCost, mappers: list[Mapper]) -> Hashable:
        """Equal for layers of the same operator that cost the same."""
        values = tuple(amounts(model, layer.cost.map(mapper)) for mapper in mappers)
        written = amounts(model, layer.cost) if self._texts else None
        return (operator_name(layer.op).strip("_"), layer.coverage, values, written)


def compare(old: CostModel, new: CostModel, at: Mapping[str, int] | None = None) -> Difference:
    """The difference between two models, at the sizes ``at`` (others as usual in the old model) and at some more.

    Raises `FxcostError` where no sizes are allowed by both.
    """
    alike = {
        name: pin.value for name, pin in old.fixed.items() if name in new.fixed and pin.value == new.fixed[name].value
    }
    return Difference(old, new, tuple({**point, **alike} for point in _points(old, new, at or {})))


def amounts(model: Costs[Any], cost: Cost[Any]) -> Measures:
    """The four measures of a cost."""
    return Measures(cost.flops, cost.macs, cost.params, cost.bytes_moved(model.bits()))


# Sizes that both models allow


def _points(old: CostModel, new: CostModel, at: Mapping[str, int]) -> Iterator[dict[str, int]]:
    allowed = {name: _common_range(name, old, new) for name in dict.fromkeys([*old.symbols, *new.symbols])}
    usual = {**new.defaults, **old.defaults}
    first = {name: fit(usual.get(name, each.low), each) for name, each in allowed.items()} | dict(at)
    for model in (old, new):
        # What is wrong with the sizes of the first point is told by the model that refuses them.
        model.point({name: size for name, size in first.items() if name in model.symbols or name in model.fixed})
    unknown = [name for name in at if not any(name in model.symbols or name in model.fixed for model in (old, new))]
    if unknown:
        raise FxcostError(f"--at {unknown[0]}={at[unknown[0]]}: neither model has a symbol {unknown[0]}")
    base = {name: first[name] for name in allowed}
    yield base
    seen = [base]
    for point in _candidates(base, allowed):
        if point not in seen and all(_holds(model, point) for model in (old, new)):
            seen.append(point)
            yield point
        if len(seen) == POINTS:
            return


def _common_range(name: str, old: CostModel, new: CostModel) -> SymbolRange:
    ranges = [model.symbols[name] for model in (old, new) if name in model.symbols]
    pins = [model.fixed[name].value for model in (old, new) if name in model.fixed]
    ranges += [SymbolRange(value, value) for value in pins]
    step = lcm(*(each.multiple_of for each in ranges))
    low = -(-max(each.low for each in ranges) // step) * step
    high = min((each.high for each in ranges if each.high is not None), default=None)
    if high is not None and low > high:
        raise FxcostError(f"no {name} is allowed by both models: one takes {ranges[0]}, the other {ranges[-1]}")
    return SymbolRange(low, high, step)


def _candidates(base: Mapping[str, int], allowed: Mapping[str, SymbolRange]) -> Iterator[dict[str, int]]:
    """The smallest sizes, the usual ones in proportion, then drawn ones, the same in every run."""
    yield {name: each.low for name, each in allowed.items()}
    for factor in (2, 3):
        yield {name: fit(base[name] * factor, each) for name, each in allowed.items()}
    random = Random(0)  # noqa: S311  # sizes, not secrets
    for _ in range(DRAWS):
        yield {name: _drawn(random, each, base[name]) for name, each in allowed.items()}


def _drawn(random: Random, allowed: SymbolRange, usual: int) -> int:
    highest = max(4 * usual, allowed.low + 32 * allowed.multiple_of)
    highest = highest if allowed.high is None else min(highest, allowed.high)
    return allowed.low + allowed.multiple_of * random.randint(0, (highest - allowed.low) // allowed.multiple_of)


def _holds(model: CostModel, point: Mapping[str, int]) -> bool:
    return all(condition.holds(point) for condition in model.conditions)


def _at(model: CostModel, point: Mapping[str, int]) -> Mapper:
    return Mapper({name: point[name] for name in model.symbols})


# Which layer is which


class _Keyed(NamedTuple):
    layer: LayerCost
    cost: Hashable


LayerKey = Callable[[_Keyed], Hashable]


def _paired(olds: Sequence[_Keyed], news: Sequence[_Keyed]) -> Iterator[Pair]:
    """Match by name and cost, then by cost in order, by cost anywhere, by name, and last by operator in order.

    So an inserted layer does not make changes of those whose names it shifts, and a renamed one is no change at all.
    """
    matched: dict[int, int] = {}
    steps: list[tuple[Callable[[Sequence[Hashable], Sequence[Hashable]], Iterator[tuple[int, int]]], LayerKey]] = [
        (_anywhere, lambda each: (each.layer.name, each.cost)),
        (_in_order, lambda each: each.cost),
        (_anywhere, lambda each: each.cost),
        (_anywhere, lambda each: each.layer.name),
        (_in_order, lambda each: (each.layer.op, each.layer.module_type)),
    ]
    for match, key in steps:
        left = [i for i in range(len(olds)) if i not in matched]
        taken = set(matched.values())
        right = [i for i in range(len(news)) if i not in taken]
        found = match([key(olds[i]) for i in left], [key(news[i]) for i in right])
        matched |= {left[i]: right[j] for i, j in found}
    sources = {new: old for old, new in matched.items()}
    rows = [((i / len(olds), 0), Pair(each.layer, None, False)) for i, each in enumerate(olds) if i not in matched]
    for j, each in enumerate(news):
        old = olds[sources[j]] if j in sources else None
        same = old is not None and old.cost == each.cost
        rows.append(((j / len(news), 1), Pair(old.layer if old else None, each.layer, same)))
    return (pair for _, pair in sorted(rows, key=lambda row: row[0]))


def _anywhere(olds: Sequence[Hashable], news: Sequence[Hashable]) -> Iterator[tuple[int, int]]:
    waiting: defaultdict[Hashable, deque[int]] = defaultdict(deque)
    for index, key in enumerate(news):
        waiting[key].append(index)
    return ((index, waiting[key].popleft()) for index, key in enumerate(olds) if waiting.get(key))


def _in_order(olds: Sequence[Hashable], news: Sequence[Hashable]) -> Iterator[tuple[int, int]]:
    blocks = SequenceMatcher(None, olds, news, autojunk=False).get_matching_blocks()
    return ((block.a + step, block.b + step) for block in blocks for step in range(block.size))
