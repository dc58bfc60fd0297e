"""One renderer a format: a `Table` in, text out; `terminal` has the one for a screen."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from robustbench_lift.tables.latex import to_latex
from robustbench_lift.tables.table import Column, Entry, Row, Table, interval, plain, text_of
from robustbench_lift.text import code_span, markdown

SCHEMA = 1
"""Version of the JSON layout of a table."""
MARKS = {"best": "*", "second": "+", "": ""}


def suffix(entry: Entry) -> str:
    """The marks of an entry as text: `*`, `+`, `~`."""
    return MARKS[entry.mark] + ("~" if entry.tie else "")


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
