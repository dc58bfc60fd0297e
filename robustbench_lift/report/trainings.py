"""The same network trained several times: how far a number moves with the seed of the training.

An interval over images says nothing of that. Here every training counts as one observation.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from robustbench_lift.report.assemble import columns_of, whole_table
from robustbench_lift.report.notes import shown
from robustbench_lift.report.schema import Document, Model
from robustbench_lift.tables.table import Column, Entry, Row, Table


def network_of(model: Model) -> str:
    """What two trainings of one network share in their spec: all but the weights.

    A shipped name, which has no weights to leave out, stands for itself.
    """
    return model.spec.partition("@")[0]


def families(document: Document) -> list[list[Model]]:
    """Models that differ in the seed of their training alone: same group, network and recipe."""
    found: dict[tuple[str, str, tuple[tuple[str, str], ...]], list[Model]] = {}
    for model in document.models:
        if not model.is_normaliser:
            key = (model.group, network_of(model), tuple(sorted(model.training.items())))
            found.setdefault(key, []).append(model)
    return list(found.values())


def repeated(document: Document) -> bool:
    """Whether any network is there more than once, so that the table has something to say."""
    return any(len(models) > 1 for models in families(document))


def trainings(document: Document) -> Table:
    """One row a network: the mean of its trainings, with the smallest and the largest in brackets."""
    columns_5 = columns_of("mce", "mean_error", "mfr", "mean_flip_probability", "consistency", "clean_error")
    members = families(document)
    names = names_of([models[0] for models in members])
    lists = {c.key: [_spread(models, c.key) for models in members] for c in columns_5}
    measured = [c for c in columns_5 if any(entry.value is not None for entry in lists[c.key])]
    columns = (Column("network", "Network", "text"), Column("count", "Trainings", "count"), *measured)
    rows = [
        Row(
            (
                Entry(f"{names[k]}{shown(document, models[0]).removeprefix(models[0].label)}"),
                Entry(len(models)),
                *(lists[c.key][k] for c in measured),
            )
        )
        for k, models in enumerate(members)
    ]
    note = (
        "Means over trainings (seeds); in brackets the smallest and the largest of them, which is not a confidence "
        "interval, and nothing is marked as best. A number that one training lacks has no mean."
    )
    return whole_table(document, "trainings", f"Means over trainings ({document.data})", columns, rows, note)


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


def _spread(models: Sequence[Model], metric: str) -> Entry:
    values = [m.headline[metric].value for m in models]
    known = [v for v in values if v is not None]
    if len(known) < len(values):
        return Entry()
    return Entry(fmean(known), min(known), max(known)) if len(known) > 1 else Entry(known[0])
