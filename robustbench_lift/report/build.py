"""Runs -> document: every number of a report, computed once.

A run that is not complete is reported as far as it goes: what depends on a missing cell is unknown, never averaged
over the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from robustbench_lift.errors import UsageError
from robustbench_lift.provenance import environment
from robustbench_lift.report.flips import chosen_flips
from robustbench_lift.report.schema import (
    Bin,
    CorruptionResult,
    Document,
    Model,
    PerturbationResult,
)
from robustbench_lift.report.sources import (
    Source,
    counts_of,
    groups_of,
    labels_of,
    print_order,
    sources_of,
    training_of,
)
from robustbench_lift.report.ties import find_ties, replicates_of, spans
from robustbench_lift.runs import Cell, Run
from robustbench_lift.tables.table import Value

if TYPE_CHECKING:
    from robustbench_lift.report.ties import Replicates
    from robustbench_lift.scores import Evidence, Interval, Scores


def document(
    runs: Sequence[Run],
    *,
    title: str = "",
    command: str = "",
    replicates: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    class_names: Sequence[str] = (),
    sequences: int = 4,
) -> Document:
    """Score runs and put everything a report says into one document.

    Args:
        runs: one a model; runs of other signatures are marked, never mixed.
        title: heading; made from the data set unless given.
        command: the command that makes the report again, printed in it.
        replicates: bootstrap replicates of intervals and ties; 0 leaves both out.
        confidence: level of the intervals, between 0 and 1.
        seed: seed of the bootstrap.
        class_names: names of the classes for predictions; those of the embedded photographs are known.
        sequences: how many sequences with changing predictions to take along for the page.

    Raises:
        UsageError: there are no runs.
    """
    from robustbench_lift.scores import evidence_of

    if not runs:
        raise UsageError("a report needs at least one run folder; none was given.")
    sources = sorted(sources_of(runs), key=lambda s: (s.is_normaliser, *print_order(s.run)))
    labels = labels_of([s.run for s in sources])
    groups, keys = groups_of(sources)
    drawn: list[Replicates] = []
    made: list[Model] = []
    for s, label, key in zip(sources, labels, keys, strict=True):
        evidence = evidence_of(s.run)
        drawn.append(replicates_of(evidence, s.baseline, replicates=replicates, seed=seed))
        made.append(_model(s, evidence, label, key, spans(drawn[-1], confidence=confidence)))
    models = tuple(made)
    ranked = [k for k, model in enumerate(models) if not model.is_normaliser]
    ties, rule = find_ties([(models[k], drawn[k]) for k in ranked], confidence=confidence)
    data = str(sources[0].run.manifest.data["name"])
    return Document(
        title=title or f"Robustness on {data}",
        data=data,
        models=models,
        groups=groups,
        ties=ties,
        tie_rule=rule,
        flips=chosen_flips([(models[k], sources[k].run) for k in ranked], count=sequences),
        class_names=tuple(class_names) or _class_names(data),
        command=command,
        versions={k: str(v) for k, v in _versions().items() if v is not None},
        confidence=confidence,
    )


def _versions() -> Mapping[str, object]:
    versions = environment()["versions"]
    assert isinstance(versions, dict)
    return versions


def _class_names(data: str) -> tuple[str, ...]:
    if data != "photos":
        return ()
    from robustbench_lift.data.photos import PHOTOGRAPHS

    return tuple(photograph.name for photograph in PHOTOGRAPHS)


def _model(source: Source, evidence: Evidence, label: str, group: str, found: Mapping[str, Interval]) -> Model:
    from robustbench_lift.scores import headlines, scores_of

    run, record = source.run, source.run.manifest.model
    scores = scores_of(run, evidence, source.baseline)
    return Model(
        label=label,
        name=run.name,
        spec=str(record.get("spec", "")),
        arch=str(record.get("arch", "")),
        pooling=str(record.get("pooling") or ""),
        placement=str(record.get("placement") or ""),
        parameters=int(record.get("parameters", 0)),
        weights_sha256=str(record.get("weights_sha256", "")),
        training=training_of(run),
        preprocessing=", ".join(f"{k} {v}" for k, v in (record.get("preprocessing") or {}).items() if v is not None),
        group=group,
        is_normaliser=source.is_normaliser,
        counts=counts_of(run),
        cells=len(run.expected),
        missing=tuple(cell.key for cell in run.missing()),
        headline={key: _value(scores.get(key), found.get(key)) for key in headlines()},
        corruptions=_corruptions(run, scores, found),
        perturbations=_perturbations(run, scores, found),
        reliability=_reliability(evidence),
        provenance=_provenance(run),
    )


def _value(value: float | None, span: Interval | None) -> Value:
    if value is None:
        return Value()
    return Value(float(value)) if span is None else Value(float(value), float(span.low), float(span.high))


def _corruptions(run: Run, scores: Scores, found: Mapping[str, Interval]) -> dict[str, CorruptionResult]:
    def severities(name: str) -> list[Cell]:
        return [Cell("corruption", name, severity) for severity in range(1, 6)]

    return {
        name: CorruptionResult(
            errors=tuple(scores.errors.get(cell) for cell in severities(name)),
            calibration=tuple(scores.calibration.get(cell) for cell in severities(name)),
            mean_error=_value(scores.get(f"error/{name}"), found.get(f"error/{name}")),
            ce=_value(scores.get(f"ce/{name}"), found.get(f"ce/{name}")),
        )
        for name in dict.fromkeys(cell.condition for cell in run.expected if cell.protocol == "corruption")
    }


def _perturbations(run: Run, scores: Scores, found: Mapping[str, Interval]) -> dict[str, PerturbationResult]:
    def value(name: str) -> Value:
        return _value(scores.get(name), found.get(name))

    return {
        name: PerturbationResult(
            flip_probability=value(f"fp/{name}"), fr=value(f"fr/{name}"), top5_distance=value(f"top5_distance/{name}")
        )
        for name in dict.fromkeys(cell.condition for cell in run.expected if cell.protocol == "perturbation")
    }


def _reliability(evidence: Evidence) -> dict[str, tuple[Bin, ...]]:
    curves: dict[str, list[npt.NDArray[np.float64]]] = {}
    for cell, sums in sorted(evidence.reliability.items(), key=lambda item: (item[0].severity, item[0])):
        curves.setdefault("clean" if cell.protocol == "clean" else f"severity {cell.severity}", []).append(sums)
    return {
        key: tuple(
            Bin(int(n), float(p / n) if n else None, float(a / n) if n else None)
            for n, p, a in zip(*np.sum(parts, axis=0), strict=True)
        )
        for key, parts in curves.items()
    }


def _provenance(run: Run) -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in run.manifest.provenance.items():
        if isinstance(value, Mapping):
            flat |= {str(k): str(v) for k, v in value.items() if v is not None}
        elif value is not None:
            flat[str(key)] = str(value)
    return flat
