"""The tables of a report of classifiers, an entry each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from robustbench_lift.report.notes import (
    normalised,
    order,
    part_of,
    ranked,
    shown,
    shown_mean,
)
from robustbench_lift.report.registry import (
    always,
    by_model,
    classified,
    columns_of,
    corrupted,
    families,
    made_table,
    marked,
    measured,
    names_of,
    perturbed,
    repeated,
    table,
)
from robustbench_lift.report.schema import FAMILIES, Document, Model
from robustbench_lift.scores.numbers import NUMBERS
from robustbench_lift.scores.numbers import headlines as headline_keys
from robustbench_lift.tables.marks import mark
from robustbench_lift.tables.table import Column, Entry, Row, Table

HEADLINES = ("mce", "mean_error", "mfr", "mean_flip_probability", "consistency", "clean_error")
"""The numbers of Table 5, and of the means over trainings."""


def _asked(document: Document, key: str) -> bool:
    """Whether any run was asked for the cells of a number."""
    return any(NUMBERS[key].protocol in m.counts for m in document.models)


# ---- one row a model


@table("table-5", "pooling x mCE and mFR, normalised and not, shift consistency, clean error, parameters", classified)
def table_5(document: Document) -> Table:
    """Pooling against robustness; a part of the benchmark has the mean of that part, headed so."""
    columns: list[Column] = []
    own: dict[str, Mapping[str, float | None]] = {}
    for key in HEADLINES:
        protocol = NUMBERS[key].protocol
        if protocol not in ("corruption", "perturbation"):
            columns += columns_of(key) if _asked(document, key) else ()
            continue
        part = part_of(document, "corruption" if protocol == "corruption" else "perturbation")
        if part is None:
            columns += columns_of(key) if _asked(document, key) else ()
        elif not NUMBERS[key].normalised:
            words = ("Mean error", "Error") if protocol == "corruption" else ("Flip probability", "Flip prob.")
            columns.append(
                replace(
                    Column.of(NUMBERS[key]), key=f"part_{key}", title=f"{words[0]} over {part.text}, unnormalised",
                    short=f"{words[1]}, {part.text}",
                )
            )  # fmt: skip
            own[f"part_{key}"] = part.values
    backbones = sorted({m.arch for m in ranked(document)})
    where = f" ({backbones[0]}, {document.data})" if len(backbones) == 1 else f" ({document.data})"
    return by_model(document, "table-5", f"Table 5: robustness by pooling{where}", columns, own=own)


@table("table-4", "backbone x pooling, clean error", measured("clean_error"))
def table_4(document: Document) -> Table:
    """Backbone x pooling: clean error."""
    number = NUMBERS["clean_error"]
    models = ranked(document)
    several = len(document.groups) > 1
    heads = list(dict.fromkeys((m.arch, m.group) for m in models))
    poolings = list(dict.fromkeys(m.pooling or m.label for m in models))
    columns = [
        Column("pooling", "Pooling", "text"),
        *(
            replace(Column.of(number), key=f"{arch}/{group}", title=f"{arch} [{group}]" if several else arch, short="")
            for arch, group in heads
        ),
    ]
    places: dict[tuple[str, str, str], list[Model]] = {}
    for m in models:
        places.setdefault((m.arch, m.group, m.pooling or m.label), []).append(m)
    notes = [
        f"{pooling} on {arch}: {len(same)} runs; the first is shown ({same[0].label})."
        for (arch, _, pooling), same in places.items()
        if len(same) > 1
    ]
    marked: dict[tuple[str, str], dict[str, Entry]] = {}
    for arch, group in heads:
        column = {pooling: places[arch, group, pooling][0] for pooling in poolings if (arch, group, pooling) in places}
        entries = {m.label: Entry.of(m.value(number.key)) for m in column.values()}
        done = mark(entries, direction=number.direction, ties=document.ties.get(number.key, ()))
        marked[arch, group] = {pooling: done[m.label] for pooling, m in column.items()}
    rows = [Row((Entry(p), *(marked[head].get(p, Entry()) for head in heads))) for p in poolings]
    title = f"Table 4: top-1 error on clean images by pooling and backbone ({document.data})"
    return made_table(document, "table-4", title, columns, rows, *notes)


@table("trainings", "the same network trained several times: mean, smallest and largest of Table 5's numbers", repeated)
def trainings(document: Document) -> Table:
    """One row a network: the mean of its trainings, with the smallest and the largest in brackets.

    An interval over images says nothing of how far a number moves with the seed of the training; here every training
    counts as one observation.
    """
    members = families(document)
    names = names_of([models[0] for models in members])
    lists = {key: [_spread(models, key) for models in members] for key in HEADLINES}
    known = [key for key in HEADLINES if any(entry.value is not None for entry in lists[key])]
    columns = (Column("network", "Network", "text"), Column("count", "Trainings", "count"), *columns_of(*known))
    rows = [
        Row(
            (
                Entry(f"{names[k]}{shown(document, models[0]).removeprefix(models[0].label)}"),
                Entry(len(models)),
                *(lists[key][k] for key in known),
            )
        )
        for k, models in enumerate(members)
    ]
    note = (
        "Means over trainings (seeds); in brackets the smallest and the largest of them, which is not a confidence "
        "interval, and nothing is marked as best. A number that one training lacks has no mean."
    )
    return made_table(document, "trainings", f"Means over trainings ({document.data})", columns, rows, note)


def _spread(models: Sequence[Model], key: str) -> Entry:
    values = [m.value(key).value for m in models]
    known = [v for v in values if v is not None]
    if len(known) < len(values):
        return Entry()
    return Entry(fmean(known), min(known), max(known)) if len(known) > 1 else Entry(known[0])


# ---- one row a condition, one column a model


def _matrix(
    document: Document, name: str, title: str, first: str, family: str, part: str, whole: tuple[str, str]
) -> Table:
    """One column a model, one row a condition, the mean below.

    Args:
        document: whose models.
        name: of the table.
        title: of the table; the data set follows.
        first: heading of the conditions.
        family: the family of numbers.
        part: `corruptions` or `perturbations`.
        whole: heading and key of the last row.
    """
    number = NUMBERS[family]
    models = [m for m in document.models if not (number.normalised and m.is_normaliser)]
    columns = [
        Column("condition", first, "text"),
        *(replace(Column.of(number), key=m.label, title=shown(document, m), short="") for m in models),
    ]
    rows: list[Row] = []
    for condition in order(models, part):
        entries = {m.label: Entry.of(m.value(f"{family}/{condition}")) for m in models}
        done = marked(document, f"{family}/{condition}", number.direction, entries)
        rows.append(Row((Entry.of_condition(condition), *(done[m.label] for m in models))))
    heading, key = whole
    done = marked(document, key, number.direction, {m.label: Entry.of(m.value(key)) for m in models})
    rows.append(Row((Entry(heading), *(done[m.label] for m in models)), rule=True, foot=True))
    return made_table(document, name, f"{title} ({document.data})", columns, rows)


def _partial_matrix(document: Document, name: str, title: str, first: str, part: str) -> Table:
    """The same of runs on a part of the benchmark: means over the severities that were asked, and over the rows."""
    family = "error" if part == "corruptions" else "fp"
    asked = part_of(document, "corruption" if part == "corruptions" else "perturbation")
    assert asked is not None
    made = _matrix(document, name, title, first, family, part, ("mean", "mean_error"))
    models = list(document.models)
    rows: list[Row] = []
    for row in made.rows[:-1]:
        condition = str(row.entries[0].value)
        entries = {m.label: Entry(shown_mean(m, part, condition)) for m in models}
        done = marked(document, "", "lower", entries)
        exact = all(e.value is not None for e in row.entries)
        rows.append(row if exact else Row((row.entries[0], *(done[m.label] for m in models))))
    done = marked(document, "", "lower", {m.label: Entry(asked.values.get(m.label)) for m in models})
    rows.append(Row((Entry(f"mean of {asked.text}"), *(done[m.label] for m in models)), rule=True, foot=True))
    return replace(made, rows=tuple(rows), title=f"{title}, {asked.text} ({document.data})")


@table("per-corruption", "CE by corruption, one column a model", corrupted)
def per_corruption(document: Document) -> Table:
    """Corruption error by corruption; the unnormalised mean where nothing fits to divide by, or a part was shown."""
    if part_of(document, "corruption"):
        title = "Mean error by corruption, unnormalised"
        return _partial_matrix(document, "per-corruption", title, "Corruption", "corruptions")
    ce = normalised(document)
    title = "Corruption error (CE) by corruption" if ce else "Mean error over severities, unnormalised by corruption"
    return _matrix(
        document, "per-corruption", title, "Corruption", "ce" if ce else "error", "corruptions",
        ("mCE", "mce") if ce else ("mean error", "mean_error"),
    )  # fmt: skip


@table("per-perturbation", "FR by perturbation, one column a model", perturbed)
def per_perturbation(document: Document) -> Table:
    """Flip rate by perturbation; flip probabilities where nothing fits to divide by, or a part was shown."""
    if part_of(document, "perturbation"):
        title = "Flip probability by perturbation, unnormalised"
        return _partial_matrix(document, "per-perturbation", title, "Perturbation", "perturbations")
    fr = normalised(document)
    title = "Flip rate (FR) by perturbation" if fr else "Flip probability, unnormalised, by perturbation"
    return _matrix(
        document, "per-perturbation", title, "Perturbation", "fr" if fr else "fp", "perturbations",
        ("mFR", "mfr") if fr else ("mean", "mean_flip_probability"),
    )  # fmt: skip


@table("top5-distance", "top-5 distance by perturbation, one column a model", perturbed)
def top5_distance(document: Document) -> Table:
    """Top-5 distance by perturbation, unnormalised, in ranks."""
    whole = ("mean (uT5D)", "mean_top5_distance")
    title = "Top-5 distance by perturbation, unnormalised"
    return _matrix(document, "top5-distance", title, "Perturbation", "top5_distance", "perturbations", whole)


# ---- further numbers, one row a model


@table("relative-mce", "relative mCE beside mCE, mean error and clean error", corrupted)
def relative_mce(document: Document) -> Table:
    """How much of the error under corruption is more than the clean error: relative mCE beside mCE."""
    columns = columns_of("clean_error", "mean_error", "mce", "relative_mce")
    note = f"Relative mCE: {NUMBERS['relative_mce'].about}"
    return by_model(document, "relative-mce", f"Relative mCE ({document.data})", columns, note)


@table("stability", "mFR and mT5D, flip probability and top-5 distance: normalised and not", perturbed)
def stability(document: Document) -> Table:
    """Stability under perturbation: how often the class changes, and how far the first five move."""
    columns = columns_of("mfr", "mean_flip_probability", "mt5d", "mean_top5_distance")
    notes = [f"{NUMBERS[key].title}: {NUMBERS[key].about}" for key in ("mean_top5_distance", "mt5d")]
    return by_model(document, "stability", f"Stability under perturbation ({document.data})", columns, *notes)


@table(
    "shift", "shift consistency, the same among correctly classified images, and clean error", measured("consistency")
)
def shift(document: Document) -> Table:
    """Shift consistency beside the error, since constant answers agree too, and where the first window is right."""
    columns = columns_of("consistency", "consistency_correct", "clean_error")
    return by_model(document, "shift", f"Shift consistency ({document.data})", columns)


@table(
    "calibration",
    "expected calibration error, clean and by severity",
    lambda d: measured("clean_ece")(d) or corrupted(d),
)
def calibration(document: Document) -> Table:
    """Expected calibration error, clean and at each severity (mean over corruptions)."""
    ece = Column.of(NUMBERS["corruption_ece"])
    severities = [replace(ece, key=f"severity_{s}", title=f"ECE at severity {s}", short="") for s in range(1, 6)]
    columns = (*columns_of("clean_ece"), *severities, replace(ece, title="ECE, all severities"))
    own = {f"severity_{s}": {m.label: _severity_mean(m, s - 1) for m in document.models} for s in range(1, 6)}
    note = "ECE: expected calibration error, bins of equal width; each severity is the mean over the corruptions."
    title = f"Calibration under corruption ({document.data})"
    return by_model(document, "calibration", title, columns, note, own=own, parameters=False)


def _severity_mean(model: Model, index: int) -> float | None:
    """Mean calibration error over corruptions at a severity; None when one is missing."""
    values = [result.calibration[index] for result in model.corruptions.values()]
    known = [v for v in values if v is not None]
    if not known or len(known) != len(values) or any(key.startswith("corruption/") for key in model.missing):
        return None
    return sum(known) / len(known)


@table("numbers", "every headline number that is known, those of plug-ins too", always)
def numbers(document: Document) -> Table:
    """Every headline number that any model has, those of plug-ins too: one row a model."""
    known = [key for key in headline_keys() if measured(key)(document)]
    return by_model(document, "numbers", f"Headline numbers ({document.data})", columns_of(*known))


# ---- one row a condition and model


def _details(
    document: Document, name: str, title: str, first: str, part: str, columns: Sequence[tuple[Column, str]]
) -> Table:
    """One row a condition and model; `columns` with the family of each, or `severity/1`..`severity/5`."""
    others = [
        key
        for key, number in NUMBERS.items()
        if number.family and key not in FAMILIES and f"{number.protocol}s" == part
        and any(one.startswith(f"{key}/") for m in document.models for one in m.others)
    ]  # fmt: skip
    columns = [*columns, *((Column.of(NUMBERS[key]), key) for key in others)]
    head = [Column("condition", first, "text"), Column("model", "Pooling", "text")]
    rows: list[Row] = []
    for condition in order(document.models, part):
        models = [m for m in document.models if condition in getattr(m, part)]
        parts = []
        for column, family in columns:
            name_of = "" if family.startswith("severity/") else f"{family}/{condition}"
            entries = {m.label: _detail(m, family, condition) for m in models}
            parts.append(marked(document, name_of, column.direction, entries))
        for k, m in enumerate(models):
            entries_of = (Entry.of_condition(condition), Entry(shown(document, m)), *(one[m.label] for one in parts))
            rows.append(Row(entries_of, rule=k == 0 and bool(rows), ranked=not m.is_normaliser))
    return made_table(document, name, f"{title} ({document.data})", [*head, *(c for c, _ in columns)], rows)


def _detail(model: Model, family: str, condition: str) -> Entry:
    if family.startswith("severity/"):
        return Entry(model.corruptions[condition].errors[int(family[-1]) - 1])
    return Entry.of(model.value(f"{family}/{condition}"))


@table("corruption-details", "error at each severity, their mean, CE; one row a corruption and model", corrupted)
def corruption_details(document: Document) -> Table:
    """Error at each severity, their mean and CE, one row a corruption and model."""
    error = Column.of(NUMBERS["error"])
    columns = [
        *((replace(error, key=f"severity_{s}", title=f"Error at severity {s}"), f"severity/{s}") for s in range(1, 6)),
        (replace(error, key="mean_error", title="Mean error, unnormalised"), "error"),
        (Column.of(NUMBERS["ce"]), "ce"),
    ]
    title = "Error by corruption and severity"
    return _details(document, "corruption-details", title, "Corruption", "corruptions", columns)


@table("perturbation-details", "FR, flip probability, top-5 distance; one row a perturbation and model", perturbed)
def perturbation_details(document: Document) -> Table:
    """Flip rate, flip probability and top-5 distance, one row a perturbation and model."""
    flips, moves = Column.of(NUMBERS["fp"]), Column.of(NUMBERS["top5_distance"])
    columns = [
        (Column.of(NUMBERS["fr"]), "fr"),
        (replace(flips, key="flip_probability", title="Flip probability, unnormalised"), "fp"),
        (replace(moves, title="Top-5 distance, unnormalised"), "top5_distance"),
    ]
    title = "Stability by perturbation"
    return _details(document, "perturbation-details", title, "Perturbation", "perturbations", columns)
