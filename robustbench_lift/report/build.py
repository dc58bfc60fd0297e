"""Runs -> document: every number of a report, computed once.

A run that is not complete is reported as far as it goes: what depends on a missing cell is unknown, never averaged
over the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from robustbench_lift.errors import UsageError
from robustbench_lift.provenance import environment
from robustbench_lift.report.flips import chosen_flips
from robustbench_lift.report.schema import (
    HEADLINES,
    Bin,
    CorruptionResult,
    Document,
    Model,
    PerturbationResult,
    Value,
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
from robustbench_lift.report.ties import find_ties, replicated, spans
from robustbench_lift.runs import Cell, Run

if TYPE_CHECKING:
    from robustbench_lift.regression import Interval
    from robustbench_lift.scores.scoring import Scores

BINS = 15
"""Bins of equal width in calibration errors and reliability diagrams (Guo et al., ICML 2017, use 15)."""


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
    if not runs:
        raise UsageError("a report needs at least one run folder; none was given.")
    sources = sorted(sources_of(runs), key=lambda s: (s.is_normaliser, *print_order(s.run)))
    labels = labels_of([s.run for s in sources])
    groups, keys = groups_of(sources)
    drawn = [replicated(s.run, s.baseline, replicates=replicates, seed=seed) for s in sources]
    models = tuple(
        _model(s, label, key, spans(one, confidence=confidence))
        for s, label, key, one in zip(sources, labels, keys, drawn, strict=True)
    )
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


def _model(source: Source, label: str, group: str, found: Mapping[str, Interval]) -> Model:
    from robustbench_lift.scores.scoring import score

    run, record = source.run, source.run.manifest.model
    scores = score(run, baseline=source.baseline)
    cells = _cell_errors(run)
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
        headline={key: _value(getattr(scores, key), found.get(key)) for key in HEADLINES},
        corruptions=_corruptions(run, scores, found, cells),
        perturbations=_perturbations(run, scores, found),
        reliability=_reliability(cells),
        provenance=_provenance(run),
    )


def _value(value: float | None, span: Interval | None) -> Value:
    if value is None:
        return Value()
    return Value(float(value)) if span is None else Value(float(value), float(span.low), float(span.high))


Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _CellCalibration:
    """Calibration of one cell: bins as sums, so that cells can be added."""

    ece: float
    count: Floats
    confidence: Floats
    correct: Floats


def _cell_errors(run: Run) -> dict[Cell, tuple[float, _CellCalibration]]:
    """Error and calibration of every clean and corruption cell that is there; bins as in `metrics`."""
    import metrics

    found = {}
    for cell in run.expected:
        if cell.protocol in ("clean", "corruption") and run.has(cell):
            predictions = run.read(cell)
            correct = predictions.correct.ravel().astype(np.float64)
            confidence = predictions.confidence.ravel().astype(np.float64)
            index = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
            found[cell] = (
                float(1 - correct.mean()),
                _CellCalibration(
                    metrics.expected_calibration_error(confidence, correct, bins=BINS),
                    np.bincount(index, minlength=BINS).astype(np.float64),
                    np.bincount(index, weights=confidence, minlength=BINS).astype(np.float64),
                    np.bincount(index, weights=correct, minlength=BINS).astype(np.float64),
                ),
            )
    return found


def _corruptions(
    run: Run, scores: Scores, found: Mapping[str, Interval], cells: Mapping[Cell, tuple[float, _CellCalibration]]
) -> dict[str, CorruptionResult]:
    names = dict.fromkeys(cell.condition for cell in run.expected if cell.protocol == "corruption")
    result = {}
    for name in names:
        here = [cells.get(Cell("corruption", name, s)) for s in range(1, 6)]
        whole = scores.corruption_errors.get(name)
        result[name] = CorruptionResult(
            errors=tuple(None if c is None else c[0] for c in here),
            calibration=tuple(None if c is None else c[1].ece for c in here),
            mean_error=_value(None if whole is None else float(np.mean(whole)), found.get(f"error/{name}")),
            ce=_value(scores.ce.get(name), found.get(f"ce/{name}")),
        )
    return result


def _perturbations(run: Run, scores: Scores, found: Mapping[str, Interval]) -> dict[str, PerturbationResult]:
    names = dict.fromkeys(cell.condition for cell in run.expected if cell.protocol == "perturbation")
    return {
        name: PerturbationResult(
            flip_probability=_value(scores.flip_probabilities.get(name), found.get(f"fp/{name}")),
            fr=_value(scores.flip_rates.get(name), found.get(f"fr/{name}")),
            top5_distance=_value(scores.top5_distances.get(name), None),
        )
        for name in names
    }


def _reliability(cells: Mapping[Cell, tuple[float, _CellCalibration]]) -> dict[str, tuple[Bin, ...]]:
    curves: dict[str, list[_CellCalibration]] = {}
    for cell, (_, calibration) in sorted(cells.items(), key=lambda item: (item[0].severity, item[0])):
        curves.setdefault("clean" if cell.protocol == "clean" else f"severity {cell.severity}", []).append(calibration)
    result = {}
    for key, parts in curves.items():
        count, confidence, correct = (
            np.sum([getattr(part, field) for part in parts], axis=0) for field in ("count", "confidence", "correct")
        )
        result[key] = tuple(
            Bin(int(n), float(p / n) if n else None, float(a / n) if n else None)
            for n, p, a in zip(count, confidence, correct, strict=True)
        )
    return result


def _provenance(run: Run) -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in run.manifest.provenance.items():
        if isinstance(value, Mapping):
            flat |= {str(k): str(v) for k, v in value.items() if v is not None}
        elif value is not None:
            flat[str(key)] = str(value)
    return flat
