"""The time of a model at many sizes, against the exact sum of its layers at each."""

import math
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxcost.costs.files.saved import load
from fxcost.costs.model import Cost, CostModel, LayerCost
from fxcost.errors import FxcostError
from fxcost.formulas.algebra import ZERO, Formula
from fxcost.formulas.expressions import parse, symbol
from fxcost.formulas.ranges.domain import Condition, Pinned, SymbolRange
from fxcost.machines.sheets import load_platform
from fxcost.roofline.arrays import ModelTimes, seconds
from fxcost.roofline.points import layer_points
from fxcost.roofline.rate import Machine

FOLDER = Path(__file__).parent / "data" / "version1"
MODELS = {name: load(FOLDER / f"{name}.json") for name in ("resnet18", "llama", "decode")}
H100, L4 = (Machine(load_platform(name), "fp16") for name in ("h100-sxm5-80gb", "l4"))
PLATFORMS = [
    load_platform(name) for name in ("a100-sxm4-80gb", "rtx-4090", "l4", "h100-sxm5-80gb", "mi300x", "tpu-v5e")
]
MACHINES = [Machine(platform, precision) for platform in PLATFORMS for precision in platform.precisions]
"""Of some no rate of the vector unit is known, and of some both units are one."""
RELATIVE = Fraction(1, 10**12)
B, S = symbol("B"), symbol("S")


def exact_seconds(model: CostModel, machine: Machine, point: Mapping[str, int]) -> Fraction:
    return sum((each.seconds for each in layer_points(model, machine, point)), Fraction(0))


def assert_agrees(model: CostModel, machine: Machine, points: list[dict[str, int]]) -> None:
    sizes = {name: np.array([point[name] for point in points], dtype=object) for name in points[0]}
    found = seconds(model, machine, sizes)
    assert found.dtype == np.float64
    for point, time in zip(points, found.tolist(), strict=True):
        exact = exact_seconds(model, machine, point)
        assert abs(Fraction(time) - exact) <= RELATIVE * exact


def points_of(model: CostModel) -> st.SearchStrategy[list[dict[str, int]]]:
    def from_low(low: int) -> st.SearchStrategy[int]:
        return st.one_of(st.integers(low, low + 300), st.integers(low, 10**5), st.integers(low, 10**15))

    each = {name: from_low(ends.low) for name, ends in model.symbols.items()}
    return st.lists(st.fixed_dictionaries(each), min_size=1, max_size=4)


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_it_is_the_sum_of_the_layers(name: str, data: st.DataObject) -> None:
    assert_agrees(MODELS[name], data.draw(st.sampled_from(MACHINES)), data.draw(points_of(MODELS[name])))


def test_symbols_without_sizes_have_their_usual_one() -> None:
    found = seconds(MODELS["resnet18"], L4, {"H": np.array([[224], [448]]), "B": np.array([1, 2, 3])})
    assert found.shape == (2, 3)
    assert found[1, 2] == pytest.approx(float(exact_seconds(MODELS["resnet18"], L4, {"B": 3, "H": 448, "W": 224})))
    assert seconds(MODELS["resnet18"], L4, {}).shape == ()
    assert seconds(MODELS["resnet18"], L4, {"B": np.zeros((2, 0), int)}).shape == (2, 0)


def layer(matrix: Formula = ZERO, vector: Formula = ZERO, moved: Formula = ZERO, **more: Any) -> LayerCost:
    cost = Cost(matrix, vector, reads={"activation": {"int8": moved}})
    return replace(LayerCost("it", "it", "It", "it", "counted", "its rule", cost), **more)


def model(*layers: LayerCost, **more: Any) -> CostModel:
    return CostModel("it", layers, symbols={"B": SymbolRange(), "S": SymbolRange()}, dtype="float16", **more)


def test_what_is_decided_at_all_sizes_is_added_up_first() -> None:
    """On an H100 of 989.4e12 FLOP/s and 3.35e12 B/s, 19788 FLOPs take as long as 67 bytes."""
    layers = [
        layer(matrix=592 * B * S, moved=2 * B * S), layer(matrix=590 * B * S, moved=2 * B * S), layer(moved=S + 5),
        layer(matrix=19788 * B, moved=67 * B),
        layer(matrix=2 * B * B * S, moved=2 * B), layer(matrix=2 * B * B * S, moved=2 * B), layer(matrix=2 * B, vector=0 * B),
    ]  # fmt: skip
    peak, bandwidth = Fraction("989.4e12"), Fraction("3.35e12")
    assert set(ModelTimes(model(*layers), H100).rows) == {
        (4 * B * B * S / peak, 4 * B / bandwidth), ((592 * B * S + 2 * B) / peak,), ((2 * B * S + 67 * B + S + 5) / bandwidth,),
    }  # fmt: skip
    assert_agrees(model(*layers), H100, [{"B": b, "S": s} for b in (1, 400, 10**9) for s in (1, 17, 10**14)])


def test_a_range_decides_what_sizes_alone_do_not() -> None:
    long = replace(model(layer(matrix=2 * B * S, moved=2 * B)), symbols={"B": SymbolRange(), "S": SymbolRange(296)})
    assert [len(row) for row in ModelTimes(long, H100).rows] == [1]
    assert [len(row) for row in ModelTimes(model(*long.layers), H100).rows] == [2]


def test_what_is_known_of_an_unknown_operator_is_a_lower_bound() -> None:
    unknown = model(layer(matrix=2 * B), layer(moved=B, coverage="unknown"), layer(moved=10**9 * B, coverage="free"))
    assert_agrees(unknown, L4, [{"B": 3, "S": 1}])


@pytest.mark.parametrize(
    ("wrong", "sizes"),
    [
        (model(layer(matrix=2 * B - 8 * S, moved=S)), {}),
        (model(layer(matrix=2 * B), layer(matrix=B * S, moved=B), layer(matrix=3 * B)), {}),
        (model(layer(matrix=B * S / 2, moved=10**9 * B * S)), {}),
        (model(layer(moved=-1 * B)), {}),
        (model(layer(vector=parse("1/(B - 7)", "B"))), {}),
        (model(layer(moved=B), conditions=(Condition(B, "!=", 3 * S, "there"),)), {}),
        (model(layer(moved=B), conditions=(Condition(B, ">=", 3 * S, "there"),)), {"B": np.array([6, 5])}),
        (model(layer(moved=B), conditions=(Condition(S - S, ">=", parse("B//4", "B")),)), {"B": np.array([1, 5])}),
        (model(layer(moved=B), conditions=(Condition(B / 3, ">", S),)), {"B": np.array([7, 6])}),
        (model(layer(moved=B), conditions=(Condition(B, "==", S),)), {}),
        (replace(model(layer(moved=B)), symbols={"B": SymbolRange(2, 6), "S": SymbolRange()}), {}),
        (replace(model(layer(moved=B)), symbols={"B": SymbolRange(3), "S": SymbolRange()}), {"B": np.array([3, 2])}),
        (replace(model(layer(moved=B)), symbols={"B": SymbolRange(multiple_of=2), "S": SymbolRange()}), {}),
        (model(layer(moved=B), fixed={"T": Pinned(4, "there")}), {"T": np.array([4] * 8 + [5])}),
        (model(layer(moved=B)), {"T": 4}),
        (model(layer(moved=B)), {"B": np.array([1, 10**201])}),
        (model(layer(moved=10**190 * B)), {"B": np.array([1, 10**15])}),
        (model(layer(moved=parse("Mod(B, 5)", "B"))), {}),
        (model(layer(coverage="free")), {}),
        (model(), {}),
    ],
)  # fmt: skip
def test_it_is_refused_as_the_first_point_is_that_cannot_be(wrong: CostModel, sizes: Mapping[str, Any]) -> None:
    sizes = {"B": np.arange(2, 11), "S": 2, **sizes}
    broadcast = dict(zip(sizes, np.broadcast_arrays(*(np.asarray(each) for each in sizes.values())), strict=True))
    refusals: list[str] = []
    for index in range(len(broadcast["B"])):
        try:
            layer_points(wrong, L4, {name: int(each[index]) for name, each in broadcast.items()})
        except FxcostError as error:
            refusals.append(str(error))
    with pytest.raises(FxcostError) as refusal:
        seconds(wrong, L4, sizes)
    assert str(refusal.value) in refusals


def test_conditions_that_hold_refuse_nothing() -> None:
    rounded = parse("ceiling(B/4)", "B")
    conditions = (Condition(rounded, ">", S - S), Condition(S - S, "!=", rounded), Condition(2 * S, "==", S + 2))
    assert_agrees(model(layer(moved=B), conditions=conditions), H100, [{"B": 1, "S": 2}, {"B": 8, "S": 2}])


def test_missing_and_wrong_sizes_are_refused() -> None:
    with pytest.raises(FxcostError, match="no size is given for S; add S=…"):
        seconds(model(layer(moved=B)), L4, {"B": np.arange(1, 3)})
    with pytest.raises(FxcostError, match="B=0 is not a size"):
        seconds(model(layer(moved=B)), L4, {"B": np.arange(3), "S": 1})


def test_amounts_beyond_floats_of_their_parts_are_exact() -> None:
    """The numerator is beyond the end of floats, the amount itself is not."""
    huge = model(layer(moved=B**30 / (10**290 * S)))
    sizes = {"B": np.array([10**14], dtype=object), "S": np.array([10**5], dtype=object)}
    assert math.isclose(seconds(huge, H100, sizes)[0], 10**125 / 3.35e12, rel_tol=1e-12)
