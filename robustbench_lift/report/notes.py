"""What a report says in words: signatures and counts, holes, normalisers, groups, and how its numbers are read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from robustbench_lift.report.schema import Document, Group, Model
from robustbench_lift.scores.numbers import NUMBERS
from robustbench_lift.tables.table import Column, Direction, Value, number
from robustbench_lift.text import listed

NAMED = 4
"""Missing cells that are named in a note; the document has them all."""
Signature = Literal["full", "short", "none"]
"""How much of the signature a table carries."""


def shown(document: Document, model: Model) -> str:
    """The label of a model as printed, with the mark of its group where there are several."""
    return f"{model.label} [{model.group}]" if len(document.groups) > 1 else model.label


def ranked(document: Document) -> list[Model]:
    """The models that are compared: all but normalisers."""
    return [model for model in document.models if not model.is_normaliser]


def order(models: Sequence[Model], attribute: str) -> list[str]:
    """Conditions of all models, in the order of the first that has them."""
    return list(dict.fromkeys(name for m in models for name in getattr(m, attribute)))


def normalised(document: Document) -> bool:
    """Whether there is something to divide by; groups without it then show a dash and a note."""
    return any(group.normaliser for group in document.groups)


# ---- signatures


def counts_text(counts: Mapping[str, int]) -> str:
    """How many images were shown, by protocol where that differs.

    >>> counts_text({"clean": 240, "corruption": 240, "perturbation": 60})
    '240 images (perturbation: 60)'
    """
    if not counts:
        return "no images"
    most = max(counts.values())
    others = ", ".join(f"{protocol}: {count:,}" for protocol, count in counts.items() if count != most)
    return f"{most:,} images" + (f" ({others})" if others else "")


def signature_text(document: Document, group: Group) -> str:
    """The line that fixes what numbers mean: mark, signature, counts, normaliser."""
    return f"{_tag(document, group)}{_signature(group)}"


def signature_id(group: Group) -> str:
    """A short name of that line, the same wherever the line is the same: `rbl1:` and eight digits of its sha256."""
    return f"rbl1:{hashlib.sha256(_signature(group).encode('utf-8', 'replace')).hexdigest()[:8]}"


def short_signatures(document: Document) -> tuple[str, ...]:
    """The short name of each group's signature."""
    return tuple(f"{_tag(document, group)}signature {signature_id(group)}" for group in document.groups)


def _signature(group: Group) -> str:
    return f"{group.signature} | {counts_text(group.counts)} | normaliser: {group.normaliser or 'none'}"


def _tag(document: Document, group: Group) -> str:
    return f"[{group.key}] " if len(document.groups) > 1 else ""


# ---- runs on a part of the benchmark


@dataclass(frozen=True, slots=True)
class Part:
    """What models were shown of a protocol where it is not the whole benchmark."""

    text: str
    """In words: `2 corruptions, severities 1, 3`."""
    values: Mapping[str, float]
    """By label, the mean over what was shown; a model that lacks one of these cells has none."""


def part_of(document: Document, protocol: Literal["corruption", "perturbation"]) -> Part | None:
    """The mean over what was asked of each model, unnormalised, when no model has a mean over the benchmark.

    Errors are averaged over cells, flip probabilities over perturbations. The number is comparable within a group,
    whose runs were asked the same, and is neither mCE nor mFR.
    """
    whole = "mean_error" if protocol == "corruption" else "mean_flip_probability"
    attribute = f"{protocol}s"
    models = [m for m in document.models if getattr(m, attribute)]
    if not models or any(m.headline.get(whole, Value()).value is not None for m in document.models):
        return None
    values: dict[str, float] = {}
    severities: set[int] = set()
    for model in models:
        absent = [key for key in model.missing if key.startswith(f"{protocol}/")]
        if protocol == "corruption":
            known = {s: v for c in model.corruptions.values() for s, v in enumerate(c.errors, 1) if v is not None}
            severities |= {*known, *(int(key.rpartition("/")[2]) for key in absent)}
            cells = [v for c in model.corruptions.values() for v in c.errors if v is not None]
        else:
            flips = [p.flip_probability.value for p in model.perturbations.values()]
            cells = [v for v in flips if v is not None]
        if cells and not absent:
            values[model.label] = fmean(cells)
    names = order(models, attribute)
    text = f"{len(names)} {protocol}{'s' if len(names) != 1 else ''}"
    if protocol == "corruption" and severities != set(range(1, 6)):
        listed_severities = ", ".join(map(str, sorted(severities)))
        text += f", {'severities' if len(severities) != 1 else 'severity'} {listed_severities}"
    return Part(text, values)


def shown_mean(model: Model, part: str, condition: str) -> float | None:
    """The mean of what a model was asked of a condition; None when a cell of it is missing."""
    if part == "perturbations":
        return model.value(f"fp/{condition}").value
    result = model.corruptions.get(condition)
    if result is None or any(key.startswith(f"corruption/{condition}/") for key in model.missing):
        return None
    known = [v for v in result.errors if v is not None]
    return fmean(known) if known else None


# ---- notes


def common_notes(document: Document) -> tuple[str, ...]:
    """What every table and figure of the document says."""
    return (
        *normaliser_notes(document),
        *missing_notes(document),
        *partial_notes(document),
        *group_notes(document),
    )


def missing_notes(document: Document) -> tuple[str, ...]:
    """One line for each incomplete run."""
    notes = []
    for model in document.models:
        if model.missing:
            named = ", ".join(model.missing[:NAMED])
            more = f" and {len(model.missing) - NAMED} more" if len(model.missing) > NAMED else ""
            notes.append(
                f"{model.label} is incomplete: {len(model.missing)} of {model.cells} cells are missing "
                f"({named}{more}); no mean is taken over the others."
            )
    return tuple(notes)


def partial_notes(document: Document) -> tuple[str, ...]:
    """Runs that were made on a part of the benchmark: complete, but without a mean over it; those alike together."""
    notes: dict[str, list[str]] = {}
    for model in document.models:
        for what, whole, mean in (
            ("corruptions", "corruptions at 5 severities, so there is no mCE", "mean_error"),
            ("perturbations", "perturbations, so there is no mFR", "mean_flip_probability"),
        ):
            parts = getattr(model, what)
            if parts and model.headline.get(mean, Value()).value is None and not model.missing:
                part = part_of(document, "corruption" if what == "corruptions" else "perturbation")
                shown_part = part.text if part else f"{len(parts)} {what}"
                size = "15" if what == "corruptions" else "10"
                text = f"shown {shown_part}, not all of the benchmark ({size} {whole})"
                notes.setdefault(text, []).append(model.label)
    return tuple(
        f"{listed(labels, most=6)} {'was' if len(labels) == 1 else 'were'} {text}: the mean is over what was shown."
        for text, labels in notes.items()
    )


def group_notes(document: Document) -> tuple[str, ...]:
    """One line for each group that differs from the first: in what."""
    first = document.groups[0].key
    return tuple(
        f"[{group.key}] is not comparable with [{first}]: {'; '.join(group.differs)}." for group in document.groups[1:]
    )


def normaliser_notes(document: Document) -> tuple[str, ...]:
    """Which rows are what others are divided by, which normaliser cannot be used, and where one flips too seldom."""
    from robustbench_lift.scores import few_flips_note

    rows = (
        f"{shown(document, model)} is the normaliser, measured on the same images: shown, not ranked."
        for model in document.models
        if model.is_normaliser
    )
    problems = (f"{_tag(document, g)}Nothing is normalised: {g.problem}" for g in document.groups if g.problem)
    absent = (
        f"{_tag(document, g)}No normaliser is named, so there is no {' and no '.join(names)}: "
        "`robustbench-lift run --normaliser SPEC` names a network that is evaluated on the same images."
        for g in document.groups
        if not g.normaliser and not g.problem and (names := _lacking_normaliser(document, g))
    )
    few = (
        f"{_tag(document, g)}{few_flips_note(g.normaliser.partition(',')[0], g.few_flips)}"
        for g in document.groups
        if g.few_flips
    )
    return (*rows, *problems, *absent, *few)


def _lacking_normaliser(document: Document, group: Group) -> list[str]:
    """Titles of the normalised means that a group would have if it had a normaliser."""
    means = {"mean_error": "mce", "mean_flip_probability": "mfr"}
    return [
        NUMBERS[ratio].title
        for mean, ratio in means.items()
        if any(m.headline.get(mean, Value()).value is not None for m in document.models if m.group == group.key)
    ]


# ---- how numbers are read


def summary(document: Document) -> str:
    """A paragraph that says what the headline numbers show: the best of each and what is tied with it.

    Only models of the first group are compared, and only numbers that at least two of them have.
    """
    group = document.groups[0]
    models = [m for m in ranked(document) if m.group == group.key]
    parts = []
    for keys in (
        ("mce", "mean_error"),
        ("mfr", "mean_flip_probability"),
        ("consistency",),
        ("clean_error",),
        ("miou",),
        ("mcd", "mean_miou"),
        ("pixel_consistency",),
    ):
        for key in keys:
            values = {m.label: v for m in models if (v := m.headline.get(key, Value()).value) is not None}
            if len(values) > 1:
                parts.append(_standing(document, key, values))
                break
    for protocol, words, digits in (("corruption", "mean error", 1), ("perturbation", "flip probability", 2)):
        part = part_of(document, protocol)  # type: ignore[arg-type]  # a literal of the tuple
        values = {m.label: part.values[m.label] for m in models if part and m.label in part.values}
        if part and len(values) > 1:
            column = Column(protocol, f"{words} over {part.text}", digits=digits, direction="lower")
            parts.append(_best(column, values, ()))
    if not parts:
        return ""
    text = f"What it shows: {'; '.join(parts)}."
    if group.normaliser and any(m.headline.get("mce", Value()).value is not None for m in models):
        name = group.normaliser.partition(",")[0]
        text += f" 100 % of mCE and mFR is {name}, the normaliser: below it is more robust, above it less."
    if is_embedded(document):
        text += f" {EMBEDDED}"
        text += f" {CONSTRAINTS}" if any(m.spec == "photos/resnet-lift-constrained" for m in models) else ""
    return text


EMBEDDED = (
    "These are small networks, trained for 30 epochs on patches of 15 photographs, one seed each: they show what the "
    "benchmark measures and claim nothing about ImageNet."
)
"""What is to be known of the networks that ship for the embedded photographs."""
CONSTRAINTS = (
    "lift?constraint=mse is trained with the paper's two constraints, whose gradients cost it stability at this size; "
    "lift, the default, is the same without them (docs/results.md)."
)
"""Why two lifts ship, and how they differ."""


def is_embedded(document: Document) -> bool:
    """Whether the networks that ship for the embedded photographs were evaluated on them."""
    return document.data == "photos" and any(m.spec.startswith("photos/") for m in ranked(document))


def _standing(document: Document, key: str, values: Mapping[str, float]) -> str:
    return _best(Column.of(NUMBERS[key]), values, document.ties.get(key, ()))


def _best(column: Column, values: Mapping[str, float], ties: Sequence[tuple[str, str]]) -> str:
    """`lowest mCE: blur 87.4 % (tied with max; highest: lift 102.7 %)`."""
    unit = " %" if column.unit == "percent" else f" {column.unit}"
    direction: Direction = column.direction or "lower"
    standing = sorted(values, key=lambda label: values[label], reverse=direction == "higher")
    best, worst = standing[0], standing[-1]
    tied = [other for one, other in ties if one == best and other in values]
    good, bad = ("highest", "lowest") if direction == "higher" else ("lowest", "highest")
    title = column.title.partition(",")[0] if column.key in NUMBERS else column.title
    title = title if title[1:2].isupper() else title[:1].lower() + title[1:]
    text = f"{good} {title}: {best} {number(column, values[best])}{unit}"
    aside = [f"tied with {listed(tied, most=3)}"] if tied else []
    aside += [] if worst in tied else [f"{bad}: {worst} {number(column, values[worst])}{unit}"]
    return f"{text} ({'; '.join(aside)})" if aside else text


def extreme(document: Document, family: str) -> tuple[str, str, float] | None:
    """The largest member of a normalised family among the compared models: label, condition, value; for an example."""
    part = {"ce": "corruptions", "fr": "perturbations"}[family]
    found = [
        (value, m.label, name)
        for m in ranked(document)
        for name in getattr(m, part)
        if (value := m.value(f"{family}/{name}").value) is not None
    ]
    if not found:
        return None
    value, label, name = max(found)
    return label, name, value


def glossary(document: Document) -> list[tuple[str, str]]:
    """(term, what it is) of every number that any model has, from `NUMBERS`, and how the ratios are read."""
    terms = []
    for key, entry in NUMBERS.items():
        names = {name for m in document.models for name, v in m.numbers().items() if v.value is not None}
        if entry.about and any(name == key or name.startswith(f"{key}/") for name in names):
            text = entry.about
            example = extreme(document, key) if key in ("ce", "fr") else None
            if example is not None:
                label, condition, value = example
                text += (
                    f" Example: {entry.title} {number(Column.of(entry), value)} of {label} on "
                    f"{condition.replace('_', ' ')} is {value:.2f} times the normaliser's."
                )
            terms.append((entry.title[:1].upper() + entry.title[1:] if entry.title.islower() else entry.title, text))
    return terms
