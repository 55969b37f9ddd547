"""Two models compared: what is called a change, and what is not."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import pytest

from fxcost.costs.model import Cost, CostModel, LayerCost
from fxcost.drift.diff import Difference, compare
from fxcost.errors import FxcostError
from fxcost.formulas.algebra import ZERO
from fxcost.formulas.expressions import parse
from fxcost.formulas.ranges.domain import Condition, Pinned, SymbolRange
from fxcost.reports.differences import LONGEST_UNFOLDED, differences_report
from fxcost.reports.parts.change_lines import move_text, percent
from fxcost.reports.parts.tables import render

NAMES = ("B", "H", "W")
ONE_SYMBOL: Mapping[str, Any] = {"symbols": {"B": SymbolRange()}, "defaults": {"B": 4}}


def layer(name: str, flops: str, op: str = "linear", params: int = 0, coverage: Any = "counted") -> LayerCost:
    moved = {"activation": {"float32": parse(flops, NAMES)}}
    cost = Cost(ZERO, parse(flops, NAMES), params, moved)
    return LayerCost(name, name, "", f"aten.{op}.default", coverage, "", cost)


def model(*layers: LayerCost, **parts: Any) -> CostModel:
    return CostModel("m", layers, **{**ONE_SYMBOL, **parts})


def kinds(difference: Difference) -> Mapping[str, str]:
    return {(pair.new or pair.old).name: pair.kind for pair in difference.pairs}  # type: ignore[union-attr]


BEFORE = (layer("0", "128*B", params=64), layer("1", "8*B", "relu"), layer("2", "256*B", params=128))


def test_a_model_is_as_itself() -> None:
    difference = compare(model(*BEFORE), model(*BEFORE))
    assert set(kinds(difference).values()) == {"same"}
    assert difference.moves() == ()


def test_a_widened_layer_is_named_and_sized() -> None:
    """128·B to 160·B is a quarter more of that layer: 32 of 392 in all."""
    difference = compare(model(*BEFORE), model(layer("0", "160*B", params=80), *BEFORE[1:]))
    assert kinds(difference) == {"0": "changed", "1": "same", "2": "same"}
    flops = next(move for move in difference.moves() if move.measure == "flops")
    assert (flops.old, flops.new, flops.point) == (392 * 4, 424 * 4, {"B": 4})
    printed = render(differences_report("", {"m": difference}), "table")
    assert "128·B → 160·B" in printed
    assert "0.512 → 0.640 (+25.0 %)" in printed  # kFLOPs


def test_a_renamed_layer_is_no_change() -> None:
    renamed = (layer("first", "128*B", params=64), *BEFORE[1:])
    difference = compare(model(*BEFORE), model(*renamed))
    assert kinds(difference) == {"first": "renamed", "1": "same", "2": "same"}
    assert (difference.changes, difference.moves()) == ((), ())
    assert "renamed at the same cost: 0 → first" in render(differences_report("", {"m": difference}), "table")


def test_an_inserted_layer_is_the_only_change_though_names_shift() -> None:
    """In a Sequential every later layer gets another number."""
    after = (layer("0", "16*B", "tanh"), layer("1", "128*B", params=64), layer("2", "8*B", "relu"), layer("3", "256*B", params=128))  # fmt: skip
    assert kinds(compare(model(*BEFORE), model(*after))) == {"0": "added", "1": "renamed", "2": "renamed", "3": "renamed"}  # fmt: skip
    back = compare(model(*after), model(*BEFORE))
    assert [(pair.old.name, pair.kind) for pair in back.pairs if pair.old] == [
        ("0", "removed"), ("1", "renamed"), ("2", "renamed"), ("3", "renamed"),
    ]  # fmt: skip


def test_reordered_layers_are_no_change() -> None:
    after = (layer("0", "256*B", params=128), layer("1", "8*B", "relu"), layer("2", "128*B", params=64))
    difference = compare(model(*BEFORE), model(*after))
    assert difference.changes == ()
    assert difference.moves() == ()


def test_the_layer_that_kept_its_name_is_the_one_that_stayed() -> None:
    """Of two layers that cost the same the first went; told in the order they ran."""
    twins = (layer("a", "8*B"), layer("b", "8*B"), layer("c", "9*B", "relu"))
    left = compare(model(*twins), model(twins[1]))
    assert [(pair.old.name, pair.kind) for pair in left.pairs if pair.old] == [
        ("a", "removed"), ("b", "same"), ("c", "removed"),
    ]  # fmt: skip


def test_renamed_layers_are_matched_in_order() -> None:
    """Where a, b, c of 10, 20, 10 become p, q of 20, 10, it is a that went."""
    old = (layer("a", "10*B"), layer("b", "20*B"), layer("c", "10*B"))
    assert kinds(compare(model(*old), model(layer("p", "20*B"), layer("q", "10*B")))) == {
        "a": "removed", "p": "renamed", "q": "renamed",
    }  # fmt: skip


def test_layers_renamed_and_reordered_are_no_change() -> None:
    old = (layer("a", "10*B"), layer("b", "20*B"), layer("c", "30*B"))
    new = (layer("r", "30*B"), layer("q", "20*B"), layer("p", "10*B"))
    assert compare(model(*old), model(*new)).changes == ()


def test_a_total_that_moved_at_the_usual_size_is_told_there() -> None:
    """B + 1 for B is a quarter more at 4, and twice as much at 1."""
    difference = compare(model(layer("0", "B")), model(layer("0", "B + 1")))
    assert [move.point for move in difference.moves()] == [{"B": 4}, {"B": 4}]
    assert difference.moves(Fraction(1, 2))[0].point == {"B": 1}


def test_a_renamed_and_widened_layer_is_one_change() -> None:
    difference = compare(model(*BEFORE), model(BEFORE[0], BEFORE[1], layer("wide", "300*B", params=150)))
    (change,) = difference.changes
    assert (change.kind, change.old.name, change.new.name) == ("changed", "2", "wide")  # type: ignore[union-attr]


def test_another_operator_at_the_same_cost_is_a_change() -> None:
    difference = compare(model(*BEFORE), model(BEFORE[0], layer("1", "8*B", "tanh"), BEFORE[2]))
    assert kinds(difference)["1"] == "changed"
    assert difference.moves() == ()


def test_a_change_that_vanishes_at_the_usual_size_is_seen() -> None:
    """4·B and B·B agree at B = 4 alone."""
    difference = compare(model(layer("0", "4*B")), model(layer("0", "B*B")))
    flops = next(move for move in difference.moves() if move.measure == "flops")
    assert flops.point["B"] != 4
    assert flops.old == 4 * flops.point["B"]
    assert flops.new == flops.point["B"] ** 2
    printed = render(differences_report("", {"m": difference}), "table")
    assert f"{move_text(flops)}; the same at B=4" in printed


@pytest.mark.parametrize(
    ("old", "new"), [("2*(B + 1)", "2*B + 2"), ("(B - 1)//2 + 1", "(B + 1)//2"), ("B*B - 1", "(B - 1)*(B + 1)")]
)
def test_another_writing_is_no_change(old: str, new: str) -> None:
    difference = compare(model(layer("0", old)), model(layer("0", new)))
    assert (difference.changes, difference.moves()) == ((), ())


def test_where_few_sizes_are_allowed_formulas_must_be_written_alike() -> None:
    """3·B − 2 and B·B agree at 1 and at 2: two points can't tell."""
    few: dict[str, Any] = {"symbols": {"B": SymbolRange(1, 2)}, "defaults": {"B": 1}}
    difference = compare(model(layer("0", "3*B - 2"), **few), model(layer("0", "B*B"), **few))
    assert len(difference.points) == 2
    assert kinds(difference) == {"0": "changed"}
    assert "another formula" in move_text(difference.moves()[0])
    assert not difference.moves(Fraction(1, 100))


def test_tolerance_is_a_share_of_the_old_value() -> None:
    difference = compare(model(layer("0", "1000*B")), model(layer("0", "1004*B")))
    assert difference.moves(Fraction("0.005")) == ()
    assert {move.measure for move in difference.moves(Fraction("0.003"))} == {"flops", "bytes"}


def test_points_keep_to_ranges_and_conditions_of_both() -> None:
    one = model(
        layer("0", "B*H*W"),
        symbols={"B": SymbolRange(), "H": SymbolRange(32, 512, 32), "W": SymbolRange()},
        defaults={"B": 1, "H": 64, "W": 64},
        conditions=(Condition(parse("H", NAMES), "==", parse("W", NAMES)),),
    )
    other = model(
        layer("0", "B*H*W"),
        symbols={"B": SymbolRange(2), "H": SymbolRange(1, 300), "W": SymbolRange()},
        defaults={"B": 1, "H": 64, "W": 64},
    )
    points = compare(one, other).points
    assert points[0] == {"B": 2, "H": 64, "W": 64}
    assert len(points) >= 4
    for point in points:
        assert point["B"] >= 2
        assert point["H"] == point["W"]
        assert point["H"] in range(32, 301, 32)


def test_multiples_of_both_are_kept() -> None:
    four, six = (model(*BEFORE, symbols={"B": SymbolRange(1, None, step)}) for step in (4, 6))
    assert {point["B"] % 12 for point in compare(four, six).points} == {0}


def test_a_size_that_was_free_and_is_fixed_is_told() -> None:
    free = model(layer("0", "B*H"), symbols={"B": SymbolRange(), "H": SymbolRange()}, defaults={"B": 1, "H": 8})
    pinned = model(layer("0", "32*B"), fixed={"H": Pinned(32, "net.py:3")}, defaults={"B": 1})
    difference = compare(free, pinned)
    assert difference.points[0] == {"B": 1, "H": 32}
    assert difference.moves() == ()
    assert "H: 1 or more → fixed at 32" in render(differences_report("", {"m": difference}), "table")


def test_ranges_that_exclude_one_another_are_refused() -> None:
    low: dict[str, Any] = {"symbols": {"B": SymbolRange(1, 4)}, "defaults": {}}
    high: dict[str, Any] = {"symbols": {"B": SymbolRange(5, 9)}, "defaults": {}}
    with pytest.raises(FxcostError, match="no B is allowed by both"):
        compare(model(*BEFORE, **low), model(*BEFORE, **high))
    with pytest.raises(FxcostError, match="neither model has a symbol Q"):
        compare(model(*BEFORE), model(*BEFORE), {"Q": 3})
    with pytest.raises(FxcostError, match="B=7 is above 4"):
        compare(model(*BEFORE, **low), model(*BEFORE), {"B": 7})


def test_a_layer_whose_operator_lost_its_rule_is_told() -> None:
    difference = compare(model(*BEFORE), model(*BEFORE[:2], layer("2", "0", "mystery", coverage="unknown")))
    assert difference.gained_unknown == {"aten.mystery.default": ("2",)}
    assert compare(difference.new, difference.new).gained_unknown == {}
    free = model(*BEFORE[:2], layer("2", "0", "mystery", coverage="free"))
    assert kinds(compare(free, difference.new))["2"] == "changed"
    assert "now without a rule: aten.mystery.default in 2" in render(differences_report("", {"m": difference}), "md")


def test_what_markdown_shows_fits_a_pull_request() -> None:
    few = differences_report("a → b", {"m": compare(model(*BEFORE), model(*BEFORE[:2]))})
    lines = render(few, "md").splitlines()
    assert lines[0] == "### a → b"
    assert "<details>" not in render(few, "md")
    assert sum(line.startswith("| ---") for line in lines) == 1
    many = [layer(f"x{i}", f"{i + 1}*B") for i in range(LONGEST_UNFOLDED + 1)]
    assert "<details><summary>" in render(differences_report("", {"m": compare(model(), model(*many))}), "md")


def test_layers_that_change_alike_are_one_row() -> None:
    old = [layer(f"h.{i}.up", "64*B", params=32) for i in range(12)]
    new = [layer(f"h.{i}.up", "80*B", params=40) for i in range(12)]
    report = differences_report("", {"m": compare(model(*old), model(*new))})
    row, total = report.cells
    assert [row[1].text, total[1].text] == ["h.0-11.up", "total"]
    assert row[4].text == "×12"
    assert row[7].text == "3.072 → 3.840 (+25.0 %)"  # 12 layers of 64·4 and 80·4 FLOPs, in thousands
    keys = [column.key for column in report.columns]
    assert row[keys.index("flops_at_old")].exact == 12 * 64 * 4


@pytest.mark.parametrize(
    ("share", "text"),
    [("0.302", "+30.2 %"), ("-0.5", "−50.0 %"), ("0.0001", "+<0.1 %"), ("-0.0001", "−<0.1 %"), ("12", "+1,200.0 %")],
)
def test_percentages_keep_their_sign(share: str, text: str) -> None:
    assert percent(Fraction(share)) == text


def test_a_change_from_nothing_has_no_percentage() -> None:
    difference = compare(model(layer("0", "0")), model(layer("0", "B")))
    assert difference.moves()[0].share is None
    assert "(new)" in move_text(difference.moves(Fraction(100))[0])


def test_sizes_that_both_hold_fixed_are_named() -> None:
    """One that they hold at different sizes is told as a change, and is no part of the point."""
    held = {"H": Pinned(224, "the model"), "W": Pinned(224, "the model")}
    old = model(*BEFORE, fixed=held)
    new = model(layer("0", "160*B", params=80), *BEFORE[1:], fixed={**held, "W": Pinned(256, "the model")})
    printed = render(differences_report("", {"m": compare(old, new)}), "table")
    assert "at B=4, H=224\n" in printed
    assert "W: fixed at 224 → fixed at 256" in printed


def test_totals_without_an_operator_are_lower_bounds() -> None:
    """No percentage is told of two numbers of which one is a bound."""
    opaque = layer("3", "0", "opaque", coverage="unknown")
    difference = compare(model(*BEFORE), model(*BEFORE, opaque, layer("4", "8*B", "tanh")))
    printed = render(differences_report("", {"m": difference}), "table")
    (total,) = [line for line in printed.splitlines() if line.startswith(" total")]
    assert "1.568 → ≥ 1.600 " in total  # kFLOPs: 392·4 and 400·4
    assert "%" not in total
    assert [line.split()[1:3] for line in printed.splitlines() if line.startswith(" 3 ")] == [["opaque", "added"]]
    assert "unknown" in next(line for line in printed.splitlines() if line.startswith(" 3 "))
