"""What a table of a report is: its name, what it needs, the function that makes it; and how tables are put together.

Numbers of different groups (another signature, other images, another normaliser) carry the mark of their group, and
best marks never cross a group. Headings, units and directions are those of `scores.numbers.NUMBERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from robustbench_lift.errors import unknown
from robustbench_lift.report.notes import (
    common_notes,
    ranked,
    shown,
    signature_text,
)
from robustbench_lift.report.schema import Document, Model
from robustbench_lift.scores.numbers import NUMBERS
from robustbench_lift.tables.marks import mark
from robustbench_lift.tables.table import Column, Direction, Entry, Row, Table

Maker = Callable[[Document], Table]


@dataclass(frozen=True, slots=True)
class TableEntry:
    """A table that a report can have."""

    name: str
    """Name in options and files."""
    title: str
    """What it holds."""
    needs: Callable[[Document], bool]
    """Whether a document has something for it to say."""
    make: Maker
    """Document -> table."""


TABLES: dict[str, TableEntry] = {}
"""Every table by name, in the order of the report."""


def table(name: str, title: str, needs: Callable[[Document], bool]) -> Callable[[Maker], Maker]:
    """Add a table: a decorator of the function that makes it."""

    def add(make: Maker) -> Maker:
        TABLES[name] = TableEntry(name, title, needs, make)
        return make

    return add


def available_tables(document: Document) -> list[str]:
    """Tables that have something to say."""
    return [name for name, entry in TABLES.items() if entry.needs(document)]


def headline_table(document: Document) -> str:
    """The table that a reader sees first: pooling against robustness, of classifiers or of segmentation networks."""
    return "table-5" if classified(document) else "segmentation"


def make_table(document: Document, name: str) -> Table:
    """A table by name.

    Raises:
        UsageError: there is no such table; the message has the near names.
    """
    if name not in TABLES:
        raise unknown("table", name, TABLES)
    return TABLES[name].make(document)


# ---- what tables need


def always(document: Document) -> bool:
    """Every document."""
    return True


def classified(document: Document) -> bool:
    """One with a model that is no segmentation network."""
    return not all("miou" in m.headline and m.value("miou").value is not None for m in document.models)


def corrupted(document: Document) -> bool:
    """One that has corruption cells."""
    return any(m.corruptions for m in document.models)


def perturbed(document: Document) -> bool:
    """One that has perturbation cells."""
    return any(m.perturbations for m in document.models)


def measured(key: str) -> Callable[[Document], bool]:
    """One in which a model has this headline number."""
    return lambda document: any(m.value(key).value is not None for m in document.models)


def repeated(document: Document) -> bool:
    """One in which a network is there more than once."""
    return any(len(models) > 1 for models in families(document))


# ---- how a table is put together


def made_table(
    document: Document, name: str, title: str, columns: Sequence[Column], rows: Sequence[Row], *notes: str
) -> Table:
    """A table with what stands under every one: its notes, the rule of ties, the document's notes, the signatures."""
    made = Table(name=name, title=title, columns=tuple(columns), rows=tuple(rows))
    ties = (document.tie_rule,) if made.is_marked and document.tie_rule else ()
    return replace(
        made,
        notes=(*notes, *ties, *common_notes(document)),
        signatures=tuple(signature_text(document, group) for group in document.groups),
    )


def marked(document: Document, name: str, direction: Direction, entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Entries by label with marks within each group; the normaliser is left out.

    Args:
        document: whose ties count.
        name: the number, as ties are kept by it; empty for one that has no interval.
        direction: which way is better.
        entries: by label.
    """
    result = dict(entries)
    for group in document.groups:
        members = {m.label: entries[m.label] for m in ranked(document) if m.group == group.key and m.label in entries}
        result |= mark(members, direction=direction, ties=document.ties.get(name, ()))
    return result


def columns_of(*numbers: str) -> tuple[Column, ...]:
    """The columns of headline numbers, by key."""
    return tuple(Column.of(NUMBERS[key]) for key in numbers)


def by_model(
    document: Document,
    name: str,
    title: str,
    columns: Sequence[Column],
    *notes: str,
    own: Mapping[str, Mapping[str, float | None]] | None = None,
    parameters: bool = True,
) -> Table:
    """One row a model: label (and backbone where there are several), numbers, parameters; normalisers at the foot.

    Args:
        document: whose models.
        name: of the table.
        title: of the table.
        columns: of numbers: keys of `NUMBERS`, or of `own`.
        notes: besides those that all tables have.
        own: values that are no numbers of `NUMBERS`, by column and label.
        parameters: whether the last column counts parameters.
    """
    own = own or {}
    entries = {
        c.key: marked(
            document, c.key, c.direction,
            {
                m.label: Entry(own[c.key].get(m.label)) if c.key in own else Entry.of(m.value(c.key))
                for m in document.models
            },
        )
        for c in columns
    }  # fmt: skip
    texts: dict[str, Callable[[Model], Entry]] = {
        "model": lambda m: Entry(shown(document, m)),
        "arch": lambda m: Entry(m.arch),
        "parameters": lambda m: Entry(m.parameters),
    }
    lead = [Column("model", "Pooling", "text")]
    if len({m.arch for m in ranked(document)}) > 1:
        lead.append(Column("arch", "Backbone", "text"))
    last = [Column("parameters", "Parameters", "count", short="Params")] if parameters else []
    every = (*lead, *columns, *last)
    models = sorted(document.models, key=lambda m: m.is_normaliser)
    rows = [
        Row(
            tuple(texts[c.key](m) if c.key in texts else entries[c.key][m.label] for c in every),
            rule=m.is_normaliser and k > 0 and not models[k - 1].is_normaliser,
            ranked=not m.is_normaliser,
            foot=m.is_normaliser,
        )
        for k, m in enumerate(models)
    ]
    return made_table(document, name, title, every, rows, *notes)


# ---- several trainings of one network


def network_of(model: Model) -> str:
    """What two trainings of one network share in their spec: all but the weights.

    A shipped name, which has no weights to leave out, stands for itself.
    """
    return model.spec.partition("@")[0]


def families(document: Document) -> list[list[Model]]:
    """Models that differ in the seed of their training alone: same group, network and recipe."""
    found: dict[tuple[str, str, tuple[tuple[str, str], ...]], list[Model]] = {}
    for model in ranked(document):
        key = (model.group, network_of(model), tuple(sorted(model.training.items())))
        found.setdefault(key, []).append(model)
    return list(found.values())


def names_of(models: Sequence[Model]) -> list[str]:
    """Networks, with the settings of their recipes where the same network was trained in several ways."""
    names = []
    for model in models:
        same = [other for other in models if network_of(other) == network_of(model) and other.group == model.group]
        keys = sorted(set().union(*(other.training for other in same)))
        differing = [key for key in keys if len({other.training.get(key) for other in same}) > 1]
        words = ", ".join(f"{key}={model.training.get(key, 'unknown')}" for key in differing)
        names.append(f"{network_of(model)} ({words})" if words else network_of(model))
    return names
