"""Calibration: does confidence equal accuracy?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from metrics.errors import MetricError, reals, whole

BINS = 15
"""Bins of equal width in calibration errors and reliability diagrams (Guo et al., ICML 2017, use 15)."""


def bin_index(confidence: npt.ArrayLike, *, bins: int = BINS) -> npt.NDArray[np.int64]:
    """The bin of each confidence: [k/B, (k+1)/B), the last closed on the right.

    >>> bin_index(np.array([0.0, 0.5, 1.0]), bins=10)
    array([0, 5, 9])
    """
    return np.minimum((reals(confidence, "confidence") * bins).astype(np.int64), bins - 1)


def calibration_bins(confidence: npt.ArrayLike, correct: npt.ArrayLike, *, bins: int = BINS) -> npt.NDArray[np.float64]:
    """Sums over the predictions of each bin, [3, B]: their number, their confidence, how many are right.

    Sums of parts add up to the sums of the whole; `binned_calibration_error` makes the ECE of them.

    Args:
        confidence: probability of the predicted class [n], 0..1.
        correct: whether the prediction is right [n].
        bins: number of bins B.

    Raises:
        MetricError: shapes differ, a confidence outside 0..1, an answer neither true nor false, no images, no bins.

    Example:
        >>> calibration_bins([0.9, 0.8, 0.2], [True, False, True], bins=2)[0]
        array([1., 2.])
    """
    p, right = reals(confidence, "confidence"), reals(correct, "correct")
    if p.ndim != 1 or p.shape != right.shape or p.size == 0:
        raise MetricError(f"expected two equal, non-empty vectors, found {p.shape} and {right.shape}.")
    if not bool(np.all((right == 0) | (right == 1))):
        raise MetricError("correct must say yes or no for each image, True or False.")
    bins = whole(bins, "the number of bins")
    if not bool(np.all((p >= 0) & (p <= 1))):
        raise MetricError("confidences must be probabilities between 0 and 1.")
    which = bin_index(p, bins=bins)
    return np.stack([np.bincount(which, weights=weights, minlength=bins) for weights in (None, p, right)])


def binned_calibration_error(sums: npt.ArrayLike) -> float:
    """ECE out of the sums of `calibration_bins`: sum_b |right_b - confidence_b| / n.

    Raises:
        MetricError: other sums than [3, B], or of no images.

    Example:
        >>> binned_calibration_error(calibration_bins([0.9, 0.9], [True, False]))
        0.4
    """
    found = reals(sums, "sums")
    if found.ndim != 2 or len(found) != 3:
        raise MetricError(f"expected the sums of calibration_bins, [3, B], found {list(found.shape)}.")
    count, confidence, right = found
    if not count.sum() > 0:
        raise MetricError("there are no images: a calibration error needs at least one.")
    return float(np.abs(right - confidence).sum() / count.sum())


def expected_calibration_error(confidence: npt.ArrayLike, correct: npt.ArrayLike, *, bins: int = BINS) -> float:
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
    return binned_calibration_error(calibration_bins(confidence, correct, bins=bins))
