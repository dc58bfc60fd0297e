"""The tables of a report, each a function of the document: Table 5, Table 4, by corruption, by perturbation, ...

Numbers of different groups (another signature, other images, another normaliser) carry the mark of their group, and
best marks never cross a group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from robustbench_lift.errors import unknown
from robustbench_lift.report.marks import mark
from robustbench_lift.report.notes import (
    group_notes,
    missing_notes,
    normalised,
    normaliser_notes,
    order,
    partial_notes,
    shown,
    signature_text,
)
from robustbench_lift.report.schema import Document, Model, Value
from robustbench_lift.report.table import Column, Direction, Entry, Row, Table


def _table(
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


def _marked(document: Document, metric: str, direction: Direction, entries: Mapping[str, Entry]) -> dict[str, Entry]:
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


def _headlines(
    document: Document, name: str, title: str, lead: Sequence[Column], metrics: Sequence[Column], *notes: str
) -> Table:
    """A table of one row a model: text columns, then headline metrics, then the parameters."""
    marked = {
        c.key: _marked(document, c.key, c.direction, {m.label: Entry.of(m.headline[c.key]) for m in document.models})
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
    return _table(document, name, title, columns, rows, *notes)


def _lead(document: Document) -> tuple[Column, ...]:
    architectures = {m.arch for m in document.models if not m.is_normaliser}
    model = Column("model", "Pooling", "text")
    return (model, Column("arch", "Backbone", "text")) if len(architectures) > 1 else (model,)


def table_5(document: Document) -> Table:
    """Pooling against robustness: mCE and mFR, normalised and not, consistency, clean error, parameters."""
    metrics = [
        Column("mce", "mCE", direction="lower"),
        Column("mean_error", "Mean error under corruption, unnormalised", direction="lower", short="Mean error"),
        Column("mfr", "mFR", direction="lower"),
        Column(
            "mean_flip_probability", "Flip probability, unnormalised", direction="lower", digits=2, short="Flip prob."
        ),
        Column("consistency", "Shift consistency", direction="higher", short="Consist."),
        Column("clean_error", "Clean error", direction="lower"),
    ]
    backbones = sorted({m.arch for m in document.models if not m.is_normaliser})
    where = f" ({backbones[0]}, {document.data})" if len(backbones) == 1 else f" ({document.data})"
    return _headlines(document, "table-5", f"Table 5: robustness by pooling{where}", _lead(document), metrics)


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
    return _table(
        document,
        "table-4",
        f"Table 4: top-1 error on clean images by pooling and backbone ({document.data})",
        columns,
        rows,
        *notes,
    )


def _matrix(
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
        done = _marked(document, metrics[row], "lower", entries)
        rows.append(Row((Entry(row), *(done[m.label] for m in models))))
    heading, metric = whole
    done = _marked(document, metric, "lower", {m.label: Entry.of(m.headline[metric]) for m in models})
    rows.append(Row((Entry(heading), *(done[m.label] for m in models)), rule=True, foot=True))
    return _table(document, name, title, columns, rows)


def per_corruption(document: Document) -> Table:
    """Corruption error by corruption, one column a model; the unnormalised mean where nothing fits to divide by."""
    ce = normalised(document)
    models = [m for m in document.models if not (ce and m.is_normaliser)]
    names = order(models, "corruptions")
    parts = {
        name: {
            m.label: m.corruptions[name].ce if ce else m.corruptions[name].mean_error
            for m in models
            if name in m.corruptions
        }
        for name in names
    }
    title = "Corruption error (CE)" if ce else "Mean error over severities, unnormalised"
    return _matrix(
        document, name="per-corruption", title=f"{title} by corruption ({document.data})", first="Corruption",
        models=models, parts=parts, metrics={n: f"{'ce' if ce else 'error'}/{n}" for n in names},
        whole=("mCE", "mce") if ce else ("mean error", "mean_error"), digits=1,
    )  # fmt: skip


def per_perturbation(document: Document) -> Table:
    """Flip rate by perturbation, one column a model; flip probabilities where nothing fits to divide by."""
    fr = normalised(document)
    models = [m for m in document.models if not (fr and m.is_normaliser)]
    names = order(models, "perturbations")
    parts = {
        name: {
            m.label: m.perturbations[name].fr if fr else m.perturbations[name].flip_probability
            for m in models
            if name in m.perturbations
        }
        for name in names
    }
    title = "Flip rate (FR)" if fr else "Flip probability, unnormalised,"
    return _matrix(
        document, name="per-perturbation", title=f"{title} by perturbation ({document.data})", first="Perturbation",
        models=models, parts=parts, metrics={n: f"{'fr' if fr else 'fp'}/{n}" for n in names},
        whole=("mFR", "mfr") if fr else ("mean", "mean_flip_probability"), digits=1 if fr else 2,
    )  # fmt: skip


def corruption_details(document: Document) -> Table:
    """Error at each severity, their mean and CE, one row a corruption and model."""
    columns = [
        Column("condition", "Corruption", "text"),
        Column("model", "Pooling", "text"),
        *(Column(f"severity_{s}", f"Error at severity {s}", direction="lower") for s in range(1, 6)),
        Column("mean_error", "Mean error, unnormalised", direction="lower"),
        Column("ce", "CE", direction="lower"),
    ]
    rows: list[Row] = []
    for name in order(document.models, "corruptions"):
        models = [m for m in document.models if name in m.corruptions]
        lists = [{m.label: Entry(m.corruptions[name].errors[s]) for m in models} for s in range(5)]
        lists += [{m.label: Entry.of(m.corruptions[name].mean_error) for m in models}]
        lists += [{m.label: Entry.of(m.corruptions[name].ce) for m in models}]
        metrics = [*("",) * 5, f"error/{name}", f"ce/{name}"]
        marked = [_marked(document, metric, "lower", one) for metric, one in zip(metrics, lists, strict=True)]
        for k, m in enumerate(models):
            entries = (Entry(name), Entry(shown(document, m)), *(one[m.label] for one in marked))
            rows.append(Row(entries, rule=k == 0 and bool(rows), ranked=not m.is_normaliser))
    title = f"Error by corruption and severity ({document.data})"
    return _table(document, "corruption-details", title, columns, rows)


def perturbation_details(document: Document) -> Table:
    """Flip rate, flip probability and top-5 distance, one row a perturbation and model."""
    columns = [
        Column("condition", "Perturbation", "text"),
        Column("model", "Pooling", "text"),
        Column("fr", "FR", direction="lower"),
        Column("flip_probability", "Flip probability, unnormalised", direction="lower", digits=2),
        Column("top5_distance", "Top-5 distance, unnormalised", "ranks", direction="lower", digits=3),
    ]
    rows: list[Row] = []
    for name in order(document.models, "perturbations"):
        models = [m for m in document.models if name in m.perturbations]
        lists = [
            {m.label: Entry.of(m.perturbations[name].fr) for m in models},
            {m.label: Entry.of(m.perturbations[name].flip_probability) for m in models},
            {m.label: Entry.of(m.perturbations[name].top5_distance) for m in models},
        ]
        metrics = [f"fr/{name}", f"fp/{name}", ""]
        marked = [_marked(document, metric, "lower", one) for metric, one in zip(metrics, lists, strict=True)]
        for k, m in enumerate(models):
            entries = (Entry(name), Entry(shown(document, m)), *(one[m.label] for one in marked))
            rows.append(Row(entries, rule=k == 0 and bool(rows), ranked=not m.is_normaliser))
    title = f"Stability by perturbation ({document.data})"
    return _table(document, "perturbation-details", title, columns, rows)


def relative_mce(document: Document) -> Table:
    """How much of the error under corruption is more than the clean error: relative mCE beside mCE."""
    metrics = [
        Column("clean_error", "Clean error", direction="lower"),
        Column("mean_error", "Mean error under corruption, unnormalised", direction="lower", short="Mean error"),
        Column("mce", "mCE", direction="lower"),
        Column("relative_mce", "Relative mCE", direction="lower"),
    ]
    note = (
        "Relative mCE: the rise of the error above the clean error, over the normaliser's rise, mean over corruptions."
    )
    return _headlines(document, "relative-mce", f"Relative mCE ({document.data})", _lead(document), metrics, note)


def calibration(document: Document) -> Table:
    """Expected calibration error, clean and at each severity (mean over corruptions)."""
    columns = [
        Column("model", "Pooling", "text"),
        Column("clean_ece", "ECE, clean", direction="lower"),
        *(Column(f"severity_{s}", f"ECE at severity {s}", direction="lower") for s in range(1, 6)),
        Column("corruption_ece", "ECE, all severities", direction="lower"),
    ]
    models = sorted(document.models, key=lambda m: m.is_normaliser)
    lists: list[dict[str, Entry]] = [{m.label: Entry.of(m.headline["clean_ece"]) for m in models}]
    for s in range(5):
        lists.append({m.label: Entry(_severity_mean(m, s)) for m in models})
    lists.append({m.label: Entry.of(m.headline["corruption_ece"]) for m in models})
    metrics = ["clean_ece", *("",) * 5, "corruption_ece"]
    marked = [_marked(document, metric, "lower", one) for metric, one in zip(metrics, lists, strict=True)]
    rows = [
        Row((Entry(shown(document, m)), *(one[m.label] for one in marked)), ranked=not m.is_normaliser) for m in models
    ]
    note = "ECE: expected calibration error, bins of equal width; each severity is the mean over the corruptions."
    return _table(document, "calibration", f"Calibration under corruption ({document.data})", columns, rows, note)


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
    "per-corruption": per_corruption,
    "per-perturbation": per_perturbation,
    "relative-mce": relative_mce,
    "calibration": calibration,
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
