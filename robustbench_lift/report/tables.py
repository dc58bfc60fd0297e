"""The tables of a report, each a function of the document: Table 5, Table 4, by corruption, by perturbation, ...

Numbers of different groups (another signature, other images, another normaliser) carry the mark of their group, and
best marks never cross a group.
"""

from __future__ import annotations

from collections.abc import Callable

from robustbench_lift.errors import unknown
from robustbench_lift.report.assemble import columns_of, headlines, lead_columns, marked_in_groups, whole_table
from robustbench_lift.report.conditions import (
    corruption_details,
    per_corruption,
    per_perturbation,
    perturbation_details,
)
from robustbench_lift.report.notes import shown
from robustbench_lift.report.schema import Document, Model
from robustbench_lift.report.trainings import trainings
from robustbench_lift.scores.numbers import NUMBERS
from robustbench_lift.scores.numbers import headlines as headline_keys
from robustbench_lift.tables.marks import mark
from robustbench_lift.tables.table import Column, Entry, Row, Table, Value


def table_5(document: Document) -> Table:
    """Pooling against robustness: mCE and mFR, normalised and not, consistency, clean error, parameters."""
    metrics = columns_of("mce", "mean_error", "mfr", "mean_flip_probability", "consistency", "clean_error")
    backbones = sorted({m.arch for m in document.models if not m.is_normaliser})
    where = f" ({backbones[0]}, {document.data})" if len(backbones) == 1 else f" ({document.data})"
    return headlines(document, "table-5", f"Table 5: robustness by pooling{where}", lead_columns(document), metrics)


def table_4(document: Document) -> Table:
    """Backbone x pooling: clean error."""
    models = [m for m in document.models if not m.is_normaliser]
    several = len(document.groups) > 1
    heads = list(dict.fromkeys((m.arch, m.group) for m in models))
    poolings = list(dict.fromkeys(m.pooling or m.label for m in models))
    columns = [
        Column("pooling", "Pooling", "text"),
        *(
            Column(f"{arch}/{group}", f"{arch} [{group}]" if several else arch, direction="lower")
            for arch, group in heads
        ),
    ]
    places: dict[tuple[str, str, str], list[Model]] = {}
    for m in models:
        places.setdefault((m.arch, m.group, m.pooling or m.label), []).append(m)
    notes = [
        f"{pooling} on {arch}: {len(several_models)} runs; the first is shown ({several_models[0].label})."
        for (arch, _, pooling), several_models in places.items()
        if len(several_models) > 1
    ]
    marked: dict[tuple[str, str], dict[str, Entry]] = {}
    for arch, group in heads:
        column = {pooling: places[arch, group, pooling][0] for pooling in poolings if (arch, group, pooling) in places}
        entries = {m.label: Entry.of(m.headline["clean_error"]) for m in column.values()}
        done = mark(entries, direction="lower", ties=document.ties.get("clean_error", ()))
        marked[arch, group] = {pooling: done[m.label] for pooling, m in column.items()}
    rows = [Row((Entry(p), *(marked[head].get(p, Entry()) for head in heads))) for p in poolings]
    return whole_table(
        document,
        "table-4",
        f"Table 4: top-1 error on clean images by pooling and backbone ({document.data})",
        columns,
        rows,
        *notes,
    )


def relative_mce(document: Document) -> Table:
    """How much of the error under corruption is more than the clean error: relative mCE beside mCE."""
    metrics = columns_of("clean_error", "mean_error", "mce", "relative_mce")
    note = f"Relative mCE: {NUMBERS['relative_mce'].about}"
    return headlines(document, "relative-mce", f"Relative mCE ({document.data})", lead_columns(document), metrics, note)


def shift(document: Document) -> Table:
    """Shift consistency beside the error, since constant answers agree too, and where the first window is right."""
    metrics = columns_of("consistency", "consistency_correct", "clean_error")
    return headlines(document, "shift", f"Shift consistency ({document.data})", lead_columns(document), metrics)


def numbers(document: Document) -> Table:
    """Every headline number that any model has, those of plug-ins too: one row a model."""
    known = [
        key for key in headline_keys() if any(m.headline.get(key, Value()).value is not None for m in document.models)
    ]
    title = f"Headline numbers ({document.data})"
    return headlines(document, "numbers", title, lead_columns(document), columns_of(*known))


def calibration(document: Document) -> Table:
    """Expected calibration error, clean and at each severity (mean over corruptions)."""
    columns = [
        Column("model", "Pooling", "text"),
        *columns_of("clean_ece"),
        *(Column(f"severity_{s}", f"ECE at severity {s}", direction="lower") for s in range(1, 6)),
        Column("corruption_ece", "ECE, all severities", direction="lower"),
    ]
    models = sorted(document.models, key=lambda m: m.is_normaliser)
    lists: list[dict[str, Entry]] = [{m.label: Entry.of(m.headline["clean_ece"]) for m in models}]
    for s in range(5):
        lists.append({m.label: Entry(_severity_mean(m, s)) for m in models})
    lists.append({m.label: Entry.of(m.headline["corruption_ece"]) for m in models})
    metrics = ["clean_ece", *("",) * 5, "corruption_ece"]
    marked = [marked_in_groups(document, metric, "lower", one) for metric, one in zip(metrics, lists, strict=True)]
    rows = [
        Row((Entry(shown(document, m)), *(one[m.label] for one in marked)), ranked=not m.is_normaliser) for m in models
    ]
    note = "ECE: expected calibration error, bins of equal width; each severity is the mean over the corruptions."
    return whole_table(document, "calibration", f"Calibration under corruption ({document.data})", columns, rows, note)


def _severity_mean(model: Model, index: int) -> float | None:
    """Mean calibration error over corruptions at a severity; None when one is missing."""
    values = [result.calibration[index] for result in model.corruptions.values()]
    known = [v for v in values if v is not None]
    if not known or len(known) != len(values) or any(key.startswith("corruption/") for key in model.missing):
        return None
    return sum(known) / len(known)


TABLES: dict[str, Callable[[Document], Table]] = {
    "table-5": table_5,
    "table-4": table_4,
    "trainings": trainings,
    "per-corruption": per_corruption,
    "per-perturbation": per_perturbation,
    "relative-mce": relative_mce,
    "shift": shift,
    "calibration": calibration,
    "numbers": numbers,
    "corruption-details": corruption_details,
    "perturbation-details": perturbation_details,
}
"""Every table, in the order of the report."""


def make_table(document: Document, name: str) -> Table:
    """A table by name.

    Raises:
        UsageError: there is no such table; the message has the near names.
    """
    if name not in TABLES:
        raise unknown("table", name, TABLES)
    return TABLES[name](document)
