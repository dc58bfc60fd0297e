"""Intervals, and which models are tied with the best: one bootstrap in which every model sees the same draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy.typing as npt

from robustbench_lift.report.schema import Model
from robustbench_lift.tables.marks import TIE_RULE

if TYPE_CHECKING:
    import numpy as np

    import metrics
    from robustbench_lift.scores import Evidence, Interval

    Replicates = Mapping[str, npt.NDArray[np.float64]]
    """Bootstrap replicates [R] of every number of a model."""


def replicates_of(evidence: Evidence, baseline: metrics.Baseline | None, *, replicates: int, seed: int) -> Replicates:
    """Bootstrap replicates of every number of a run of which every cell is there; none when `replicates` is 0.

    The draws depend on the seed and the number of images alone, so runs over the same images are resampled together.
    """
    from robustbench_lift.scores import replicated

    return replicated([evidence], baseline, replicates=replicates, seed=seed)[0] if replicates else {}


def spans(drawn: Replicates, *, confidence: float) -> dict[str, Interval]:
    """The interval of every number: what `robustbench_lift.scores.intervals` gives."""
    from robustbench_lift.scores import percentile_interval

    return {name: percentile_interval(means, confidence) for name, means in drawn.items()}


def values(model: Model) -> Mapping[str, float | None]:
    """Every number of a model that is ranked, by metric key."""
    found = {key: value.value for key, value in model.headline.items()}
    for name, corruption in model.corruptions.items():
        found[f"ce/{name}"] = corruption.ce.value
        found[f"error/{name}"] = corruption.mean_error.value
    for name, perturbation in model.perturbations.items():
        found[f"fr/{name}"] = perturbation.fr.value
        found[f"fp/{name}"] = perturbation.flip_probability.value
        found[f"top5_distance/{name}"] = perturbation.top5_distance.value
    return found


def find_ties(
    models: Sequence[tuple[Model, Replicates]], *, confidence: float
) -> tuple[dict[str, tuple[tuple[str, str], ...]], str]:
    """Pairs (best, other) whose paired difference has an interval that holds zero, by metric.

    Only the best of each metric is compared, with the others of its group.

    Returns:
        the pairs, and the rule in words (empty when nothing was compared).
    """
    from robustbench_lift.scores import number_of, percentile_interval

    pairs: dict[str, list[tuple[str, str]]] = {}
    compared = False
    for group in dict.fromkeys(m.group for m, _ in models):
        members = {m.label: (values(m), drawn) for m, drawn in models if m.group == group}
        for metric in dict.fromkeys(name for _, drawn in members.values() for name in drawn):
            numbers = {
                k: v for k, (row, drawn) in members.items() if (v := row.get(metric)) is not None and metric in drawn
            }
            if len(numbers) < 2:
                continue
            compared = True
            pick = max if number_of(metric).direction == "higher" else min
            best = pick(numbers, key=lambda label: numbers[label])
            for other in numbers:
                if other != best:
                    low, high = percentile_interval(members[other][1][metric] - members[best][1][metric], confidence)
                    if low <= 0 <= high:
                        pairs.setdefault(metric, []).append((best, other))
    rule = TIE_RULE.format(level=100 * confidence) if compared else ""
    return {metric: tuple(found) for metric, found in pairs.items()}, rule
