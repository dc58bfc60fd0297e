"""Bootstrap of means, clustered by image or clip: whole rows are drawn, so everything of an image stays together."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

import metrics
from robustbench_lift.runs import Run
from robustbench_lift.scores.evidence import Evidence, Key, Rows, evidence_of
from robustbench_lift.scores.measures import Array, Bins

K = TypeVar("K", bound=Hashable)
Replicates = Mapping[str, Array]
"""Bootstrap replicates [R] of numbers, by name."""

CHUNK = 4_000_000
"""Draws held at once, so that memory does not grow with replicates x images and counts stay in a cache."""
EXACT = 1 << 24
"""Whole numbers below this are exact in single precision."""


class Interval(NamedTuple):
    """A confidence interval; fractions."""

    low: float
    """Lower end."""
    high: float
    """Upper end."""


def resample(rows: Mapping[K, Rows], *, replicates: int, seed: int) -> dict[K, Array]:
    """Means of bootstrap samples of rows over the same n images: {key: [replicates] or [replicates, k]}.

    Every replicate draws n rows with replacement, once for all keys, so numbers of one image set stay paired. The draw
    is a count of each row, and all means are products of counts [replicates, n] and rows [n, columns]. Draws depend on
    the seed and n alone.

    Example:
        >>> means = resample({"a": np.array([0.0, 1.0])}, replicates=4, seed=0)["a"]
        >>> means.shape, bool(np.all((means >= 0) & (means <= 1)))
        ((4,), True)

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 6.
    """
    n = len(next(_arrays(rows.values())))
    plain = {key: one for key, one in rows.items() if not isinstance(one, Bins)}
    binned = {key: one for key, one in rows.items() if isinstance(one, Bins)}
    parts = [_single(one.reshape(n, -1)) for one in plain.values()]
    values = np.concatenate([part for part, _ in parts], axis=1) if parts else np.empty((n, 0), dtype=np.float32)
    centre = np.concatenate([part for _, part in parts]) if parts else np.empty(0)
    sums = np.empty((replicates, values.shape[1]), dtype=np.float64)
    found: dict[K, Array] = {key: np.empty((replicates, one.bins)) for key, one in binned.items()}
    rng = np.random.default_rng(seed)
    step = max(1, CHUNK // n)
    for start in range(0, replicates, step):
        drawn = rng.integers(0, n, size=(min(step, replicates - start), n), dtype=np.int32)
        counts = np.empty(drawn.shape, dtype=np.float32)
        for row, picked in zip(counts, drawn, strict=True):
            row[:] = np.bincount(picked, minlength=n)
        here = slice(start, start + len(counts))
        sums[here] = counts @ values
        for key, one in binned.items():
            found[key][here] = counts @ one.dense() / n
    means, column = centre + sums / n, 0
    for key, dense in plain.items():
        width = dense[0].size
        found[key] = means[:, column : column + width].reshape(replicates, *dense.shape[1:])
        column += width
    return found


def percentile_interval(means: Array, confidence: float) -> Interval:
    """The interval that holds the central `confidence` of the replicates.

    Replicates in which the number is undefined (NaN: no image that was drawn has a pixel of the class) are left out;
    at least one must be defined.

    >>> percentile_interval(np.array([0.0, 0.5, float("nan"), 1.0]), 1.0)
    Interval(low=0.0, high=1.0)
    """
    tail = (1 - confidence) / 2
    low, high = np.quantile(means[~np.isnan(means)], [tail, 1 - tail])
    return Interval(float(low), float(high))


def percentile_intervals(replicates: Replicates, confidence: float) -> dict[str, Interval]:
    """The interval of each number that is defined in some replicate."""
    defined = {name: means for name, means in replicates.items() if not np.isnan(means).all()}
    return {name: percentile_interval(means, confidence) for name, means in defined.items()}


def replicated(
    evidence: Sequence[Evidence], normaliser: metrics.Baseline | None, *, replicates: int, seed: int
) -> list[dict[str, Array]]:
    """Bootstrap replicates of every number of runs over the same images, for each run; all see the same draws."""
    rows = [one.rows() for one in evidence]
    groups: dict[int, dict[tuple[int, Key], Rows]] = {}
    for k, found in enumerate(rows):
        for key, one in found.items():
            groups.setdefault(len(next(_arrays([one]))), {})[k, key] = one
    means: list[dict[Key, Array]] = [{} for _ in evidence]
    for group in groups.values():
        for (k, key), mean in resample(group, replicates=replicates, seed=seed).items():
            means[k][key] = mean
    return [one.resampled(found, normaliser) for one, found in zip(evidence, means, strict=True)]


def intervals(
    run: Run,
    *,
    normaliser: metrics.Baseline | None,
    replicates: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    numbers: Collection[str] | None = None,
) -> dict[str, Interval]:
    """Bootstrap intervals of a run's numbers, images or clips drawn with replacement, the normaliser fixed.

    Args:
        run: a run; numbers that lack a cell have no interval.
        normaliser: what CE and FR are divided by, or None.
        replicates: bootstrap samples.
        confidence: level, 0..1.
        seed: seed of the draws.
        numbers: keys of `NUMBERS`; all but the calibration errors unless given, because theirs take a minute at
            ImageNet's size.

    Returns:
        {headline number, ce/<corruption>, error/<corruption>, fr/<perturbation>, fp/<perturbation>: Interval}.
    """
    evidence = evidence_of(run, numbers=numbers, bins=numbers is not None)
    (found,) = replicated([evidence], normaliser, replicates=replicates, seed=seed)
    return percentile_intervals(found, confidence)


def _arrays(rows: Iterable[Rows]) -> Iterator[npt.NDArray[Any]]:
    return (one.column if isinstance(one, Bins) else one for one in rows)


def _single(rows: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float32], Array]:
    """Rows in single precision and what was taken from them, so that sums keep the digits that matter."""
    if rows.dtype.kind in "biu" and len(rows) * int(rows.max(initial=0)) < EXACT:
        return rows.astype(np.float32), np.zeros(rows.shape[1])
    centre = np.asarray(rows.mean(axis=0), dtype=np.float64)
    return (rows - centre).astype(np.float32), centre
