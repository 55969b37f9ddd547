"""Tables as people read them: merged layers, the module tree, operators, shares, and forms."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fxcost.api import trace
from fxcost.errors import FxcostError
from fxcost.formulas.evaluation import evaluate
from fxcost.formulas.parsing import parse
from fxcost.reports.costs import cost_report, to_pandas
from fxcost.reports.parts.numbers import merged_name, prefix_for, scaled, share
from fxcost.reports.parts.tables import Cell, Column, Report, render


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.fc(x)) + x


@pytest.fixture(scope="module")
def costs() -> Any:
    return trace(nn.Sequential(*(Block() for _ in range(4)), nn.Linear(8, 2)), inputs=("input: float32[B,8]",))


def rows(report: Report[Any]) -> list[list[str]]:
    return [[cell.text for cell in row] for row in report.cells[: len(report.rows)]]


def test_layers_that_repeat_are_told_once(costs: Any) -> None:
    """Four linear layers of 2·8·8 FLOPs, their ReLUs and sums, and the head."""
    told = rows(cost_report(costs, {"B": 2}))
    assert [row[:3] for row in told] == [
        ["0-3.fc", "Linear", "×4"],
        ["0-3.relu", "Block", "×4"],
        ["0-3.add", "Block", "×4"],
        ["4", "Linear", ""],
    ]
    assert told[0][7] == "128·B"
    assert json.loads(render(cost_report(costs, {"B": 2}), "json"))["rows"][0]["flops_at"] == 4 * 128 * 2


def test_the_module_tree(costs: Any) -> None:
    told = rows(cost_report(costs, {"B": 1}, by="module"))
    assert [row[:2] for row in told[:3]] == [["Sequential", "Sequential"], ["  0", "Block"], ["    fc", "Linear"]]
    assert [row[0].strip() for row in rows(cost_report(costs, by="module", depth=1))] == [
        "Sequential",
        "0",
        "1",
        "2",
        "3",
        "4",
    ]
    whole = costs.by_module()[""]
    assert whole.flops == costs.total.flops
    assert costs.by_module(depth=1)["0"].params == 72


class Twice(nn.Module):
    """A block that two callers share, which also has a module of its own; one caller stands deeper than the other."""

    def __init__(self) -> None:
        super().__init__()
        block = Block()
        self.left, self.right = nn.Sequential(block), nn.Sequential(nn.Sequential(block))
        self.tail = block.fc

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.tail(self.right(self.left(self.left(x))))


def test_a_shared_module_runs_within_each_of_its_callers() -> None:
    """128 FLOPs of a linear layer, 8 of a ReLU and 8 of a sum for each call of the block; its parameters count once."""
    shared = trace(Twice(), inputs=("x: float32[B,8]",))
    costs = shared.at(B=1)
    inside = {path: (cost.flops, cost.params) for path, cost in costs.by_module().items()}
    assert inside == {
        "": (3 * 144 + 128, 72),
        "left": (2 * 144, 72),
        "left.0": (2 * 144, 72),
        "left.0.fc": (2 * 128, 72),
        "right": (144, 0),
        "right.0": (144, 0),
        "right.0.0": (144, 0),
        "right.0.0.fc": (128, 0),
        "tail": (128, 0),
    }
    told = rows(cost_report(costs, by="module"))
    assert [row[:2] for row in told] == [
        ["Twice", "Twice"],
        *(["  left", "Sequential"], ["    0", "Block"], ["      fc", "Linear"]),
        *(["  right", "Sequential"], ["    0", "Sequential"], ["      0", "Block"], ["        fc", "Linear"]),
        ["  tail", "Linear"],
    ]
    assert {layer.module for layer in costs.layers} == {"left.0", "left.0.fc"}


def test_by_operator(costs: Any) -> None:
    told = {row[0]: row for row in rows(cost_report(costs, by="op"))}
    assert told["aten.linear.default"][2] == "5"
    assert costs.at(B=1).by_op()["aten.relu.default"].flops == 4 * 8


def test_the_most_expensive_rows(costs: Any) -> None:
    assert [row[0] for row in rows(cost_report(costs, top=1))] == ["0-3.fc"]


def test_depth_needs_the_tree(costs: Any) -> None:
    with pytest.raises(FxcostError, match="add --by module"):
        cost_report(costs, depth=1)


def test_shares_add_up(costs: Any) -> None:
    shares = [float(row[-2]) for row in rows(cost_report(costs, by="op"))]
    assert sum(shares) == pytest.approx(100, abs=0.2)


def test_unknown_operators_make_lower_bounds(costs_of: Callable[..., Any]) -> None:
    torch.library.define("report_test::opaque", "(Tensor x) -> Tensor")
    torch.library.register_fake("report_test::opaque", lambda x: x.clone())
    opaque = costs_of(lambda x: torch.ops.report_test.opaque(x) + 1, "x: float32[B,4]", B=2)
    text = render(cost_report(opaque), "table")
    assert "total at B=2: ≥ 8 FLOPs, ≥ 0 MACs, ≥ 128 B moved" in text
    assert "operations: 1 counted, 0 free, 1 unknown" in text
    assert "unknown: report_test.opaque.default ×1 in opaque: its arithmetic is missing above" in text


@pytest.mark.parametrize(
    ("names", "merged"),
    [
        (["a.0.b", "a.1.b", "a.2.b"], "a.0-2.b"),
        (["a.0.b", "a.2.b", "a.3.b"], "a.0,2-3.b"),
        (["a.0.b", "a.0.c", "a.1.b", "a.1.c"], "a.0-1.{b,c}"),
        (["a.0.b", "a.1.c"], "a.0.b, …"),
        (["h.layer_0.x", "h.layer_1.x", "h.layer_2.x", "h.layer_3.x", "h.layer_4.x"], "h.layer_{0-4}.x"),
        (["a.b", "a.b.c"], "a.b, …"),
        (["a"], "a"),
    ],
)
def test_merged_names_name_exactly_the_layers(names: list[str], merged: str) -> None:
    assert merged_name(names) == merged


def test_numbers_as_people_read_them() -> None:
    assert prefix_for(4_089_184_256) == (10**9, "G")
    assert scaled(4_089_184_256, 10**9) == "4.089"
    assert scaled(1, 10**9) == "<0.001"
    assert scaled(0, 10**9) == ""
    assert share(1, 3) == "33.3"
    assert share(1, 0) == ""


REPORT: Report[tuple[str, int]] = Report(
    (
        Column("name", "name", lambda row: Cell(row[0]), numeric=False),
        Column("GFLOPs", "flops", lambda row: Cell(f"{row[1] / 10**9}", row[1])),
        Column("more", "more", lambda _: Cell("x"), hidden=True),
    ),
    (("a|b", 1_500_000_000),),
    heading=("head",),
    notes=("note",),
    facts={"at": {"B": 1}},
)


def test_forms() -> None:
    assert render(REPORT, "csv") == "name,flops,more\na|b,1500000000,x"
    assert render(REPORT, "md") == "head  \n\n| name | GFLOPs |\n| --- | ---: |\n| a\\|b | 1.5 |\n\nnote  "
    assert json.loads(render(REPORT, "json")) == {
        "at": {"B": 1},
        "notes": ["note"],
        "rows": [{"name": "a|b", "flops": 1_500_000_000, "more": "x"}],
    }
    assert '<td style="text-align:right">1.5</td>' in render(REPORT, "html")
    assert "x" not in render(REPORT, "table").split()


def test_pandas_and_notebooks(costs: Any) -> None:
    frame = to_pandas(costs.at(B=3))
    assert frame["flops"].sum() == costs.at(B=3).total.flops
    assert list(frame["layer"])[:2] == ["0.fc", "0.relu"]
    assert costs._repr_html_().count("<tr>") == 6  # the head, and the total
    assert "0-3.fc" in str(costs)


def test_a_parameter_that_nothing_uses_has_its_row() -> None:
    class Spare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.spare = nn.Parameter(torch.zeros(5))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    told = rows(cost_report(trace(Spare(), inputs=("x: float32[B,4]",))))
    assert [(row[0], row[6]) for row in told] == [("spare (unused)", "5")]


@pytest.fixture(scope="module")
def with_leaf() -> Any:
    """Two layers of 8 by 8, of which the second is not looked into."""
    return trace(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)), inputs=("input: float32[B,8]",), leaves=("1",))


@pytest.mark.parametrize("by", ["layer", "module", "op"])
def test_every_number_of_an_unknown_row_is_a_lower_bound(with_leaf: Any, by: Any) -> None:
    """All but its parameters; of a total that is a lower bound each share is an upper one."""
    report = cost_report(with_leaf, {"B": 1}, by=by)
    keys = [column.key for column in report.columns]
    seen = set()
    for row in rows(report):
        told = dict(zip(keys, row, strict=True))
        partial = told["coverage"] == "unknown"
        seen.add(partial)
        for key in ("flops", "macs", "flops_at", "macs_at", "bytes_moved_at"):
            assert told[key].startswith("≥ ") == partial, (row[0], key)
            assert told[key] != "≥ "
        assert told["flops_share_percent"] == ("–" if partial else "≤ 100.0")
    assert seen == {True, False}


def test_rooflines_of_what_is_partly_unknown(with_leaf: Any) -> None:
    """Its intensity is that of nothing counted; the share that is compute-bound is of the other layer's time."""
    from fxcost.machines.sheets import load_platform
    from fxcost.reports.roofline import roofline_report
    from fxcost.reports.sweeps import sweep_report
    from fxcost.roofline.rate import Machine
    from fxcost.roofline.sweep import sweep

    l4 = Machine(load_platform("l4"), "fp16")
    report = roofline_report(with_leaf, [l4], {"B": 10**6}, wide=True)
    keys = [column.key for column in report.columns]
    told = {row[1]: dict(zip(keys, row, strict=True)) for row in rows(report)}
    assert told["1"]["intensity_flop_per_byte"] == told["1"]["time_share_percent"] == "–"
    assert told["1"]["flops"] == "≥ 0"
    assert told["0"]["time_share_percent"] == "≤ 50.0"
    assert "0.0 % of the time compute-bound (of layers whose bound is known)" in report.notes[0]
    (point,) = sweep({2: with_leaf}, l4, "B")
    assert (point.unknown, point.known_seconds * 2 > point.seconds) == (1, True)
    printed = render(sweep_report(with_leaf, "B", [(l4, (point,))], {}), "table")
    assert "≥ and ≤: the bound of some layers is unknown" in printed
    assert printed.count("≤") == 2


def test_a_machine_without_a_vector_peak_bounds_time_from_below() -> None:
    """All is counted: FLOPs and bytes are exact, and only the time of the vector unit is not known."""
    from fxcost.machines.sheets import load_platform
    from fxcost.reports.roofline import roofline_report
    from fxcost.roofline.rate import Machine

    costs = trace(nn.Sequential(nn.Linear(8, 8), nn.ReLU()), inputs=("input: float32[B,8]",))
    report = roofline_report(costs, [Machine(load_platform("tpu-v5e"), "bf16")], {"B": 10**6}, wide=True)
    keys = [column.key for column in report.columns]
    relu = dict(zip(keys, rows(report)[1], strict=True))
    assert (relu["flops"], relu["bytes_moved"]) == ("8.000", "32.000")
    assert relu["seconds"].startswith("≥ ")
    assert "tpu-v5e: ≥ " in report.notes[0]


class Repeats(nn.Module):
    """Four layers alike, one that runs twice, and one by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.alike = nn.Sequential(*(nn.Linear(8, 8) for _ in range(4)))
        self.twice, self.last = nn.Linear(8, 8, bias=False), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.twice(self.twice(self.alike(x))))


@pytest.mark.parametrize("by", ["layer", "op"])
def test_rows_sum_to_the_whole_and_name_every_layer(by: Any) -> None:
    """Parameters as torch has them, multiply-adds as its counter has them, and formulas too."""
    model = Repeats()
    costs = trace(model, inputs=("x: float32[B,8]",))
    report = cost_report(costs, {"B": 3}, by=by)
    found = json.loads(render(report, "json"))
    *lines, last = csv.DictReader(io.StringIO(render(report, "csv")))
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(3, 8))
    for told, total in ((found["rows"], found["total"]), (lines, last)):
        assert (
            sum(int(row["params"]) for row in told)
            == int(total["params"])
            == sum(p.numel() for p in model.parameters())
        )
        assert 2 * sum(int(row["macs_at"]) for row in told) == 2 * int(total["macs_at"]) == counter.get_total_flops()
        for key in ("flops", "macs"):
            formulas = [parse(row[key], ["B"]) for row in told]
            assert sum(formulas) == parse(total[key], ["B"])
            assert [evaluate(each, {"B": 3}) for each in formulas] == [int(row[f"{key}_at"]) for row in told]
    named = [name for row in found["rows"] for name in row["layers"]]
    assert sorted(named) == sorted(layer.name for layer in costs.layers)
    assert [row["count"] for row in found["rows"]] == [len(row["layers"]) for row in found["rows"]]
    assert lines[0]["layers"].split(" ") == found["rows"][0]["layers"]
    assert "all its `count` layers together" in found["rows_are"]
    assert all(
        isinstance(found["total"][key], (int, float)) for key in found["total"] if key.endswith(("_at", "percent"))
    )


@pytest.mark.parametrize("form", ["table", "md", "html"])
def test_reports_end_in_a_row_of_the_total(form: Any) -> None:
    costs = trace(Repeats(), inputs=("x: float32[B,8]",))
    report = cost_report(costs, {"B": 3})
    assert render(replace(report, notes=()), form).count("total") == 1


def test_bytes_are_those_of_the_precision_that_is_asked_for(tmp_path: Path, fxcost_command: Any) -> None:
    """Of 16 bits half of those of 32."""
    saved = tmp_path / "saved.json"
    trace(Repeats(), inputs=("x: float32[B,8]",)).save(saved)
    moved = {
        precision: json.loads(fxcost_command("trace", saved, "-f", "json", "--precision", precision)[1])
        for precision in ("fp32", "BF16")
    }
    assert moved["fp32"]["total"]["bytes_moved_at"] == 2 * moved["BF16"]["total"]["bytes_moved_at"] > 0
    assert moved["BF16"]["bytes_in"] == "bf16"
    assert "moved in bf16" in fxcost_command("trace", saved, "--precision", "bf16")[1]
    code, _, said = fxcost_command("trace", saved, "--precision", "half")
    assert code == 1
    assert "unknown precision 'half'" in said
