"""Two runs, image by image: every difference with its confidence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

import metrics
from robustbench_lift.errors import IncomparableError, UsageError, unknown
from robustbench_lift.regression.bootstrap import Interval, grouped, percentile_interval, resample
from robustbench_lift.regression.linear import Vector, contributions
from robustbench_lift.regression.mcnemar import detectable_difference, worse_mid_p
from robustbench_lift.runs import Cell, Run, differences
from robustbench_lift.scores import normaliser

HEADLINES = ("clean_error", "mean_error", "mce", "relative_mce", "mean_flip_probability", "mfr", "consistency")
"""Headline numbers that are compared, in printed order; all but consistency are better when lower."""
CORRECTIONS = ("bh", "by", "holm", "none")


def sign(metric: str) -> int:
    """+1 where an increase is worse, -1 where it is better."""
    return -1 if metric == "consistency" else 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One number of the candidate against the baseline; fractions."""

    name: str
    """Headline name, ce/<corruption>, fr/<perturbation>, or the key of a cell."""
    baseline: float
    """The baseline's number."""
    candidate: float
    """The candidate's number."""
    low: float
    """Lower end of the interval of the difference."""
    high: float
    """Upper end of the interval of the difference."""
    p_value: float
    """One-sided: how likely so bad a difference is if the candidate were worse by no more than the margin."""
    p_adjusted: float = math.nan
    """The same, corrected for the number of tests."""
    p_improved: float = math.nan
    """One-sided the other way, corrected alike."""
    margin: float = 0.0
    """Loss that is tolerated."""
    detectable: float = math.nan
    """Smallest difference that is found with 80 % power at level 0.05, two-sided."""
    gained: int | None = None
    """Images that became right (cells only)."""
    lost: int | None = None
    """Images that became wrong (cells only)."""
    verdict: str = "same"
    """regressed, improved, or same (no difference beyond margin and chance)."""

    @property
    def delta(self) -> float:
        """candidate - baseline."""
        return self.candidate - self.baseline

    @property
    def worsening(self) -> float:
        """How much worse the candidate is; negative when it is better."""
        return sign(self.name) * self.delta


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Everything that differs between two runs."""

    baseline: str
    """Name of the baseline."""
    candidate: str
    """Name of the candidate."""
    signature: str
    """The signature that both share."""
    metrics: dict[str, Difference]
    """Headline numbers, ce/..., fr/..., fp/... ."""
    cells: dict[str, Difference]
    """Errors cell by cell."""
    same_weights: bool
    """Whether both runs are of the same weights."""
    one_sided: tuple[str, ...] = ()
    """Numbers that only one of the two has."""
    changed_labels: dict[str, int]
    """Predicted labels that differ, cell by cell."""
    compared_labels: dict[str, int]
    """Predicted labels that were compared, cell by cell."""
    alpha: float
    """Level of the tests."""
    correction: str
    """Correction for multiplicity."""
    notes: tuple[str, ...] = field(default=())
    """What a reader must know, such as a protocol difference that was allowed."""

    @property
    def worst(self) -> list[Difference]:
        """Cells, worst first."""
        return sorted(self.cells.values(), key=lambda d: -d.worsening)


def intervals(
    run: Run,
    *,
    baseline: metrics.Baseline | None,
    replicates: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Bootstrap intervals of a run's numbers, images or clips drawn with replacement, the normaliser fixed.

    Args:
        run: a run; numbers that lack a cell have no interval.
        baseline: the normaliser of CE and FR, or None.
        replicates: bootstrap samples.
        confidence: level, 0..1.
        seed: seed of the draws.

    Returns:
        {headline name, ce/<corruption>, error/<corruption>, fr/<perturbation>, fp/<perturbation>: Interval}.
    """
    found: dict[str, Interval] = {}
    for group in grouped(contributions(run, baseline)):
        for name, means in resample(group, replicates=replicates, seed=seed).items():
            found[name] = percentile_interval(means, confidence)
    return found


def compare(
    run_a: Run,
    run_b: Run,
    *,
    baseline: metrics.Baseline | None = None,
    replicates: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    margins: Mapping[str, float] | None = None,
    alpha: float = 0.05,
    correction: str = "bh",
    allow_protocol_diff: bool = False,
) -> Comparison:
    """Compare a candidate (b) with a baseline (a) on the same images.

    Headline numbers: paired bootstrap of the difference, images drawn once for all cells and both models. Cells: mid-p
    McNemar. A difference is a regression when it is worse by more than the margin *and* its corrected one-sided p is
    below `alpha`.

    Args:
        run_a: the baseline.
        run_b: the candidate.
        baseline: the normaliser; what run_a's manifest names unless given.
        replicates: bootstrap samples.
        confidence: level of the intervals.
        seed: seed of the draws.
        margins: tolerated loss by number, fractions; 0 unless told.
        alpha: level of the tests.
        correction: bh, by, holm or none, over the numbers that are tested together.
        allow_protocol_diff: compare although signatures differ, with a note.

    Raises:
        IncomparableError: signatures or image sets differ; the message names the field.
        UsageError: an unknown correction or a margin of an unknown number.
    """
    if correction not in CORRECTIONS:
        raise unknown("correction", correction, CORRECTIONS)
    notes = comparable(run_a, run_b, allow_protocol_diff=allow_protocol_diff)
    divisor = baseline if baseline is not None else normaliser(run_a)
    margins = dict(margins or {})
    a, b = contributions(run_a, divisor), contributions(run_b, divisor)
    pairs = {name: (a[name], b[name]) for name in a if name in b}
    for name in margins:
        if name not in pairs and name not in (*HEADLINES, "cells"):
            raise unknown("metric", name, HEADLINES)
    found: dict[str, Difference] = {}
    for group in grouped({name: b_ - a_ for name, (a_, b_) in pairs.items()}):
        replicated = resample(group, replicates=replicates, seed=seed)
        for name, vector in group.items():
            found[name] = _difference(
                name, *pairs[name], vector, percentile_interval(replicated[name], confidence), margins.get(name, 0.0)
            )
    ordered = {name: found[name] for name in (*HEADLINES, *(n for n in found if n not in HEADLINES)) if name in found}
    cells, changed, compared = _cells(run_a, run_b, margins.get("cells", 0.0), confidence)
    return Comparison(
        baseline=run_a.name,
        candidate=run_b.name,
        signature=run_a.signature,
        metrics=judged(ordered, alpha=alpha, correction=correction),
        cells=judged(cells, alpha=alpha, correction=correction),
        same_weights=run_a.manifest.model.get("weights_sha256") == run_b.manifest.model.get("weights_sha256"),
        one_sided=tuple(sorted(set(a) ^ set(b))),
        changed_labels=changed,
        compared_labels=compared,
        alpha=alpha,
        correction=correction,
        notes=notes,
    )


def comparable(run_a: Run, run_b: Run, *, allow_protocol_diff: bool = False) -> tuple[str, ...]:
    """Notes on what differs; refuses what must not be compared.

    Raises:
        IncomparableError: other images, or other signatures without leave.
    """
    shared = [p for p in run_a.manifest.signature if p in run_b.manifest.signature]
    wrong = differences(
        {p: run_a.manifest.signature[p] for p in shared}, {p: run_b.manifest.signature[p] for p in shared}, "signature."
    )
    images = differences(dict(run_a.manifest.data), dict(run_b.manifest.data), "data.")
    images = [line for line in images if not line.startswith("data.sets.") or ": None" not in line]
    images = [line for line in images if ": None" not in line and "!= None" not in line]
    if images:
        raise IncomparableError(
            f"{run_a.path} and {run_b.path} are over different images:\n  "
            + "\n  ".join(images)
            + "\nPaired statistics need the same images; run one of them again."
        )
    if wrong and not allow_protocol_diff:
        raise IncomparableError(
            f"{run_a.path} and {run_b.path} are different protocols:\n  "
            + "\n  ".join(wrong)
            + "\nRun one of them again, or use --allow-protocol-diff to compare nevertheless, with a banner."
        )
    if len(shared) < 2:
        raise IncomparableError(f"{run_a.path} and {run_b.path} share no protocol: nothing can be compared.")
    return tuple(f"PROTOCOLS DIFFER: {line}" for line in wrong)


def _difference(name: str, a: Vector, b: Vector, difference: Vector, interval: Interval, margin: float) -> Difference:
    worse = sign(name) * difference
    n = len(worse)
    error = float(worse.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return Difference(
        name=name,
        baseline=float(a.mean()),
        candidate=float(b.mean()),
        low=interval.low,
        high=interval.high,
        p_value=one_sided(float(worse.mean()) - margin, error),
        p_improved=one_sided(-float(worse.mean()) - margin, error),
        margin=margin,
        detectable=float(stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * error,
    )


def one_sided(excess: float, error: float) -> float:
    """p-value of "worse by more than nothing": P(Z > excess / error), a mean over images being nearly normal."""
    if not error > 0:
        return 1.0 if excess <= 0 else 0.0
    return float(stats.norm.sf(excess / error))


def _cells(
    run_a: Run, run_b: Run, margin: float, confidence: float
) -> tuple[dict[str, Difference], dict[str, int], dict[str, int]]:
    found: dict[str, Difference] = {}
    changed: dict[str, int] = {}
    compared: dict[str, int] = {}
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    theirs = set(run_b.expected)
    for cell in run_a.expected:
        if cell not in theirs or not (run_a.has(cell) and run_b.has(cell)):
            continue
        a, b = run_a.read(cell), run_b.read(cell)
        if not np.array_equal(a.ids, b.ids) or not np.array_equal(a.labels, b.labels):
            raise IncomparableError(f"{cell.key}: the two runs hold other images or labels in this cell.")
        changed[cell.key] = int((a.top1 != b.top1).sum())
        compared[cell.key] = a.top1.size
        if cell.protocol in ("clean", "corruption"):
            found[cell.key] = _cell(cell, a.correct[:, 0], b.correct[:, 0], margin, z)
    return found, changed, compared


def _cell(cell: Cell, a: np.ndarray, b: np.ndarray, margin: float, z: float) -> Difference:
    gained, lost, n = int((~a & b).sum()), int((a & ~b).sum()), len(a)
    delta = (lost - gained) / n
    error = math.sqrt(max(lost + gained - (lost - gained) ** 2 / n, 0.0)) / n
    exact = margin == 0
    return Difference(
        name=cell.key,
        baseline=float(1 - a.mean()),
        candidate=float(1 - b.mean()),
        low=delta - z * error,
        high=delta + z * error,
        p_value=worse_mid_p(gained, lost) if exact else one_sided(delta - margin, error),
        p_improved=worse_mid_p(lost, gained) if exact else one_sided(-delta - margin, error),
        margin=margin,
        detectable=detectable_difference(n, (gained + lost) / n),
        gained=gained,
        lost=lost,
    )


def judged(found: Mapping[str, Difference], *, alpha: float, correction: str) -> dict[str, Difference]:
    """Adjust the p-values of tests that are made together, and say which differences count."""
    from dataclasses import replace

    names = list(found)
    worse = adjust([found[name].p_value for name in names], correction)
    better = adjust([found[name].p_improved for name in names], correction)
    result = {}
    for name, p, q in zip(names, worse, better, strict=True):
        one = found[name]
        verdict = "same"
        if p < alpha and one.worsening > one.margin:
            verdict = "regressed"
        elif q < alpha and -one.worsening > one.margin:
            verdict = "improved"
        result[name] = replace(one, p_adjusted=p, p_improved=q, verdict=verdict)
    return result


def adjust(p_values: list[float], correction: str) -> list[float]:
    """p-values corrected for their number.

    >>> adjust([0.01, 0.02, 0.5], "holm"), adjust([0.01, 0.02, 0.5], "bh")
    ([0.03, 0.04, 0.5], [0.03, 0.03, 0.5])
    """
    if not p_values or correction == "none":
        return list(p_values)
    if correction in ("bh", "by"):
        return [float(p) for p in stats.false_discovery_control(p_values, method=correction)]
    if correction != "holm":
        raise UsageError(f"unknown correction {correction!r}: one of {', '.join(CORRECTIONS)}.")
    order = np.argsort(p_values)
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted
