"""One renderer a format: a `Table` in, text (or a rich renderable) out."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from robustbench_lift.tables.latex import to_latex
from robustbench_lift.tables.table import Column, Entry, Row, Table, interval, plain, text_of
from robustbench_lift.text import code_span, markdown

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table as RichTable

SCHEMA = 1
"""Version of the JSON layout of a table."""
MARKS = {"best": "*", "second": "+", "": ""}


UNIT_WIDTH = len("% lower")
"""Characters of the longest part of a unit line that is not broken."""
TEXT_WIDTH = 24
"""Characters of a name before it is broken on a narrow console."""


def suffix(entry: Entry) -> str:
    """The marks of an entry as text: `*`, `+`, `~`."""
    return MARKS[entry.mark] + ("~" if entry.tie else "")


@dataclass(frozen=True, slots=True)
class Printed:
    """A table for rich: intervals are printed where the console is wide enough, numbers are never cut."""

    table: Table
    """What to print."""
    intervals: bool = True
    """Whether intervals are wanted at all; every file has them."""
    notes: bool = True
    """Whether notes and signatures follow; without them, only the legend of the marks."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Table, notes, signatures."""
        from rich.text import Text

        wide = self.intervals and _width(self.table, intervals=True) <= options.max_width
        shared = _unit_line(self.table)
        yield Text(plain(self.table.title) + (f"; {shared}" if shared else ""), style="bold")
        yield _grid(self.table, intervals=wide)
        legend = ("* best, + second best, ~ tied with the best; - unknown.",) if self.table.is_marked else ()
        for line in (*legend, *((*self.table.notes, *self.table.signatures) if self.notes else ())):
            yield Text(plain(line), style="dim")
        yield Text("")


def to_rich(table: Table, *, intervals: bool = True, notes: bool = True) -> Printed:
    """A renderable for rich: the table, then notes and signatures where wanted."""
    return Printed(table, intervals, notes)


def _unit_line(table: Table) -> str:
    """Unit and direction when all columns of numbers share them, so that they are said once, in the title."""
    units = {c.unit_text for c in table.columns if c.unit != "text"}
    return units.pop() if len(units) == 1 else ""


def _cells(table: Table, k: int, *, intervals: bool) -> list[tuple[str, str, str]]:
    """(number, marks padded to one width, interval) of column k."""
    column = table.columns[k]
    entries = [row.entries[k] for row in table.rows]
    width = max((len(suffix(e)) for e in entries), default=0)
    return [
        (plain(text_of(column, e)), suffix(e).ljust(width), interval(column, e) if intervals else "") for e in entries
    ]


def _needed(table: Table, k: int, *, intervals: bool) -> int:
    """Characters that column k needs for its numbers."""
    cells = _cells(table, k, intervals=intervals)
    return max((max(len(text), len(span)) + len(marks) for text, marks, span in cells), default=1)


def _width_of(table: Table, k: int, *, intervals: bool) -> int:
    """Characters of column k: its numbers, and the longest word of its heading."""
    column = table.columns[k]
    needed = _needed(table, k, intervals=intervals)
    words = max(len(word) for word in (column.short or column.title or "-").split())
    if column.unit == "text":
        return max(min(needed, TEXT_WIDTH), words)
    unit = 0 if _unit_line(table) or not column.unit_text else UNIT_WIDTH
    return max(needed, min(words, TEXT_WIDTH), unit)


def _width(table: Table, *, intervals: bool) -> int:
    """Characters that the whole table needs."""
    return sum(_width_of(table, k, intervals=intervals) + 2 for k in range(len(table.columns)))


def _grid(table: Table, *, intervals: bool) -> RichTable:
    import rich.box
    from rich.table import Table as RichTable
    from rich.text import Text

    shared = _unit_line(table)
    grid = RichTable(box=rich.box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for k, column in enumerate(table.columns):
        header = Text(plain(column.short or column.title), style="bold")
        if column.unit_text and not shared:
            header.append("\n" + column.unit_text.replace(",", ""), style="dim")
        width = _width_of(table, k, intervals=intervals)
        grid.add_column(header, justify="left" if column.unit == "text" else "right", width=width, overflow="fold")
    styles = {"best": "bold green", "second": "underline", "": ""}
    columns = [_cells(table, k, intervals=intervals) for k in range(len(table.columns))]
    for position, row in enumerate(table.rows):
        cells = []
        for k, entry in enumerate(row.entries):
            text, marks, span = columns[k][position]
            cell = Text(text, style=styles[entry.mark] if row.ranked else "dim")
            cell.append(marks)
            if span:
                cell.append(f"\n{span}{' ' * len(marks)}", style="not bold not underline dim")
            cells.append(cell)
        following = position + 1 < len(table.rows) and table.rows[position + 1].rule
        grid.add_row(*cells, end_section=following)
    return grid


def to_markdown(table: Table) -> str:
    """A GitHub table; best bold, second best in italics, ties with a tilde."""

    def cell(column: Column, entry: Entry) -> str:
        text = markdown(plain(text_of(column, entry)))
        if column.unit != "text":
            text = {"best": f"**{text}**", "second": f"_{text}_", "": text}[entry.mark]
        span = interval(column, entry)
        return text + ("\\~" if entry.tie else "") + (f" ({span})" if span else "")

    lines = [
        f"### {markdown(plain(table.title))}",
        "",
        "| " + " | ".join(markdown(plain(column.heading)) for column in table.columns) + " |",
        "|" + "|".join(" :-- " if column.unit == "text" else " --: " for column in table.columns) + "|",
    ]
    for row in table.rows:
        lines.append("| " + " | ".join(cell(c, e) for c, e in zip(table.columns, row.entries, strict=True)) + " |")
    legend = ("Bold: best, italics: second best, ~: tied with the best; -: unknown.",) if table.is_marked else ()
    notes = (*legend, *table.notes)
    lines += [
        "",
        *(f"- {markdown(plain(note))}" for note in notes),
        *(f"- {code_span(plain(line))}" for line in table.signatures),
    ]
    return "\n".join(lines) + "\n"


def to_csv(table: Table) -> str:
    """Comma-separated values at full precision: fractions, intervals and marks in columns of their own.

    The last column repeats the signature lines, so that the file needs no comment lines.
    """
    spans = [any(r.entries[k].low is not None for r in table.rows) for k in range(len(table.columns))]
    marks = [any(suffix(r.entries[k]) for r in table.rows) for k in range(len(table.columns))]
    header: list[str] = []
    for column, has_span, has_mark in zip(table.columns, spans, marks, strict=True):
        name = str(csv_value(column.title))
        header.append(str(csv_value(column.data_heading)))
        header += [f"{name} low", f"{name} high"] if has_span else []
        header += [f"{name} mark"] if has_mark else []
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*header, "signature"])
    for row in table.rows:
        line: list[object] = []
        for entry, has_span, has_mark in zip(row.entries, spans, marks, strict=True):
            line.append(csv_value(entry.value))
            line += [csv_value(entry.low), csv_value(entry.high)] if has_span else []
            line += [" ".join(w for w in (entry.mark, "tie" if entry.tie else "") if w)] if has_mark else []
        writer.writerow([*line, csv_value(" ; ".join(table.signatures))])
    return stream.getvalue()


def csv_value(value: float | int | str | None) -> object:
    r"""A value of a CSV file: numbers with all digits; a name never becomes a formula of a spreadsheet.

    >>> csv_value(0.1), csv_value(None), csv_value("=1+1"), csv_value("@cmd"), csv_value("fog")
    ('0.1', '', "'=1+1", "'@cmd", 'fog')
    """
    if isinstance(value, str):
        return (
            f"'{value}" if value.lstrip(" \n")[:1] in ("=", "+", "-", "@", "\t", "\r") and value.strip(" \n") else value
        )
    return "" if value is None else repr(value) if isinstance(value, float) else value


def to_data(table: Table) -> dict[str, Any]:
    """The table as plain JSON values: fractions, columns with unit and direction, a mapping a row."""

    def entry(one: Entry) -> dict[str, Any]:
        return {name: value for name, value in asdict(one).items() if name != "words"}

    def row(one: Row) -> dict[str, Any]:
        return {c.key: entry(e) for c, e in zip(table.columns, one.entries, strict=True)}

    return {
        "schema": SCHEMA,
        "name": table.name,
        "title": table.title,
        "columns": [
            {**asdict(c), "unit": "fraction" if c.unit == "percent" else c.unit, "heading": c.data_heading}
            for c in table.columns
        ],
        "rows": [row(one) for one in table.rows],
        "notes": list(table.notes),
        "signatures": list(table.signatures),
    }


def to_json(table: Table) -> str:
    """The table as JSON text."""
    return json.dumps(to_data(table), indent=1, allow_nan=False) + "\n"


TEXT: dict[str, Callable[[Table], str]] = {"md": to_markdown, "csv": to_csv, "tex": to_latex, "json": to_json}
"""Formats that are files, by ending."""
