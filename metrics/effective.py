"""Effective robustness: accuracy under a shift beyond what accuracy without it predicts.

    rho = accuracy under shift - line(accuracy),    logit(line(a)) = slope * logit(a) + intercept

The line is fitted to reference networks, usually trained in the standard way, and must be named beside every value.

Source: Taori et al., "Measuring Robustness to Natural Distribution Shifts in Image Classification", NeurIPS 2020,
section 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metrics.errors import ROUNDING, MetricError, fraction, number


@dataclass(frozen=True, slots=True)
class AccuracyLine:
    """What accuracy under a shift is expected of an accuracy without it, linear between logits."""

    slope: float
    """Change of logit under shift for a change of logit without."""
    intercept: float
    """Logit under shift at an accuracy of one half."""
    source: str
    """The networks it was fitted to, or the publication that it is from."""

    def __call__(self, accuracy: float) -> float:
        """The expected accuracy, a fraction.

        >>> AccuracyLine(1.0, 0.0, "none")(0.75)
        0.75
        """
        logit = number(self.slope, "slope") * _logit(accuracy) + number(self.intercept, "intercept")
        return (1 + math.tanh(logit / 2)) / 2  # the logistic function, without overflow


def fit_accuracy_line(accuracies: Sequence[float], shifted: Sequence[float], *, source: str) -> AccuracyLine:
    """The line through reference networks, least squares between logits.

    Args:
        accuracies: of each network without the shift, fractions between 0 and 1.
        shifted: of the same networks under it.
        source: which networks these are.

    Raises:
        MetricError: fewer than two different accuracies, or one of 0 or 1, whose logit is infinite.

    >>> line = fit_accuracy_line([0.5, 0.75, 0.9], [0.5, 0.75, 0.9], source="three networks")
    >>> round(line.slope, 6), abs(round(line.intercept, 6))
    (1.0, 0.0)
    """
    given, under = [_logit(a) for a in accuracies], [_logit(a) for a in shifted]
    if len(given) != len(under) or not given or max(given) - min(given) < ROUNDING:
        raise MetricError(
            f"a line needs at least two networks of different accuracy, each without and under the shift; found "
            f"{len(set(given))} accuracies and {len(under)} under the shift."
        )
    slope, intercept = np.polyfit(given, under, 1)
    return AccuracyLine(float(slope), float(intercept), source)


def effective_robustness(accuracy: float, shifted: float, line: AccuracyLine) -> float:
    """rho = shifted - line(accuracy), a fraction; above zero is more robust than the reference networks.

    Raises:
        MetricError: an accuracy that is no fraction.

    >>> effective_robustness(0.75, 0.8, AccuracyLine(1.0, 0.0, "none"))  # doctest: +ELLIPSIS
    0.05...
    """
    return fraction(shifted, "accuracy under the shift") - line(accuracy)


def _logit(accuracy: float) -> float:
    if not 0 < number(accuracy, "accuracy") < 1:
        raise MetricError(
            f"an accuracy of {accuracy} has no logit: expected a fraction between 0 and 1, both excluded."
        )
    return float(np.log(accuracy / (1 - accuracy)))
