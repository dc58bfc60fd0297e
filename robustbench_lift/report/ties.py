"""Which models are tied with the best, by paired comparison of the runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from robustbench_lift.report.marks import TIE_RULE
from robustbench_lift.report.schema import HEADLINES, Model
from robustbench_lift.runs import Run

if TYPE_CHECKING:
    import metrics
    from robustbench_lift.regression import Comparison

Ranked = tuple[Model, Run, "metrics.Baseline | None"]


def values(model: Model) -> Mapping[str, float | None]:
    """Every number of a model that is ranked, by metric key."""
    found = {key: value.value for key, value in model.headline.items()}
    for name, corruption in model.corruptions.items():
        found[f"ce/{name}"] = corruption.ce.value
        found[f"error/{name}"] = corruption.mean_error.value
    for name, perturbation in model.perturbations.items():
        found[f"fr/{name}"] = perturbation.fr.value
        found[f"fp/{name}"] = perturbation.flip_probability.value
    return found


def find_ties(
    models: Sequence[Ranked], *, replicates: int, confidence: float, seed: int
) -> tuple[dict[str, tuple[tuple[str, str], ...]], str]:
    """Pairs (best, other) whose paired difference has an interval that holds zero, by metric.

    Only the best of each metric is compared with the others of its group, and only complete runs are.

    Returns:
        the pairs, and the rule in words (empty when nothing was compared).
    """
    pairs: dict[str, list[tuple[str, str]]] = {}
    compared: dict[tuple[str, str], Comparison] = {}
    if replicates == 0:
        return {}, ""
    for group in dict.fromkeys(m.group for m, _, _ in models):
        members = {m.label: (m, run, baseline) for m, run, baseline in models if m.group == group and not m.missing}
        if len(members) < 2:
            continue
        table = {label: values(m) for label, (m, _, _) in members.items()}
        for metric in next(iter(table.values())):
            numbers = {label: v for label, row in table.items() if (v := row.get(metric)) is not None}
            if len(numbers) < 2:
                continue
            pick = max if HEADLINES.get(metric, "lower") == "higher" else min
            best = pick(numbers, key=lambda label: numbers[label])
            for other in numbers:
                if other == best:
                    continue
                key = (best, other) if best < other else (other, best)
                if key not in compared:
                    compared[key] = _compare(
                        members[key[0]], members[key[1]], replicates=replicates, confidence=confidence, seed=seed
                    )
                difference = compared[key].metrics.get(metric)
                if difference is not None and difference.low <= 0 <= difference.high:
                    pairs.setdefault(metric, []).append((best, other))
    rule = TIE_RULE.format(level=100 * confidence) if compared else ""
    return {metric: tuple(found) for metric, found in pairs.items()}, rule


def _compare(a: Ranked, b: Ranked, *, replicates: int, confidence: float, seed: int) -> Comparison:
    from robustbench_lift.regression import compare

    return compare(a[1], b[1], baseline=a[2], replicates=replicates, confidence=confidence, seed=seed)
