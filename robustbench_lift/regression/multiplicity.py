"""Many tests at once: p-values corrected for their number, and the verdicts that follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
from scipy import stats

from robustbench_lift.errors import unknown
from robustbench_lift.regression.difference import Difference

Correction = Literal["bh", "by", "holm", "none"]
CORRECTIONS = get_args(Correction)


def adjust(p_values: Sequence[float], correction: str) -> list[float]:
    """p-values corrected for their number.

    bh: Benjamini and Hochberg, false discovery rate, valid under the positive dependence that shared images give;
    by: Benjamini and Yekutieli, under any dependence; holm: family-wise error under any dependence.

    Raises:
        UsageError: another name.

    Example:
        >>> adjust([0.01, 0.02, 0.5], "holm"), adjust([0.01, 0.02, 0.5], "bh")
        ([0.03, 0.04, 0.5], [0.03, 0.03, 0.5])
    """
    if correction not in CORRECTIONS:
        raise unknown("correction", correction, CORRECTIONS)
    if not p_values or correction == "none":
        return list(p_values)
    if correction in ("bh", "by"):
        return [float(p) for p in stats.false_discovery_control(p_values, method=correction)]
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def judged(found: Mapping[str, Difference], *, alpha: float, correction: str) -> dict[str, Difference]:
    """Correct the p-values of tests that are made together, and say which differences count.

    A difference counts when it is larger than its margin *and* its corrected p-value is below alpha.
    """
    worse = adjust([one.p_value for one in found.values()], correction)
    better = adjust([one.p_improved for one in found.values()], correction)
    result = {}
    for (name, one), p, q in zip(found.items(), worse, better, strict=True):
        verdict = "same"
        if p < alpha and one.worsening > one.margin:
            verdict = "regressed"
        elif q < alpha and -one.worsening > one.margin:
            verdict = "improved"
        result[name] = replace(one, p_adjusted=p, p_improved_adjusted=q, verdict=verdict)
    return result


def judged_by_family(found: Mapping[str, Difference], *, alpha: float, correction: str) -> dict[str, Difference]:
    """`judged` for headline numbers, CE, FR and so on apart: the CE of fog repeats the error of fog."""
    families: dict[str, dict[str, Difference]] = {}
    for name, one in found.items():
        families.setdefault(name.partition("/")[0] if "/" in name else "", {})[name] = one
    result: dict[str, Difference] = {}
    for members in families.values():
        result |= judged(members, alpha=alpha, correction=correction)
    return {name: result[name] for name in found}
