"""What every table and figure says below itself: signature and counts, holes, normalisers, groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from robustbench_lift.report.schema import Document, Group, Model

NAMED = 4
"""Missing cells that are named in a note; the document has them all."""


def shown(document: Document, model: Model) -> str:
    """The label of a model as printed, with the mark of its group where there are several."""
    return f"{model.label} [{model.group}]" if len(document.groups) > 1 else model.label


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
    """The line that goes under every table and figure: mark, signature, counts, normaliser."""
    tag = f"[{group.key}] " if len(document.groups) > 1 else ""
    return f"{tag}{group.signature} | {counts_text(group.counts)} | normaliser: {group.normaliser or 'none'}"


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
    """Runs that were made on a part of the benchmark: complete, but without a mean over it."""
    notes = []
    for model in document.models:
        for what, parts, mean in (
            ("corruptions", model.corruptions, "mean_error"),
            ("perturbations", model.perturbations, "mean_flip_probability"),
        ):
            if parts and model.headline[mean].value is None and not model.missing:
                notes.append(
                    f"{model.label} was shown {len(parts)} {what}, not all of the benchmark: the mean over the "
                    "benchmark is left out."
                )
    return tuple(notes)


def group_notes(document: Document) -> tuple[str, ...]:
    """One line for each group that differs from the first: in what."""
    first = document.groups[0].key
    return tuple(
        f"[{group.key}] is not comparable with [{first}]: {'; '.join(group.differs)}." for group in document.groups[1:]
    )


def normaliser_notes(document: Document) -> tuple[str, ...]:
    """Which rows are what others are divided by, and which normaliser cannot be used."""
    rows = (
        f"{shown(document, model)} is the normaliser, measured on the same images: shown, not ranked."
        for model in document.models
        if model.is_normaliser
    )
    tags = {group.key: f"[{group.key}] " if len(document.groups) > 1 else "" for group in document.groups}
    problems = (f"{tags[g.key]}Nothing is normalised: {g.problem}" for g in document.groups if g.problem)
    return (*rows, *problems)


def normalised(document: Document) -> bool:
    """Whether there is something to divide by; groups without it then show a dash and a note."""
    return any(group.normaliser for group in document.groups)


def order(models: Sequence[Model], attribute: str) -> list[str]:
    """Conditions of all models, in the order of the first that has them."""
    return list(dict.fromkeys(name for m in models for name in getattr(m, attribute)))
