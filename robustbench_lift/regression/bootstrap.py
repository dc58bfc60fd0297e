"""Bootstrap of means, clustered by image or clip: whole rows are drawn, so everything of an image stays together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Replicates = npt.NDArray[np.float64]

CHUNK = 4_000_000
"""Draws held at once, so that memory does not grow with replicates x images and counts stay in a cache."""


class Interval(NamedTuple):
    """A confidence interval; fractions."""

    low: float
    """Lower end."""
    high: float
    """Upper end."""


def resample(vectors: Mapping[str, Vector], *, replicates: int, seed: int) -> dict[str, Replicates]:
    """Means of bootstrap samples of vectors of equal length: {name: [replicates]}.

    Every replicate draws n rows with replacement, once for all vectors, so numbers of one image set stay paired. The
    draw is a count of each row, and all means are one product of counts [replicates, n] and values [n, names]. Draws
    depend on the seed and n alone.

    Example:
        >>> means = resample({"a": np.array([0.0, 1.0])}, replicates=4, seed=0)["a"]
        >>> means.shape, bool(np.all((means >= 0) & (means <= 1)))
        ((4,), True)

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 6.
    """
    names = list(vectors)
    n = len(vectors[names[0]])
    stacked = np.stack([vectors[name] for name in names], axis=1)
    centre = stacked.mean(axis=0)
    values = (stacked - centre).astype(np.float32)  # centred, so that float32 sums keep the digits that matter
    rng = np.random.default_rng(seed)
    step = max(1, CHUNK // n)
    sums = np.empty((replicates, len(names)), dtype=np.float64)
    for start in range(0, replicates, step):
        rows = min(step, replicates - start)
        drawn = rng.integers(0, n, size=(rows, n), dtype=np.int32)
        counts = np.empty((rows, n), dtype=np.float32)
        for row in range(rows):
            counts[row] = np.bincount(drawn[row], minlength=n)
        sums[start : start + rows] = counts @ values
    means = centre + sums / n
    return {name: means[:, k] for k, name in enumerate(names)}


def percentile_interval(means: Replicates, confidence: float) -> Interval:
    """The interval that holds the central `confidence` of the replicates."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(low), float(high))


def grouped(vectors: Mapping[str, Vector]) -> list[dict[str, Vector]]:
    """Vectors by length: numbers over images and numbers over clips are drawn apart."""
    by_length: dict[int, dict[str, Vector]] = {}
    for name, vector in vectors.items():
        by_length.setdefault(len(vector), {})[name] = vector
    return list(by_length.values())
