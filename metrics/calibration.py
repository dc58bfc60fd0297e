"""Calibration: does confidence equal accuracy?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from metrics.errors import MetricError


def expected_calibration_error(confidence: npt.ArrayLike, correct: npt.ArrayLike, *, bins: int = 15) -> float:
    """ECE: the gap between confidence and accuracy, weighted over bins of equal width.

    ECE = sum_b n_b / n |accuracy_b - mean confidence_b|; bins are [k/B, (k+1)/B), the last closed on the right.

    Args:
        confidence: probability of the predicted class [n], 0..1.
        correct: whether the prediction is right [n].
        bins: number of bins B.

    Raises:
        MetricError: shapes differ, a confidence outside 0..1, an answer neither true nor false, no images, no bins.

    Example:
        >>> round(expected_calibration_error([0.9, 0.9, 0.6, 0.6], [True, True, True, False]), 6)
        0.1

    Source: Guo et al., ICML 2017, equation 3.
    """
    p, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if p.ndim != 1 or p.shape != right.shape or p.size == 0:
        raise MetricError(f"expected two equal, non-empty vectors, found {p.shape} and {right.shape}.")
    if not bool(np.all((right == 0) | (right == 1))):
        raise MetricError("correct must say yes or no for each image, True or False.")
    if bins < 1:
        raise MetricError(f"the number of bins must be at least 1, not {bins}.")
    if not bool(np.all((p >= 0) & (p <= 1))):
        raise MetricError("confidences must be probabilities between 0 and 1.")
    which = np.minimum((p * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(which, weights=right - p, minlength=bins)
    return float(np.abs(gaps).sum() / p.size)
