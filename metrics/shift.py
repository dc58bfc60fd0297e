"""Shift consistency."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from metrics.errors import MetricError, classes, true_classes


def consistency(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Share of pairs of shifted windows whose top-1 classes agree.

    Args:
        first: classes of one window of each pair, integers, any shape.
        second: classes of the other windows, the same shape.

    Raises:
        MetricError: shapes differ, or there are no pairs.

    Example:
        >>> consistency([1, 2, 3, 4], [1, 2, 0, 4])
        0.75

    Source: Zhang, ICML 2019, section 4.1.
    """
    a, b = classes(first, "predictions"), classes(second, "predictions")
    if a.shape != b.shape or a.size == 0:
        raise MetricError(f"expected two equal, non-empty arrays of classes, found {a.shape} and {b.shape}.")
    return float(np.mean(a == b))


def consistency_among_correct(first: npt.ArrayLike, second: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Consistency among the pairs whose first window is classified correctly.

    Agreement rises with accuracy alone; this number takes that away.

    Args:
        first: classes of one window of each pair [n] or [n, pairs], integers.
        second: classes of the other windows, the same shape.
        labels: true classes [n], integers.

    Raises:
        MetricError: shapes differ, or no first window is right.

    Example:
        >>> consistency_among_correct([1, 2, 3, 4], [1, 2, 0, 0], [1, 2, 3, 9])
        0.6666666666666666
    """
    a, b, true = classes(first, "predictions"), classes(second, "predictions"), true_classes(labels)
    if a.shape != b.shape or true.shape != a.shape[:1] or true.ndim != 1:
        raise MetricError(
            f"expected two arrays [n] or [n, pairs] and labels [n], found {a.shape}, {b.shape}, {true.shape}."
        )
    right = a == true.reshape(-1, *([1] * (a.ndim - 1)))
    if not right.any():
        raise MetricError("no first window is classified correctly: there is nothing to average over.")
    return float(np.mean(a[right] == b[right]))
