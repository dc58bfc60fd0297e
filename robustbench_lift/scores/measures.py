"""Measures: what a number takes from one cell, one row an image (or clip).

A measure gets the cell and its predictions and returns rows [n] or [n, k], or None where the cell does not hold what
it needs. The functions of `metrics` are means of such rows.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import metrics
from robustbench_lift.runs import Cell, Predictions
from robustbench_lift.runs.cells import TOP

Array = npt.NDArray[np.float64]


class Counts(NamedTuple):
    """Rows as counts: `rows` of `total` an image, so that sums over cells stay whole numbers."""

    rows: npt.NDArray[Any]
    """[n] or [n, k] counts of each image (or clip)."""
    total: int
    """What a count is out of: frame pairs of a clip, for example."""


class Bins(NamedTuple):
    """Rows of which each has one entry that is not zero: image i has `gap[i]` in column `column[i]` of `bins`."""

    column: npt.NDArray[np.uint8]
    """[n] column of each image."""
    gap: npt.NDArray[np.floating]
    """[n] what stands there."""
    bins: int
    """Number of columns."""

    def sums(self) -> Array:
        """[bins] sums over images."""
        return np.bincount(self.column, weights=self.gap, minlength=self.bins).astype(np.float64)

    def dense(self) -> npt.NDArray[np.float32]:
        """[n, bins] all entries."""
        rows = np.zeros((len(self.column), self.bins), dtype=np.float32)
        rows[np.arange(len(self.column)), self.column] = self.gap
        return rows


Measured = npt.NDArray[Any] | Counts | Bins


def wrong(cell: Cell, predictions: Predictions) -> Measured:
    """Whether the top-1 class is not the label."""
    return np.asarray(predictions.top5[:, 0, 0] != predictions.labels)


def outside_top5(cell: Cell, predictions: Predictions) -> Measured | None:
    """Whether the label is not among the first five; nothing where there are no more than five classes."""
    if predictions.top5[:, 0].max(initial=0) < TOP:
        return None
    return metrics.outside_topk(predictions.top5[:, 0], predictions.labels)


def flips(cell: Cell, predictions: Predictions) -> Measured:
    """Compared frame pairs of a clip whose class differs; difficulty is the stride, but for noise."""
    noise = metrics.is_noise(cell.condition)
    changed = metrics.class_changes(predictions.top5[..., 0], noise=noise, step=1 if noise else cell.severity)
    return Counts(changed.sum(axis=1, dtype=np.int32), changed.shape[1])


def moves(cell: Cell, predictions: Predictions) -> Measured:
    """Top-5 distance of a clip's frame pairs."""
    noise = metrics.is_noise(cell.condition)
    moved = metrics.top5_moves(predictions.top5, noise=noise, step=1 if noise else cell.severity)
    return Counts(moved.sum(axis=1, dtype=np.int32), moved.shape[1])


def agreements(cell: Cell, predictions: Predictions) -> Measured:
    """Window pairs of an image with the same class."""
    first, second = window_pairs(predictions.top5[..., 0], cell.condition)
    return Counts((first == second).sum(axis=1, dtype=np.int32), first.shape[1])


def agreements_of_correct(cell: Cell, predictions: Predictions) -> Measured:
    """Window pairs whose first window is right [n, 2]: those with the same class, and all."""
    first, second = window_pairs(predictions.top5[..., 0], cell.condition)
    right = first == predictions.labels[:, None]
    return np.stack(
        [(right & (first == second)).sum(axis=1, dtype=np.int32), right.sum(axis=1, dtype=np.int32)], axis=1
    )


def calibration(cell: Cell, predictions: Predictions) -> Measured:
    """Right or not, minus confidence, in the bin of the confidence."""
    confidence = predictions.confidence[:, 0]
    right = predictions.top5[:, 0, 0] == predictions.labels
    index = metrics.bin_index(confidence).astype(np.uint8)
    return Bins(index, right - confidence.astype(np.float64), metrics.BINS)


def negative_log_likelihood(cell: Cell, predictions: Predictions) -> Measured | None:
    """-log of the label's probability; unknown in runs that do not store it."""
    stored = predictions.label_probability
    if stored is None:
        return None
    # a probability that float32 rounds to zero counts as its smallest number, 1.4e-45
    smallest = float(np.finfo(np.float32).smallest_subnormal)
    return np.asarray(-np.log(np.maximum(stored[:, 0].astype(np.float64), smallest)))


def brier_score(cell: Cell, predictions: Predictions) -> Measured | None:
    """sum_k (p_k - [k is the label])^2 = sum_k p_k^2 - 2 p_label + 1; unknown in runs that do not store it."""
    label, squared = predictions.label_probability, predictions.squared_probability
    if label is None or squared is None:
        return None
    return np.asarray(squared[:, 0].astype(np.float64) - 2 * label[:, 0].astype(np.float64) + 1)


def window_pairs(
    classes: npt.NDArray[np.integer], mode: str
) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]:
    """First and second windows [n, pairs] of a shift cell: neighbours, or every pair of the diagonal.

    >>> window_pairs(np.array([[4, 4, 7, 4]]), "crop")
    (array([[4, 7]]), array([[4, 4]]))
    """
    if mode == "diagonal":
        pairs = np.array(list(combinations(range(classes.shape[1]), 2)))
        return classes[:, pairs[:, 0]], classes[:, pairs[:, 1]]
    return classes[:, 0::2], classes[:, 1::2]
