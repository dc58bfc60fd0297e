"""Errors by class, and which classes are taken for which."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from metrics.errors import MetricError, reals, whole
from metrics.errors import classes as class_indices


def confusion_counts(labels: npt.ArrayLike, predictions: npt.ArrayLike, classes: int) -> npt.NDArray[np.int64]:
    """How often each class was answered for each class.

    Args:
        labels: [n] class indices.
        predictions: [n] top-1 classes.
        classes: K.

    Returns:
        [K, K] counts: row the label, column the answer.

    Raises:
        MetricError: other lengths, or an index outside 0..K-1.

    >>> confusion_counts([0, 0, 1], [0, 1, 1], 2).tolist()
    [[1, 1], [0, 1]]
    """
    label, answer = class_indices(labels, "labels"), class_indices(predictions, "predictions")
    classes = whole(classes, "the number of classes")
    if label.shape != answer.shape or label.ndim != 1:
        raise MetricError(
            f"labels and predictions must be [n] both, found {list(label.shape)} and {list(answer.shape)}."
        )
    if label.size and not (min(label.min(), answer.min()) >= 0 and max(label.max(), answer.max()) < classes):
        raise MetricError(f"classes must be 0 to {classes - 1}.")
    place = label.astype(np.int64) * classes + answer.astype(np.int64)
    return np.bincount(place, minlength=classes * classes).reshape(classes, classes)


def class_errors(counts: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Top-1 error of each class out of confusion counts [K, K]: 1 - diagonal / row sum, NaN without images.

    >>> class_errors([[1, 1], [0, 1]]).tolist()
    [0.5, 0.0]
    """
    table = _square(counts)
    with np.errstate(invalid="ignore"):
        return np.asarray(1 - np.diag(table) / table.sum(axis=1))


def most_confused(counts: npt.ArrayLike, most: int = 20) -> list[tuple[int, int, int]]:
    """Pairs (label, answer, times) of different classes, the most frequent first, ties by class index.

    >>> most_confused([[1, 4, 0], [2, 5, 0], [0, 0, 3]])
    [(0, 1, 4), (1, 0, 2)]
    """
    table = _square(counts).astype(np.int64)
    np.fill_diagonal(table, 0)
    rows, columns = np.nonzero(table)
    found = [(int(r), int(c), int(table[r, c])) for r, c in zip(rows, columns, strict=True)]
    return sorted(found, key=lambda pair: (-pair[2], pair[0], pair[1]))[: whole(most, "the number of pairs", least=0)]


def _square(counts: npt.ArrayLike) -> npt.NDArray[np.float64]:
    table = reals(counts, "counts")
    if table.ndim != 2 or table.shape[0] != table.shape[1] or not bool(np.all((table >= 0) & (table % 1 == 0))):
        raise MetricError(
            f"counts must be whole numbers [K, K], row the label, column the answer; found {list(table.shape)}."
        )
    return table
