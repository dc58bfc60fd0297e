"""Tests of paired predictions and of means, their correction for number, and how small a difference a test can see."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from robustbench_lift.errors import unknown
from robustbench_lift.regression.policy import CORRECTIONS
from robustbench_lift.scores.bootstrap import Interval

POWER = float(stats.norm.ppf(0.975) + stats.norm.ppf(0.8))
"""Standard errors that a difference must measure to be found with 80 % power at level 0.05, two-sided."""


def worse_p(gained: int, lost: int, images: int, *, margin: float = 0.0) -> float:
    """One-sided p-value of "the candidate's error is higher by more than the margin".

    Without a margin the mid-p of McNemar's test, P(X > lost) + P(X = lost) / 2. With a margin m the score test

        z = (lost - gained - n m) / sqrt(n (2 q + m (1 - m)))

    where q, the probability of a gain, is the likelihood's maximum under a loss of exactly m: the positive root of
    2n q^2 + (m (2n - lost + gained) - lost - gained) q - gained m (1 - m) = 0.

    Args:
        gained: images that became right.
        lost: images that became wrong.
        images: all images n.
        margin: tolerated difference of errors m, fraction.

    Example:
        >>> round(worse_p(2, 10, 100), 4), round(worse_p(2, 10, 100, margin=0.02), 4)
        (0.0112, 0.0351)

    Source: Fagerland, Lydersen and Laake, BMC Medical Research Methodology 13:91, 2013 (mid-p); Tango, Statistics in
    Medicine 17:891-908, 1998 (margin).
    """
    if margin == 0:
        if gained + lost == 0:
            return 1.0
        discordant = gained + lost
        return float(stats.binom.sf(lost, discordant, 0.5) + stats.binom.pmf(lost, discordant, 0.5) / 2)
    a, b = 2 * images, margin * (2 * images - lost + gained) - lost - gained
    c = -gained * margin * (1 - margin)
    q = (math.sqrt(b * b - 4 * a * c) - b) / (2 * a)
    spread = math.sqrt(images * (2 * q + margin * (1 - margin)))
    return float(stats.norm.sf((lost - gained - images * margin) / spread))


def paired_interval(gained: int, lost: int, images: int, z: float) -> Interval:
    """Interval of a paired difference in error, with one more gain and one more loss than were seen.

    (b - c) / m -+ z sqrt(((b + c) / m - ((b - c) / m)^2) / m), b = lost + 1, c = gained + 1, m = images + 2. Unlike the
    plain one it has a width when the two models never disagree.

    Args:
        gained: images that became right.
        lost: images that became wrong.
        images: all images.
        z: quantile of the normal law, 1.96 for 95 %.

    Example:
        >>> low, high = paired_interval(2, 10, 100, 1.96)
        >>> round(low, 4), round(high, 4)
        (0.0082, 0.1487)

    Source: Bonett and Price, Journal of Educational and Behavioral Statistics 37:479-488, 2012.
    """
    m = images + 2
    centre = (lost - gained) / m
    half = z * math.sqrt(((lost + gained + 2) / m - centre**2) / m)
    return Interval(max(-1.0, centre - half), min(1.0, centre + half))


def detectable_difference(images: int, discordant: float) -> float:
    """The smallest paired difference in error that a two-sided test at level 0.05 finds with 80 % power.

    delta = (z_0.975 + z_0.8) sqrt(p_discordant / n).

    Args:
        images: number of images n.
        discordant: share of images on which the two models disagree, 0..1.

    Returns:
        A difference of errors, fraction.

    Example:
        >>> round(100 * detectable_difference(5000, 0.06), 2)
        0.97
    """
    return POWER * math.sqrt(discordant / images)


def mean_p(excess: float, error: float, n: int) -> float:
    """One-sided p-value of "a mean over n images is above zero": Student's t with n - 1 degrees of freedom.

    Images that all differ by the same amount have no spread to divide by: then the sign test's 2^-n.
    """
    if not error > 0:
        return 1.0 if excess <= 0 or n < 2 else 0.5 ** min(n, 1000)
    return float(stats.t.sf(excess / error, n - 1))


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


def p_words(p: float) -> str:
    """A p-value as printed: what is smaller than any test can vouch for is not given digits.

    >>> p_words(0.0123), p_words(1e-80)
    ('0.012', '<1e-6')
    """
    return "<1e-6" if p < 1e-6 else f"{p:.2g}"
