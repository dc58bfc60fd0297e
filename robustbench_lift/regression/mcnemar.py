"""McNemar's test of paired predictions, and how small a difference a test can see."""

from __future__ import annotations

import math

from scipy import stats


def mid_p_mcnemar(gained: int, lost: int) -> float:
    """Two-sided mid-p value of McNemar's test.

    Of the images on which two models disagree, `gained` became right and `lost` became wrong; under equality each
    disagreement is a fair coin. mid-p = 2 P(X < min) + P(X = min), X ~ Binomial(gained + lost, 1/2).

    Example:
        >>> round(mid_p_mcnemar(2, 10), 4)
        0.0225

    Source: Fagerland, Lydersen and Laake, BMC Medical Research Methodology 13:91, 2013, equation 9.
    """
    discordant = gained + lost
    if discordant == 0 or gained == lost:
        return 1.0
    coin = stats.binom(discordant, 0.5)
    fewer = min(gained, lost)
    return float(min(1.0, 2 * coin.cdf(fewer) - coin.pmf(fewer)))


def worse_mid_p(gained: int, lost: int) -> float:
    """One-sided mid-p value of "the candidate is worse": P(X > lost) + P(X = lost) / 2.

    Example:
        >>> round(worse_mid_p(2, 10), 4)
        0.0112
    """
    if gained + lost == 0:
        return 1.0
    coin = stats.binom(gained + lost, 0.5)
    return float(coin.sf(lost) + coin.pmf(lost) / 2)


def detectable_difference(images: int, discordant: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest paired difference in error that a two-sided test finds with the given power.

    delta = (z_{1 - alpha/2} + z_power) sqrt(p_discordant / n).

    Args:
        images: number of images n.
        discordant: share of images on which the two models disagree, 0..1.
        alpha: level of the test.
        power: probability of finding the difference.

    Returns:
        A difference of errors, fraction.

    Example:
        >>> round(100 * detectable_difference(5000, 0.06), 2)
        0.97
    """
    z = float(stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power))
    return z * math.sqrt(discordant / images)
