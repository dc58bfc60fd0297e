"""Shift consistency."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from metrics.errors import MetricError


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
    a, b = np.asarray(first), np.asarray(second)
    if a.shape != b.shape or a.size == 0:
        raise MetricError(f"expected two equal, non-empty arrays of classes, found {a.shape} and {b.shape}.")
    return float(np.mean(a == b))
