"""Tables with one row or several a corruption or perturbation."""

from __future__ import annotations

from robustbench_lift.report.assemble import marked_in_groups, matrix, whole_table
from robustbench_lift.report.notes import normalised, order, shown
from robustbench_lift.report.schema import Document
from robustbench_lift.tables.table import Column, Entry, Row, Table


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
    return matrix(
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
    return matrix(
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
        marked = [marked_in_groups(document, metric, "lower", one) for metric, one in zip(metrics, lists, strict=True)]
        for k, m in enumerate(models):
            entries = (Entry(name), Entry(shown(document, m)), *(one[m.label] for one in marked))
            rows.append(Row(entries, rule=k == 0 and bool(rows), ranked=not m.is_normaliser))
    title = f"Error by corruption and severity ({document.data})"
    return whole_table(document, "corruption-details", title, columns, rows)


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
        marked = [marked_in_groups(document, metric, "lower", one) for metric, one in zip(metrics, lists, strict=True)]
        for k, m in enumerate(models):
            entries = (Entry(name), Entry(shown(document, m)), *(one[m.label] for one in marked))
            rows.append(Row(entries, rule=k == 0 and bool(rows), ranked=not m.is_normaliser))
    title = f"Stability by perturbation ({document.data})"
    return whole_table(document, "perturbation-details", title, columns, rows)
