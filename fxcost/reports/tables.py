"""A report as rows and notes, and its forms: terminal table, Markdown, CSV, JSON, HTML."""

import csv
import html
import io
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from fxcost.errors import printable

ReportForm = Literal["table", "md", "csv", "json", "html"]
CellValue = str | int | float | Fraction | bool | None | list[Any]


@dataclass(frozen=True)
class Column:
    """A column: its title with the unit, its key in CSV and JSON, and whether it holds numbers."""

    title: str
    key: str
    numeric: bool = True
    folds: bool = False
    """Whether long cells may run over several lines; others are never cut."""
    hidden: bool = False
    """Whether only CSV and JSON show it."""


@dataclass(frozen=True)
class Cell:
    """What a reader sees, and the exact value that CSV and JSON carry."""

    text: str
    value: CellValue = None
    style: str = ""

    @property
    def exact(self) -> CellValue:
        return self.text if self.value is None else self.value


@dataclass(frozen=True)
class Report:
    """A table with lines before and after it."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    heading: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What JSON carries beside the rows."""
    title: str = ""
    folded: bool = False
    """Whether Markdown shows the table only when asked to."""
    total: tuple[Cell, ...] | None = None
    """What the rows come to: a last row, which JSON keeps apart under a key of its own."""

    @property
    def all_rows(self) -> tuple[tuple[Cell, ...], ...]:
        """The rows, and the total after them."""
        return self.rows if self.total is None or not self.rows else (*self.rows, self.total)


def render(report: Report, form: ReportForm) -> str:
    """The report as text; a terminal table is plain here, see `show` for colour."""
    if form == "table":
        text = io.StringIO()
        console = Console(file=text, width=WIDE, no_color=True, highlight=False)
        _print_table(console, report)
        return _trimmed(text.getvalue())
    return {"md": _markdown, "csv": _csv, "json": _json, "html": _html}[form](report)


WIDE = 400
"""Columns of a table that goes to no terminal: nothing wraps."""


def show(report: Report, form: ReportForm) -> None:
    """Print the report: with colour and the terminal's width where there is a terminal."""
    if form == "table" and sys.stdout.isatty():
        _print_table(Console(highlight=False), report)
    else:
        print(render(report, form))


def _print_table(console: Console, report: Report) -> None:
    for line in (*filter(None, [report.title]), *report.heading):
        console.print(Text(printable(line)))
    titled = any(column.title for column in report.columns)
    table = RichTable(box=box.SIMPLE_HEAD if titled else None, pad_edge=False, show_header=titled)
    shown = [i for i, column in enumerate(report.columns) if not column.hidden]
    for column in (report.columns[i] for i in shown):
        table.add_column(
            Text(printable(column.title)),
            justify="right" if column.numeric else "left",
            overflow="fold",
            no_wrap=not column.folds and console.width >= WIDE,
        )
    for row in report.all_rows:
        if row is report.total:
            table.add_section()
        table.add_row(*(Text(printable(row[i].text), style=row[i].style) for i in shown))
    if report.rows:
        console.print(table)
    for line in report.notes:
        console.print(Text(printable(line)))


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")


def _markdown(report: Report) -> str:
    shown = [i for i, column in enumerate(report.columns) if not column.hidden]
    table = [_pipes([report.columns[i].title for i in shown])]
    table.append(_pipes(["---:" if report.columns[i].numeric else "---" for i in shown]))
    table += [_pipes([row[i].text for i in shown]) for row in report.all_rows]
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


def _csv(report: Report) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(column.key for column in report.columns)
    writer.writerows([_joined(_plain(cell.exact)) for cell in row] for row in report.all_rows)
    return text.getvalue().rstrip("\n")


def _json(report: Report) -> str:
    keys = [column.key for column in report.columns]
    rows = [dict(zip(keys, (_plain(cell.exact) for cell in row), strict=True)) for row in report.all_rows]
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


def _html(report: Report) -> str:
    shown = [i for i, column in enumerate(report.columns) if not column.hidden]
    head = "".join(f"<th>{_escaped(report.columns[i].title)}</th>" for i in shown)
    body = "".join(
        "<tr>" + "".join(_html_cell(report.columns[i], row[i]) for i in shown) + "</tr>" for row in report.all_rows
    )
    before, after = (
        "".join(f"<div>{_escaped(line)}</div>" for line in lines) for lines in (report.heading, report.notes)
    )
    return f'<meta charset="utf-8">{before}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{after}'


def _escaped(text: str) -> str:
    return html.escape(printable(text))


def _html_cell(column: Column, cell: Cell) -> str:
    align = "right" if column.numeric else "left"
    return f'<td style="text-align:{align}">{_escaped(cell.text)}</td>'
