"""A report as columns, rows and notes, and its forms: terminal table, Markdown, CSV, JSON, HTML."""

import csv
import html
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import zip_longest
from typing import Any, Generic, Literal, TypeVar

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from fxcost.errors import FxcostError, printable
from fxcost.options import Form

CellValue = str | int | float | Fraction | bool | None | list[Any]
Overflow = Literal["whole", "ellipsis", "fold", "spill"]
"""How a cell that finds too little room gives way: not at all, at its end, over several lines, or to a line of its own."""

KEPT = 9
"""The priority of columns that are never left out."""


@dataclass(frozen=True)
class Cell:
    """What a reader sees, and the exact value that CSV and JSON carry."""

    text: str
    value: CellValue = None
    style: str = ""

    @property
    def exact(self) -> CellValue:
        return self.text if self.value is None else self.value


RowT = TypeVar("RowT")


@dataclass(frozen=True)
class Column(Generic[RowT]):
    """A column: its title with the unit, its key in CSV and JSON, and what it says of a row."""

    title: str
    key: str
    cell: Callable[[RowT], Cell]
    numeric: bool = True
    priority: int = KEPT
    """Of columns that a terminal has no room for, the lowest are left out first."""
    overflow: Overflow = "whole"
    hidden: bool = False
    """Whether only CSV and JSON show it."""


@dataclass(frozen=True)
class Report(Generic[RowT]):
    """A table with lines before and after it."""

    columns: tuple[Column[RowT], ...]
    rows: tuple[RowT, ...]
    heading: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What JSON carries beside the rows."""
    title: str = ""
    folded: bool = False
    """Whether Markdown shows the table only when asked to."""
    total: RowT | None = None
    """What the rows come to: a last row, which JSON keeps apart under a key of its own."""

    @property
    def cells(self) -> list[list[Cell]]:
        """What the columns say of each row, and of the total after them."""
        rows = self.rows if self.total is None or not self.rows else (*self.rows, self.total)
        return [[column.cell(row) for column in self.columns] for row in rows]

    @property
    def shown(self) -> list[tuple[Column[RowT], list[Cell]]]:
        """The columns that people see, each with its cells."""
        rows = self.cells
        return [(column, [row[i] for row in rows]) for i, column in enumerate(self.columns) if not column.hidden]


def render(report: Report[Any], form: Form, width: int = sys.maxsize) -> str:
    """The report as text; a terminal table is plain here, as wide as a terminal of that width, see `show` for colour."""
    if form == "table":
        return "\n".join(line.plain.rstrip() for line in _screen(report, width)).strip("\n")
    return {"md": _markdown, "csv": _csv, "json": _json, "html": _html}[form](report)


def show(report: Report[Any], form: Form) -> None:
    """Print the report: with colour and the terminal's width where there is a terminal."""
    if form == "table" and sys.stdout.isatty():
        console = Console(highlight=False)
        for line in _screen(report, console.width):
            console.print(line, soft_wrap=True)
    else:
        print(render(report, form))


# Terminal

GAP, EDGE = 2, 1
SHORTEST = 16
"""Narrower, a formula or a text over several lines says nothing."""


@dataclass(frozen=True, eq=False)
class _Strip:
    """A column as it is printed."""

    column: Column[Any]
    title: Text
    cells: list[Text]

    @property
    def full(self) -> int:
        return max(each.cell_len for each in (self.title, *self.cells))

    def least(self, room: int) -> int:
        """The width that the column cannot do without."""
        overflow, widest = self.column.overflow, max(cell.cell_len for cell in self.cells)
        if overflow == "ellipsis":
            widest = min(widest, SHORTEST)
        if overflow == "spill":
            widest = min(widest, room // 2)
        if overflow == "fold":
            word = max(map(_longest_word, self.cells))
            widest = min(word, SHORTEST) if self.column.priority == KEPT else word
        return max(widest, _longest_word(self.title))

    def lines(self, row: int, width: int) -> list[Text]:
        """The cell in that width; no line at all for one that spills."""
        cell, overflow = self.cells[row], self.column.overflow
        if overflow == "spill" and cell.cell_len > width:
            return []
        if overflow == "ellipsis":
            cell.truncate(width, overflow="ellipsis")
        if overflow == "fold" and cell.cell_len > width and row and cell == self.cells[row - 1]:
            return _wrapped(Text("as above"), width)
        return _wrapped(cell, width)


def _longest_word(text: Text) -> int:
    return max(map(cell_len, text.plain.split()), default=0)


def _screen(report: Report[Any], width: int) -> Iterator[Text]:
    yield from _paragraphs((*filter(None, [report.title]), *report.heading), width)
    notes = report.notes
    if report.rows:
        strips = [
            _Strip(column, Text(printable(column.title)), [Text(printable(each.text), each.style) for each in cells])
            for column, cells in report.shown
        ]
        widths = _fitted(strips, width - 2 * EDGE)
        yield from _table(widths, has_total=report.total is not None)
        if left_out := [strip.title.plain for strip in strips if strip not in widths]:
            told = f"left out at {width} columns: {', '.join(left_out)}; -f csv, -f json or a wider terminal has them"
            notes = (*notes, told)
    yield from _paragraphs(notes, width)


def _paragraphs(lines: Iterable[str], width: int) -> Iterator[Text]:
    for line in lines:
        yield from _wrapped(Text(printable(line)), width)


def _wrapped(text: Text, width: int) -> list[Text]:
    lines = list(text.wrap(Console(), width))
    for line in lines:
        line.rstrip()
    return lines


def _fitted(strips: Sequence[_Strip], room: int) -> dict[_Strip, int]:
    """The columns that there is room for, and how wide each is."""
    widths = {strip: strip.least(room) for strip in strips}
    while _sum(widths) > room and any(strip.column.priority < KEPT for strip in widths):
        del widths[min(reversed(widths), key=lambda strip: strip.column.priority)]
    # What is left goes to names, texts and formulas in turn, last to titles: those of numbers may take several lines.
    for overflow in ("spill", "fold", "ellipsis", "whole"):
        growing = [strip for strip in widths if strip.column.overflow == overflow]
        growing.sort(key=lambda strip: strip.full - widths[strip])
        for others, strip in zip(reversed(range(len(growing))), growing, strict=True):
            spare = max(0, room - _sum(widths)) // (others + 1)
            widths[strip] += min(spare, strip.full - widths[strip])
    return widths


def _sum(widths: Mapping[_Strip, int]) -> int:
    return sum(widths.values()) + GAP * (len(widths) - 1)


def _table(widths: Mapping[_Strip, int], *, has_total: bool) -> Iterator[Text]:
    is_titled = any(strip.title for strip in widths)
    edge = " " * EDGE * is_titled
    if is_titled:
        titles = [_wrapped(strip.title, width) for strip, width in widths.items()]
        yield Text()
        # Titles of fewer lines stand at the foot of the others.
        yield from reversed([*_beside([title[::-1] for title in titles], widths, edge)])
        yield Text(edge + "─" * _sum(widths))
    last = len(next(iter(widths)).cells) - 1
    for row in range(last + 1):
        if has_total and row == last:
            yield Text()
        cells = {strip: strip.lines(row, width) for strip, width in widths.items()}
        yield from (Text(edge) + strip.cells[row] for strip, lines in cells.items() if not lines)
        yield from _beside(cells.values(), widths, edge)
    if is_titled:
        yield Text()


def _beside(cells: Iterable[Sequence[Text]], widths: Mapping[_Strip, int], edge: str) -> Iterator[Text]:
    """The lines of cells side by side."""
    for parts in zip_longest(*cells, fillvalue=Text()):
        padded = [
            Text.assemble(*([pad, part] if strip.column.numeric else [part, pad]))
            for part, (strip, width) in zip(parts, widths.items(), strict=True)
            for pad in [" " * (width - part.cell_len)]
        ]
        line = Text(edge) + Text(" " * GAP).join(padded)
        line.rstrip()
        yield line


# Other forms


def _markdown(report: Report[Any]) -> str:
    shown = report.shown
    table = [_pipes([column.title for column, _ in shown])]
    table.append(_pipes(["---:" if column.numeric else "---" for column, _ in shown]))
    table += [_pipes([cell.text for cell in row]) for row in zip(*(cells for _, cells in shown), strict=True)]
    if report.folded:
        table = [f"<details><summary>{len(report.rows)} rows</summary>", "", *table, "", "</details>"]
    parts = [
        [f"### {printable(report.title)}"] if report.title else [],
        [f"{printable(line)}  " for line in report.heading],
        table if report.rows or not report.title else [],
        [f"{printable(line)}  " for line in report.notes],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _pipes(cells: Sequence[str]) -> str:
    return "| " + " | ".join(printable(cell).replace("|", "\\|") for cell in cells) + " |"


def _csv(report: Report[Any]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(column.key for column in report.columns)
    writer.writerows([_joined(_plain(cell.exact)) for cell in row] for row in report.cells)
    return text.getvalue().rstrip("\n")


def records(report: Report[Any]) -> list[dict[str, Any]]:
    """The exact values of each row by the keys of the columns, the total, where there is one, last."""
    keys = [column.key for column in report.columns]
    return [dict(zip(keys, (_plain(cell.exact) for cell in row), strict=True)) for row in report.cells]


def frame(rows: Iterable[Mapping[str, Any]]) -> Any:
    """A pandas DataFrame of rows. Raises `FxcostError` where pandas is not installed."""
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise FxcostError("pandas is not installed; pip install 'fxcost[pandas]'") from error
    return pandas.DataFrame(rows)


def _json(report: Report[Any]) -> str:
    rows = records(report)
    total = {"total": rows.pop()} if len(rows) > len(report.rows) else {}
    found = {**report.facts, "notes": [*report.notes], "rows": rows, **total}
    text = json.dumps(found, indent=1, ensure_ascii=False)
    return "\n".join(map(printable, text.split("\n")))


def _joined(value: Any) -> Any:
    """A list as one cell."""
    return " ".join(map(str, value)) if isinstance(value, list) else value  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def _plain(value: CellValue) -> Any:
    if isinstance(value, Fraction):
        return value.numerator if value.denominator == 1 else float(value)
    if isinstance(value, list):
        return [printable(each) if isinstance(each, str) else each for each in value]
    return printable(value) if isinstance(value, str) else value


def _html(report: Report[Any]) -> str:
    shown = report.shown
    head = "".join(f"<th>{_escaped(column.title)}</th>" for column, _ in shown)
    columns = [[_html_cell(column, cell) for cell in cells] for column, cells in shown]
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in zip(*columns, strict=True))
    before, after = (
        "".join(f"<div>{_escaped(line)}</div>" for line in lines) for lines in (report.heading, report.notes)
    )
    return f'<meta charset="utf-8">{before}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{after}'


def _escaped(text: str) -> str:
    return html.escape(printable(text))


def _html_cell(column: Column[Any], cell: Cell) -> str:
    align = "right" if column.numeric else "left"
    return f'<td style="text-align:{align}">{_escaped(cell.text)}</td>'
