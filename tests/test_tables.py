"""Terminal tables of any width: what gives way, and what never does."""

import io
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from fxcost.machines.sheets import load_platform, platform_names
from fxcost.reports.costs import cost_report
from fxcost.reports.crossovers import crossover_report
from fxcost.reports.parts.tables import Cell, Column, Report, render, show
from fxcost.reports.platforms import platforms_report
from fxcost.reports.roofline import roofline_report
from fxcost.roofline.crossover import crossovers
from fxcost.roofline.rate import Machine

WIDTHS = range(60, 201, 7)


@dataclass(frozen=True)
class Line:
    name: str
    number: int
    formula: str
    remark: str = ""


def report(*lines: Line) -> Report[Line]:
    columns: tuple[Column[Line], ...] = (
        Column("layer", "layer", lambda line: Cell(line.name), numeric=False, overflow="spill"),
        Column("formula", "formula", lambda line: Cell(line.formula), numeric=False, priority=0, overflow="ellipsis"),
        Column("second", "second", lambda line: Cell(f"{2 * line.number:,}"), priority=2),
        Column("least", "least", lambda line: Cell(f"{3 * line.number:,}"), priority=1),
        Column("number at H=224, W=224", "number", lambda line: Cell(f"{line.number:,}", line.number)),
        Column("remark", "remark", lambda line: Cell(line.remark), numeric=False, overflow="fold"),
    )
    return Report(columns, lines)


FORMULA = "18816·B·(⌊(H−1)/2⌋+1)·(⌊(W−1)/2⌋+1)"
NARROW = report(Line("conv", 1_234_567, FORMULA), Line("fc", 89, "4096000·B", "the last one of all"))


def test_formulas_give_way_first_and_then_the_columns_of_lowest_priority() -> None:
    """From the widest terminal to the narrowest."""
    stages = [
        "whole",
        "formula is cut",
        "left out: formula",
        "left out: formula, least",
        "left out: formula, second, least",
    ]
    seen: list[str] = []
    for width in range(140, 29, -1):
        text = render(NARROW, "table", width)
        left_out = re.search(r"left out at \d+ columns: ([^;]*);", " ".join(text.split()))
        stage = f"left out: {left_out[1]}" if left_out else "formula is cut" if "…" in text else "whole"
        assert ("…" in text) == (stage == "formula is cut"), width
        if stage not in seen[-1:]:
            seen.append(stage)
    assert seen == stages


SCREEN = """
                                                 number at
                                                    H=224,
 layer  formula               second      least      W=224  remark
 ──────────────────────────────────────────────────────────────────────────────
 conv   18816·B·(⌊(H−1)/…  2,469,134  3,703,701  1,234,567
 fc     4096000·B                178        267         89  the last one of all
"""


def test_titles_take_several_lines_before_formulas_are_cut() -> None:
    assert render(NARROW, "table", 80) == SCREEN.strip("\n")


def test_a_name_that_leaves_the_numbers_no_room_stands_on_a_line_of_its_own() -> None:
    name = "encoder.layers.encoder_layer_{0-11}.self_attention.linear"
    text = render(report(Line("conv", 1, FORMULA), Line(name, 2, FORMULA)), "table", 70)
    lines = [line.split() for line in text.splitlines()]
    at = lines.index([name])
    assert lines[at - 1] == ["conv", "2", "3", "1"]
    assert lines[at + 1] == ["4", "6", "2"]


def test_a_text_that_takes_several_lines_is_not_told_twice_running() -> None:
    told = "read in the data sheet of the machine, where it is printed with sparsity and halved here"
    text = render(report(*(Line(f"peak{i}", i, "", told) for i in range(3))), "table", 80)
    assert text.count("sparsity") == 1
    assert text.count("as above") == 2
    assert render(report(*(Line(f"peak{i}", i, "", told) for i in range(3))), "table").count(told) == 3


@pytest.fixture(scope="module")
def resnet50(subject: Callable[[str], Any]) -> Any:
    return subject("resnet50").costs


A100 = Machine(load_platform("a100-sxm4-80gb"), "fp16")
REPORTS: dict[str, Callable[[Any], Report[Any]]] = {
    "trace": cost_report,
    "trace by operator": lambda costs: cost_report(costs, by="op"),
    "crossover": lambda costs: crossover_report(costs, [(A100, crossovers(costs, A100))], "B", {}, wide=True),
    "roofline": lambda costs: roofline_report(costs, [A100], {}, wide=True),
    "platforms": lambda _: platforms_report(map(load_platform, platform_names())),
}


def is_unbroken(texts: Sequence[str], screen: str) -> bool:
    """Whether the words of each text stand side by side on some line."""
    lines = [f" {' '.join(line.split())} " for line in screen.splitlines()]
    return all(any(f" {' '.join(text.split())} " in line for line in lines) for text in texts)


@pytest.mark.parametrize("name", REPORTS)
def test_no_line_is_too_long_and_no_name_or_number_broken(name: str, resnet50: Any) -> None:
    """Columns that are left out are named, and all others are there whole but for their formulas."""
    made = REPORTS[name](resnet50)
    for width in WIDTHS:
        screen = render(made, "table", width)
        assert max(map(len, screen.splitlines())) <= width
        left_out = " ".join(screen.split()).partition(f"left out at {width} columns: ")[2].partition(";")[0].split(", ")
        for column, cells in made.shown:
            if column.title not in left_out and column.overflow != "ellipsis":
                assert is_unbroken([cell.text for cell in cells], screen), (width, column.title)


def test_a_row_is_a_line(resnet50: Any) -> None:
    """In a terminal of 100 columns, where no formula fits beside the numbers."""
    made = cost_report(resnet50)
    screen = render(made, "table", 100).splitlines()
    first = next(i for i, line in enumerate(screen) if line.startswith(" ──")) + 1
    assert screen[first + len(made.rows) - 1].split()[0] == "fc"
    assert len(screen) < 85


def test_a_terminal_has_its_own_width_and_a_pipe_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "60")
    for stream, text in ((Terminal(), render(NARROW, "table", 60)), (io.StringIO(), render(NARROW, "table"))):
        monkeypatch.setattr(sys, "stdout", stream)
        show(NARROW, "table")
        assert stream.getvalue().strip("\n") == text
