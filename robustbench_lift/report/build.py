"""Runs -> document: every number of a report, computed once from one pass over the cells.

A run that is not complete is reported as far as it goes: what depends on a missing cell is unknown, never averaged
over the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from robustbench_lift.errors import UsageError
from robustbench_lift.provenance import environment
from robustbench_lift.report.groups import (
    Member,
    counts_of,
    groups_of,
    labels_of,
    members_of,
    training_of,
)
from robustbench_lift.report.schema import (
    FAMILIES,
    Bin,
    CorruptionResult,
    Document,
    Flips,
    Model,
    PerturbationResult,
)
from robustbench_lift.runs import Cell, Predictions, Run
from robustbench_lift.tables.marks import TIE_RULE
from robustbench_lift.tables.table import Value

if TYPE_CHECKING:
    import metrics
    from robustbench_lift.scores import Evidence, Interval

    Replicates = Mapping[str, npt.NDArray[np.float64]]
    """Bootstrap replicates [R] of every number of a model."""

READERS = 4
"""Cells that are decoded at a time: those of one condition of several models."""
SEQUENCES = 4
"""Sequences with changing predictions that the page shows."""


def document(
    runs: Sequence[Run],
    *,
    title: str = "",
    command: str = "",
    replicates: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    class_names: Sequence[str] = (),
) -> Document:
    """Score runs and put everything a report says into one document.

    Every cell is read once, the cells of one condition of all runs together, and none is kept: memory does not grow
    with the number of cells.

    Args:
        runs: one a model; runs of other signatures are marked, never mixed.
        title: heading; made from the data set unless given.
        command: the command that makes the report again, printed in it.
        replicates: bootstrap replicates of intervals and ties; 0 leaves both out.
        confidence: level of the intervals, between 0 and 1.
        seed: seed of the bootstrap.
        class_names: names of the classes for predictions; those of the embedded photographs are known.


    Raises:
        UsageError: there are no runs.
        DataError: a cell is damaged.
    """
    from robustbench_lift.scores import few_flips, percentile_intervals, replicated

    if not runs:
        raise UsageError("a report needs at least one run folder; none was given.")
    members = members_of(runs)
    labels = labels_of([m.run for m in members])
    groups, keys = groups_of(members)
    evidence, flips = _read_cells(members, labels, keys)
    divisors = _divisors(members, evidence)
    drawn: list[Replicates] = [{} for _ in members]
    for key in dict.fromkeys(keys) if replicates else ():  # all models of a group see the same draws
        inside = [k for k, own in enumerate(keys) if own == key]
        divisor = divisors.get(members[inside[0]].divisor)
        together = replicated([evidence[k] for k in inside], divisor, replicates=replicates, seed=seed)
        for k, found in zip(inside, together, strict=True):
            drawn[k] = found
    models = tuple(
        _model(m, evidence[k], divisors.get(m.divisor), labels[k], keys[k], percentile_intervals(drawn[k], confidence))
        for k, m in enumerate(members)
    )
    ties, rule = _ties([(m, drawn[k]) for k, m in enumerate(models) if not m.is_normaliser], confidence)
    few = {}
    for k, member in enumerate(members):
        if (divisor := divisors.get(member.divisor)) is not None and not member.is_normaliser:
            few[keys[k]] = few_flips(divisor, evidence[k])
    data = str(members[0].run.manifest.data["name"])
    return Document(
        title=title or f"Robustness on {data}",
        data=data,
        models=models,
        groups=tuple(replace(group, few_flips=few.get(group.key, {})) for group in groups),
        ties=ties,
        tie_rule=rule,
        flips=flips,
        class_names=tuple(class_names) or _class_names(data),
        command=command,
        versions={k: str(v) for k, v in _versions().items() if v is not None},
        confidence=confidence,
    )


def _read_cells(
    members: Sequence[Member], labels: Sequence[str], keys: Sequence[str]
) -> tuple[list[Evidence], tuple[Flips, ...]]:
    """What the numbers need of each run, and the sequences to show, from one pass over all cells."""
    from robustbench_lift.scores.evidence import empty_evidence, stored_cell

    runs = [m.run for m in members]
    expected = [frozenset(run.expected) for run in runs]
    evidence = [empty_evidence(run) for run in runs]
    changing: dict[str, list[tuple[int, Flips]]] = {}
    with ThreadPoolExecutor(READERS) as pool:
        for cell in dict.fromkeys(cell for run in runs for cell in run.expected):
            there = [k for k, run in enumerate(runs) if cell in expected[k] and run.has(cell)]
            read = dict(zip(there, pool.map(lambda k, cell=cell: stored_cell(runs[k], cell), there), strict=True))
            for k, stored in read.items():
                evidence[k].add(cell, stored)
            if cell.protocol != "perturbation":
                continue
            for key in dict.fromkeys(keys):
                answers = {
                    labels[k]: stored
                    for k, stored in read.items()
                    if keys[k] == key and not members[k].is_normaliser and isinstance(stored, Predictions)
                }
                if (found := widest(cell, answers, key)) is not None:
                    changing.setdefault(key, []).append(found)
    first = next((changing[key] for key in dict.fromkeys(keys) if key in changing), [])
    first.sort(key=lambda item: (-item[0], item[1].perturbation))
    return evidence, tuple(flips for _, flips in first[:SEQUENCES])


def _divisors(members: Sequence[Member], evidence: Sequence[Evidence]) -> dict[Path | str | None, metrics.Baseline]:
    """What CE and FR are divided by, each measured once; a run of the report is not read again for it."""
    import metrics
    from robustbench_lift.scores import measured_normaliser

    read = {m.run.path.resolve(): (m.run, known) for m, known in zip(members, evidence, strict=True)}
    found: dict[Path | str | None, metrics.Baseline] = {}
    for divisor in dict.fromkeys(m.divisor for m in members):
        if isinstance(divisor, Path):
            run, known = read.get(divisor, (None, None))
            found[divisor] = measured_normaliser(run or Run.open(divisor), evidence=known)
        elif divisor is not None:
            found[divisor] = metrics.ALEXNET
    return found


def _versions() -> Mapping[str, object]:
    versions = environment()["versions"]
    assert isinstance(versions, dict)
    return versions


def _class_names(data: str) -> tuple[str, ...]:
    if data != "photos":
        return ()
    from robustbench_lift.data.photos import PHOTOGRAPHS

    return tuple(photograph.name for photograph in PHOTOGRAPHS)


def _model(
    member: Member,
    evidence: Evidence,
    divisor: metrics.Baseline | None,
    label: str,
    group: str,
    found: Mapping[str, Interval],
) -> Model:
    from robustbench_lift.scores import headlines, number_of, scores_of

    run, record = member.run, member.run.manifest.model
    scores = scores_of(run, evidence, divisor)

    def value(name: str) -> Value:
        known, span = scores.get(name), found.get(name)
        if known is None:
            return Value()
        return Value(float(known)) if span is None else Value(float(known), float(span.low), float(span.high))

    conditions = {
        protocol: tuple(dict.fromkeys(cell.condition for cell in run.expected if cell.protocol == protocol))
        for protocol in (() if evidence.ious else ("corruption", "perturbation"))
    }
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
        is_normaliser=member.is_normaliser,
        counts=counts_of(run),
        cells=len(run.expected),
        missing=tuple(cell.key for cell in run.missing()),
        headline={key: value(key) for key in headlines()},
        corruptions={
            name: CorruptionResult(
                errors=_by_severity(scores.errors, name),
                calibration=_by_severity(scores.calibration, name),
                mean_error=value(f"error/{name}"),
                ce=value(f"ce/{name}"),
            )
            for name in conditions.get("corruption", ())
        },
        perturbations={
            name: PerturbationResult(
                flip_probability=value(f"fp/{name}"),
                fr=value(f"fr/{name}"),
                top5_distance=value(f"top5_distance/{name}"),
            )
            for name in conditions.get("perturbation", ())
        },
        reliability=_reliability(evidence),
        provenance=_provenance(run),
        others={name: value(name) for name in scores if "/" in name and number_of(name).key not in FAMILIES},
    )


def _by_severity(known: Mapping[Cell, float], corruption: str) -> tuple[float | None, ...]:
    return tuple(known.get(Cell("corruption", corruption, severity)) for severity in range(1, 6))


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


# ---- intervals and ties: one bootstrap in which every model of a group sees the same draws


def _ties(
    models: Sequence[tuple[Model, Replicates]], confidence: float
) -> tuple[dict[str, tuple[tuple[str, str], ...]], str]:
    """Pairs (best, other) whose paired difference has an interval that holds zero, by number.

    Only the best of each number is compared, with the others of its group.

    Returns:
        the pairs, and the rule in words (empty when nothing was compared).
    """
    from robustbench_lift.scores import number_of, percentile_interval

    pairs: dict[str, list[tuple[str, str]]] = {}
    compared = False
    for group in dict.fromkeys(m.group for m, _ in models):
        members = {m.label: (m, drawn) for m, drawn in models if m.group == group}
        for name in dict.fromkeys(name for _, drawn in members.values() for name in drawn):
            numbers = {
                label: known
                for label, (model, drawn) in members.items()
                if (known := model.value(name).value) is not None and name in drawn
            }
            if len(numbers) < 2:
                continue
            compared = True
            pick = max if number_of(name).direction == "higher" else min
            best = pick(numbers, key=lambda label: numbers[label])
            for other in numbers:
                if other != best:
                    low, high = percentile_interval(members[other][1][name] - members[best][1][name], confidence)
                    if low <= 0 <= high:
                        pairs.setdefault(name, []).append((best, other))
    rule = TIE_RULE.format(level=100 * confidence) if compared else ""
    return {name: tuple(found) for name, found in pairs.items()}, rule


# ---- sequences that show best how models change their mind


def changes(classes: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """How often the class changes from frame to frame, [n, T] -> [n].

    >>> changes(np.array([[1, 1, 2, 1], [3, 3, 3, 3]])).tolist()
    [2, 0]
    """
    return np.asarray((classes[:, 1:] != classes[:, :-1]).sum(axis=1), dtype=np.int64)


def widest(cell: Cell, answers: Mapping[str, Predictions], group: str) -> tuple[int, Flips] | None:
    """The sequence with the widest gap between the steadiest and the least steady model, and that gap.

    Args:
        cell: a perturbation cell.
        answers: what the models of one group, by label, answered in it.
        group: key of the group.
    """
    if not answers:
        return None
    first = next(iter(answers.values()))
    flips = np.stack([changes(p.top5[..., 0]) for p in answers.values()])
    gap = flips.max(axis=0) - flips.min(axis=0) if len(answers) > 1 else flips[0]
    row = int(gap.argmax())  # the first of equals: the same choice every time
    if flips[:, row].max() == 0:
        return None
    chosen = Flips(
        perturbation=cell.condition,
        difficulty=cell.severity,
        image=str(first.ids[row]),
        label=int(first.labels[row]),
        group=group,
        predictions={label: tuple(p.top5[row, :, 0].tolist()) for label, p in answers.items()},
        confidence={label: tuple(round(float(c), 4) for c in p.confidence[row]) for label, p in answers.items()},
    )
    return int(gap[row]), chosen
