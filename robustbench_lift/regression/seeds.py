"""Another training: Welch's t over the seeds of each side, never a verdict from one seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from robustbench_lift.errors import UsageError
from robustbench_lift.regression.comparison import Comparison, Difference, comparable, judged_by_family
from robustbench_lift.regression.paired import compared_numbers
from robustbench_lift.regression.policy import Policy
from robustbench_lift.runs import Run
from robustbench_lift.scores.evidence import evidence_of
from robustbench_lift.scores.numbers import sign
from robustbench_lift.scores.scoring import normaliser_of


def compare_seeds(
    before: Sequence[Run], after: Sequence[Run], policy: Policy, *, allow_protocol_diff: bool = False
) -> Comparison:
    """The means over seeds of two trainings, number by number.

    Raises:
        IncomparableError: signatures or image sets differ between any of the runs.
        UsageError: a side holds the same weights twice, which are one seed and not two.
    """
    notes: tuple[str, ...] = ()
    for other in (*before[1:], *after):
        notes += comparable(before[0], other, allow_protocol_diff=allow_protocol_diff)
    for side in (before, after):
        _distinct(side)
    divisor = normaliser_of(before[0])
    wanted = compared_numbers(policy.metrics)
    tables = [[evidence_of(run, numbers=wanted).values(divisor) for run in side] for side in (before, after)]
    known = [set.intersection(*(set(row) for row in side)) for side in tables]
    both = known[0] & known[1]
    found = {}
    for name in tables[0][0]:
        if name in both:
            a, b = ([row[name] for row in side] for side in tables)
            found[name] = welch(name, a, b, margin=policy.fractions().get(name, 0.0), confidence=policy.confidence)
    return Comparison(
        baseline=f"{before[0].name} ({_seeds(before)})",
        candidate=f"{after[0].name} ({_seeds(after)})",
        signature=before[0].signature,
        metrics=judged_by_family(found, alpha=policy.alpha, correction=policy.correction),
        one_sided=tuple(sorted(set.union(*(set(row) for side in tables for row in side)) - both)),
        lacking=tuple(
            sorted({c for r in before for c in r.manifest.cells} - {c for r in after for c in r.manifest.cells})
        ),
        alpha=policy.alpha,
        correction=policy.correction,
        confidence=policy.confidence,
        sources={
            f"{side} weights sha256": ", ".join(str(run.manifest.model.get("weights_sha256")) for run in runs)
            for side, runs in (("baseline", before), ("candidate", after))
        },
        notes=tuple(dict.fromkeys(notes)),
    )


def welch(name: str, a: Sequence[float], b: Sequence[float], *, margin: float, confidence: float) -> Difference:
    """Welch's t of a number over seeds; with one seed on a side nothing is known of its spread, and p is 1.

    Example:
        >>> one = welch("mce", [0.70, 0.71, 0.72], [0.75, 0.76, 0.77], margin=0.0, confidence=0.95)
        >>> round(one.delta, 6), round(one.p_value, 4)
        (0.05, 0.0018)

    Source: Welch, Biometrika 34:28-35, 1947.
    """
    before, after = np.asarray(a), np.asarray(b)
    delta = float(after.mean() - before.mean())
    unknown = Difference(
        name=name,
        baseline=float(before.mean()),
        candidate=float(after.mean()),
        margin=margin,
        low=-math.inf,
        high=math.inf,
        p_value=1.0,
        p_improved=1.0,
    )
    if len(before) < 2 or len(after) < 2:
        return unknown
    parts = before.var(ddof=1) / len(before), after.var(ddof=1) / len(after)
    error = math.sqrt(sum(parts))
    worse = sign(name) * delta
    if error == 0:
        return replace(
            unknown,
            low=delta,
            high=delta,
            p_value=float(worse <= margin),
            p_improved=float(-worse <= margin),
            detectable=0.0,
        )
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (len(before) - 1) + parts[1] ** 2 / (len(after) - 1))
    law = stats.t(freedom)
    half = float(law.ppf(0.5 + confidence / 2)) * error
    return replace(
        unknown,
        low=delta - half,
        high=delta + half,
        p_value=float(law.sf((worse - margin) / error)),
        p_improved=float(law.sf((-worse - margin) / error)),
        detectable=float(law.ppf(0.975) + law.ppf(0.8)) * error,
    )


def _distinct(runs: Sequence[Run]) -> None:
    seen: dict[object, Run] = {}
    for run in runs:
        sha = run.manifest.model.get("weights_sha256") or run.path.resolve()
        if sha in seen:
            raise UsageError(
                f"{seen[sha].path} and {run.path} are the same weights: one seed given twice. Give each seed once."
            )
        seen[sha] = run


def _seeds(runs: Sequence[Run]) -> str:
    return f"{len(runs)} seeds" if len(runs) > 1 else "1 seed"
