"""Two runs, image by image: every difference with its confidence."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from scipy import stats

import metrics
from robustbench_lift.errors import IncomparableError, IncompleteError, unknown
from robustbench_lift.regression.comparison import Comparison, Difference, comparable, judged, judged_by_family
from robustbench_lift.regression.policy import CORRECTIONS, check_number, check_whole
from robustbench_lift.regression.statistics import (
    POWER,
    detectable_difference,
    mean_p,
    paired_interval,
    worse_p,
)
from robustbench_lift.runs import Predictions, Record, Run, opened
from robustbench_lift.scores.bootstrap import Interval, percentile_interval, replicated
from robustbench_lift.scores.evidence import Evidence, empty_evidence, stored_cell
from robustbench_lift.scores.measures import Array
from robustbench_lift.scores.numbers import NUMBERS, headlines, number_of, sign
from robustbench_lift.scores.scoring import few_flips, few_flips_note, normaliser_of


def compare(
    run_a: Run | str | os.PathLike[str],
    run_b: Run | str | os.PathLike[str],
    *,
    normaliser: metrics.Baseline | None = None,
    numbers: Collection[str] | None = None,
    replicates: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    margins: Mapping[str, float] | None = None,
    alpha: float = 0.05,
    correction: str = "bh",
    allow_protocol_diff: bool = False,
) -> Comparison:
    """Compare a candidate (b) with a baseline (a) on the same images.

    Headline numbers, CE and FR: paired bootstrap of the difference, images drawn once for all cells and both models.
    They are means over images, so the standard error of the bootstrap is known in closed form; p-values use it, and
    the intervals are percentiles of the replicates. Clean error and cells: McNemar's test, mid-p. A difference is a
    regression when it is worse by more than the margin *and* its corrected one-sided p is below `alpha`; headline
    numbers, CE, FR and cells are corrected apart.

    Args:
        run_a: the baseline: a run, or its folder.
        run_b: the candidate, likewise.
        normaliser: what CE and FR are divided by; what run_a's manifest names unless given.
        numbers: keys shown besides those that a gate tests by default.
        replicates: bootstrap samples.
        confidence: level of the intervals.
        seed: seed of the draws.
        margins: tolerated loss by number, fractions; `cells` is that of every cell; 0 unless given.
        alpha: level of the tests.
        correction: bh, by, holm or none.
        allow_protocol_diff: compare although signatures differ, with a note.

    Raises:
        IncomparableError: signatures or image sets differ; the message names the field.
        IncompleteError: no cell is complete in both.
        UsageError: an unknown correction, a margin of an unknown number, or a value outside its range.
    """
    if correction not in CORRECTIONS:
        raise unknown("correction", correction, CORRECTIONS)
    check_number("alpha", alpha, 0, 1, open_ends=True)
    check_number("confidence", confidence, 0, 1, open_ends=True)
    check_whole("replicates", replicates, 1)
    check_whole("seed", seed, 0)
    run_a, run_b = opened(run_a), opened(run_b)
    margins = dict(margins or {})
    for name, margin in margins.items():
        highest = 1.0 if name == "cells" or number_of(name).unit == "percent" else math.inf
        check_number(f"margins: {name}, a fraction (0.01 is one point),", margin, 0, highest)
    wanted = compared_numbers(numbers)
    notes = comparable(run_a, run_b, allow_protocol_diff=allow_protocol_diff)
    divisor = normaliser if normaliser is not None else normaliser_of(run_a)
    read = _read(run_a, run_b, wanted, margins.get("cells", 0.0), confidence)
    if not any(run_a.has(cell) and run_b.has(cell) for cell in run_a.expected):
        raise IncompleteError(
            f"{run_a.path} and {run_b.path} have no cell that is complete in both: nothing can be compared. They lack "
            f"{len(run_a.missing())} of {len(run_a.expected)} and {len(run_b.missing())} of {len(run_b.expected)} "
            "cells; the same `robustbench-lift run` goes on where it stopped."
        )
    a, b = read.before.vectors(divisor), read.after.vectors(divisor)
    before, after = replicated([read.before, read.after], divisor, replicates=replicates, seed=seed)
    if divisor is not None and "mfr" in wanted:
        note = few_flips_note(divisor.name, few_flips(divisor, read.before))
        notes = (*notes, note) if note else notes
    known_a, known_b = read.before.values(divisor), read.after.values(divisor)
    found: dict[str, Difference] = {}
    for name in (name for name in a if name in b and len(a[name]) == len(b[name])):
        difference = after[name] - before[name]
        if np.isnan(difference).all():
            continue  # a class of so few images that no replicate of these few drew one
        interval = percentile_interval(difference, confidence)
        found[name] = mean_difference(
            name, a[name], b[name], interval, margins.get(name, 0.0), values=(known_a[name], known_b[name])
        )
    clean = read.cells.get("clean/clean/0")
    if clean is not None and "clean_error" in found:
        found["clean_error"] = _exact(found["clean_error"], clean, len(a["clean_error"]))
    return Comparison(
        baseline=run_a.name,
        candidate=run_b.name,
        signature=run_a.signature,
        metrics=judged_by_family(found, alpha=alpha, correction=correction),
        cells=judged(read.cells, alpha=alpha, correction=correction),
        same_weights=same_weights(run_a.manifest.model, run_b.manifest.model),
        one_sided=tuple(sorted(set(a) ^ set(b))),
        missing_cells=tuple(read.missing),
        lacking=tuple(read.lacking),
        changed_labels=read.changed,
        compared_labels=read.compared,
        alpha=alpha,
        correction=correction,
        confidence=confidence,
        sources=sources(run_a, run_b),
        notes=notes,
    )


def compared_numbers(numbers: Collection[str] | None = None) -> tuple[str, ...]:
    """Numbers that a comparison shows: those that a gate tests by default, those asked for, and their families.

    Raises:
        UsageError: there is no such number.
    """
    for name in numbers or ():
        if name not in headlines():
            raise unknown("metric", name, headlines())
    return tuple(key for key, number in NUMBERS.items() if number.gated or key in (numbers or ()))


def mean_difference(
    name: str, a: Array, b: Array, interval: Interval, margin: float, *, values: tuple[float, float]
) -> Difference:
    """A number that is a mean over images on both sides, paired; `values` are the two numbers themselves."""
    worse = sign(name) * (b - a)
    n = len(worse)
    error = float(worse.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return Difference(
        name=name,
        baseline=values[0],
        candidate=values[1],
        low=interval.low,
        high=interval.high,
        p_value=mean_p(float(worse.mean()) - margin, error, n),
        p_improved=mean_p(-float(worse.mean()) - margin, error, n),
        margin=margin,
        detectable=POWER * error,
    )


def same_weights(a: Mapping[str, object], b: Mapping[str, object]) -> bool:
    """Whether two model records are known to be of the same weights."""
    return a.get("weights_sha256") is not None and a.get("weights_sha256") == b.get("weights_sha256")


def sources(run_a: Run, run_b: Run) -> dict[str, str]:
    """Weights and git revision of both sides, as far as they are recorded."""
    found = {}
    for side, run in (("baseline", run_a), ("candidate", run_b)):
        found[f"{side} weights sha256"] = str(run.manifest.model.get("weights_sha256") or "unknown")
        found[f"{side} git"] = str(run.manifest.provenance.get("git") or "unknown")
    return found


@dataclass
class _Pair:
    """What is gathered while the cells of two runs are read side by side."""

    before: Evidence
    after: Evidence
    cells: dict[str, Difference] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    compared: dict[str, int] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)


def _read(run_a: Run, run_b: Run, numbers: Collection[str], margin: float, confidence: float) -> _Pair:
    before, after = (empty_evidence(run, numbers=numbers, bins=True) for run in (run_a, run_b))
    pair = _Pair(before, after)
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    for cell in dict.fromkeys((*run_a.expected, *run_b.expected)):
        a = stored_cell(run_a, cell) if run_a.has(cell) else None
        b = stored_cell(run_b, cell) if run_b.has(cell) else None
        if a is not None:
            pair.before.add(cell, a)
        if b is not None:
            pair.after.add(cell, b)
        if a is None or b is None:
            pair.missing.append(cell.key)
            if a is not None:
                pair.lacking.append(cell.key)
            continue
        classes = isinstance(a, Predictions) and isinstance(b, Predictions)
        if not np.array_equal(a.ids, b.ids) or (classes and not _same_labels(a, b)):
            raise IncomparableError(
                f"{cell.key}: {run_a.path} and {run_b.path} hold other images, labels or frames in this cell. "
                "Run one of them again."
            )
        if not isinstance(a, Predictions) or not isinstance(b, Predictions):
            continue  # counts of pixels: which pixels changed is not stored
        top1_a, top1_b = a.top5[..., 0], b.top5[..., 0]
        pair.changed[cell.key] = int((top1_a != top1_b).sum())
        pair.compared[cell.key] = top1_a.size
        if cell.protocol in ("clean", "corruption"):
            right = top1_a[:, 0] == a.labels, top1_b[:, 0] == b.labels
            pair.cells[cell.key] = _cell(cell.key, *right, margin, z)
    return pair


def _same_labels(a: Record, b: Record) -> bool:
    """Whether predictions are of the same labels and frames."""
    assert isinstance(a, Predictions)
    assert isinstance(b, Predictions)
    return np.array_equal(a.labels, b.labels) and a.top5.shape == b.top5.shape


def _cell(key: str, a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_], margin: float, z: float) -> Difference:
    gained, lost, n = int((~a & b).sum()), int((a & ~b).sum()), len(a)
    interval = paired_interval(gained, lost, n, z)
    return Difference(
        name=key,
        baseline=float(1 - a.mean()),
        candidate=float(1 - b.mean()),
        low=interval.low,
        high=interval.high,
        p_value=worse_p(gained, lost, n, margin=margin),
        p_improved=worse_p(lost, gained, n, margin=margin),
        margin=margin,
        detectable=detectable_difference(n, (gained + lost) / n),
        gained=gained,
        lost=lost,
    )


def _exact(mean: Difference, cell: Difference, images: int) -> Difference:
    """The clean error with McNemar's p-values, which hold for few disagreements too."""
    assert cell.gained is not None
    assert cell.lost is not None
    return replace(
        mean,
        p_value=worse_p(cell.gained, cell.lost, images, margin=mean.margin),
        p_improved=worse_p(cell.lost, cell.gained, images, margin=mean.margin),
        gained=cell.gained,
        lost=cell.lost,
    )
