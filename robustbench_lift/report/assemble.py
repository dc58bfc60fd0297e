"""How a table is put together: rows of models or matrices of conditions, marks inside groups, notes and signatures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from robustbench_lift.report.notes import (
    group_notes,
    missing_notes,
    normaliser_notes,
    partial_notes,
    shown,
    signature_text,
)
from robustbench_lift.report.schema import Document, Model
from robustbench_lift.scores.numbers import NUMBERS
from robustbench_lift.tables.marks import mark
from robustbench_lift.tables.table import Column, Direction, Entry, Row, Table, Value


def whole_table(
    document: Document, name: str, title: str, columns: Sequence[Column], rows: Sequence[Row], *notes: str
) -> Table:
    made = Table(name=name, title=title, columns=tuple(columns), rows=tuple(rows))
    ties = (document.tie_rule,) if made.is_marked and document.tie_rule else ()
    return replace(
        made,
        notes=(
            *notes,
            *ties,
            *normaliser_notes(document),
            *missing_notes(document),
            *partial_notes(document),
            *group_notes(document),
        ),
        signatures=tuple(signature_text(document, group) for group in document.groups),
    )


def marked_in_groups(
    document: Document, metric: str, direction: Direction, entries: Mapping[str, Entry]
) -> dict[str, Entry]:
    """Marks within each group; the normaliser is left out."""
    result = dict(entries)
    for group in document.groups:
        members = {
            m.label: entries[m.label]
            for m in document.models
            if m.group == group.key and not m.is_normaliser and m.label in entries
        }
        result |= mark(members, direction=direction, ties=document.ties.get(metric, ()))
    return result


def headlines(
    document: Document, name: str, title: str, lead: Sequence[Column], metrics: Sequence[Column], *notes: str
) -> Table:
    """A table of one row a model: text columns, then headline metrics, then the parameters."""
    marked = {
        c.key: marked_in_groups(
            document, c.key, c.direction, {m.label: Entry.of(m.headline.get(c.key, Value())) for m in document.models}
        )
        for c in metrics
    }
    texts: dict[str, Callable[[Model], Entry]] = {
        "model": lambda m: Entry(shown(document, m)),
        "arch": lambda m: Entry(m.arch),
        "parameters": lambda m: Entry(m.parameters),
    }
    columns = (*lead, *metrics, Column("parameters", "Parameters", "count", short="Params"))
    models = sorted(document.models, key=lambda m: m.is_normaliser)
    rows = [
        Row(
            tuple(texts[c.key](m) if c.key in texts else marked[c.key][m.label] for c in columns),
            rule=m.is_normaliser and not models[k - 1].is_normaliser and k > 0,
            ranked=not m.is_normaliser,
            foot=m.is_normaliser,
        )
        for k, m in enumerate(models)
    ]
    return whole_table(document, name, title, columns, rows, *notes)


def columns_of(*numbers: str) -> tuple[Column, ...]:
    """Columns of headline numbers, headed as `NUMBERS` says."""
    return tuple(Column.of(NUMBERS[key]) for key in numbers)


def lead_columns(document: Document) -> tuple[Column, ...]:
    architectures = {m.arch for m in document.models if not m.is_normaliser}
    model = Column("model", "Pooling", "text")
    return (model, Column("arch", "Backbone", "text")) if len(architectures) > 1 else (model,)


def matrix(
    document: Document,
    *,
    name: str,
    title: str,
    first: str,
    models: Sequence[Model],
    parts: Mapping[str, Mapping[str, Value]],
    metrics: Mapping[str, str],
    whole: tuple[str, str],
    digits: int,
) -> Table:
    """One column a model; `parts` is {row: {label: value}}, `metrics` {row: metric}, `whole` the last row."""
    columns = [
        Column("condition", first, "text"),
        *(Column(m.label, shown(document, m), direction="lower", digits=digits) for m in models),
    ]
    rows: list[Row] = []
    for row, values in parts.items():
        entries = {m.label: Entry.of(values.get(m.label, Value())) for m in models}
        done = marked_in_groups(document, metrics[row], "lower", entries)
        rows.append(Row((Entry(row), *(done[m.label] for m in models))))
    heading, metric = whole
    done = marked_in_groups(document, metric, "lower", {m.label: Entry.of(m.headline[metric]) for m in models})
    rows.append(Row((Entry(heading), *(done[m.label] for m in models)), rule=True, foot=True))
    return whole_table(document, name, title, columns, rows)
