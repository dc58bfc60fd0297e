"""Segmentation: counts of pixels by class, and what follows from their sums over a whole set.

Counts are integers [..., K, 3]: of each class the pixels that are it and were called it (intersection), that are it
(target), and that were called it (prediction), pixels of unknown class (void) left out whatever was said there. Set
counts are sums of image counts, so every number below is a function of sums; none is a mean of numbers of images or
batches, but `boundary_f1`, which is defined so.

    IoU_c = I_c / (T_c + P_c - I_c)        pixel accuracy = sum I / sum T        class accuracy_c = I_c / T_c

A class that is neither there nor predicted has no IoU (0/0) and is left out of the mean; say how many were counted.

Source: Everingham et al., The PASCAL visual object classes challenge: a retrospective, IJCV 2015, section 3.3, and
`VOCevalseg.m` of its devkit; Long, Shelhamer and Darrell, Fully convolutional networks, CVPR 2015, for the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from metrics.corruption import added_error
from metrics.errors import MetricError, fraction, reals, whole
from metrics.errors import classes as class_indices

Counts = npt.NDArray[np.int64]
"""Intersection, target and prediction of each class, [..., K, 3]."""
Array = npt.NDArray[np.float64]

VOID = 255
"""Label of pixels whose class is unknown."""
BOUNDARY_TOLERANCE = 0.0075
"""Of boundary F1, as a share of the image's diagonal (SegNet, section 4)."""


def pixel_counts(predictions: npt.ArrayLike, targets: npt.ArrayLike, classes: int, *, void: int = VOID) -> Counts:
    """Counts of each image: [..., H, W] -> int64 [..., K, 3].

    Args:
        predictions: class of each pixel, integers 0..K-1, [..., H, W].
        targets: likewise, or `void`.
        classes: K.
        void: the label that is not counted.

    Raises:
        MetricError: other shapes or types, a class beyond K.

    >>> pixel_counts([[0, 1], [1, 1]], [[0, 1], [0, 255]], 2).tolist()
    [[1, 2, 1], [1, 1, 2]]
    """
    said, true = class_indices(predictions, "predictions"), class_indices(targets, "targets")
    if said.shape != true.shape or said.ndim < 2:
        raise MetricError(f"expected two maps [..., H, W] of one shape, found {said.shape} and {true.shape}.")
    known = _known(said, true, classes, void)
    leading = true.shape[:-2]
    images = math.prod(leading)
    image = np.broadcast_to(np.arange(images).reshape(*leading, 1, 1), true.shape)[known]
    said, true = said[known].astype(np.int64), true[known].astype(np.int64)
    found = np.empty((images * classes, 3), dtype=np.int64)
    place = image * classes
    for column, index in enumerate(((place + true)[said == true], place + true, place + said)):
        found[:, column] = np.bincount(index, minlength=images * classes)
    return found.reshape(*leading, classes, 3)


def class_iou(counts: npt.ArrayLike) -> Array:
    """IoU of each class, [..., K, 3] -> [..., K]; NaN for a class that is neither there nor predicted.

    >>> class_iou([[1, 2, 1], [1, 1, 2], [0, 0, 0]]).tolist()
    [0.5, 0.5, nan]
    """
    given = _counts(counts)
    return _ratio(given[..., 0], given[..., 1] + given[..., 2] - given[..., 0])


def mean_iou(counts: npt.ArrayLike) -> Array:
    """mIoU, the mean over the classes that are there or predicted, [..., K, 3] -> [...]; background is a class.

    >>> float(mean_iou([[1, 2, 1], [1, 1, 2], [0, 0, 0]]))
    0.5
    """
    return _mean(class_iou(counts))


def classes_counted(counts: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """How many classes mIoU is a mean over.

    >>> int(classes_counted([[1, 2, 1], [1, 1, 2], [0, 0, 0]]))
    2
    """
    return np.asarray(np.isfinite(class_iou(counts)).sum(axis=-1), dtype=np.int64)


def pixel_accuracy(counts: npt.ArrayLike) -> Array:
    """Share of pixels that are called what they are.

    >>> round(float(pixel_accuracy([[1, 2, 1], [1, 1, 2]])), 4)
    0.6667
    """
    given = _counts(counts)
    return _ratio(given[..., 0].sum(axis=-1), given[..., 1].sum(axis=-1))


def class_accuracy(counts: npt.ArrayLike) -> Array:
    """Mean over the classes that are there of the share of their pixels that is called so.

    >>> float(class_accuracy([[1, 2, 1], [1, 1, 2]]))
    0.75
    """
    given = _counts(counts)
    return _mean(_ratio(given[..., 0], given[..., 1]))


def frequency_weighted_iou(counts: npt.ArrayLike) -> Array:
    """IoU weighted by the share of pixels that each class has: sum_c T_c IoU_c / sum_c T_c.

    >>> float(frequency_weighted_iou([[1, 2, 1], [1, 1, 2]]))
    0.5
    """
    given = _counts(counts)
    iou = np.nan_to_num(class_iou(given))
    return _ratio((given[..., 1] * iou).sum(axis=-1), given[..., 1].sum(axis=-1))


def boundary_distance(target: npt.ArrayLike, *, void: int = VOID, band: bool = False) -> npt.NDArray[np.int64]:
    """How far each pixel is from a boundary, counted in squares around it: 1 beside the boundary, [H, W] -> [H, W].

    Without `band` a boundary lies between neighbours (above, below, left, right) of two known classes; pixels on both
    sides of it have distance 1. With `band`, as in PASCAL VOC, the void pixels are the boundary, and those beside them
    have distance 1. A map without a boundary has distances beyond any width.

    Args:
        target: class of each pixel, or `void`.
        void: the label of unknown pixels.
        band: whether void marks boundaries.

    >>> boundary_distance([[0, 0, 0, 1, 1]]).tolist()
    [[3, 2, 1, 1, 2]]
    >>> boundary_distance([[0, 0, 255, 1, 1]], band=True).tolist()
    [[2, 1, 0, 1, 2]]
    """
    from scipy import ndimage  # a quarter of a second, which `--help` need not wait for

    labels = class_indices(target, "target")
    if labels.ndim != 2:
        raise MetricError(f"expected one map [H, W], found {labels.shape}.")
    if band:
        edge = labels == void
    else:
        edge = np.zeros(labels.shape, dtype=bool)
        for first, second in ((np.s_[1:, :], np.s_[:-1, :]), (np.s_[:, 1:], np.s_[:, :-1])):
            differs = (labels[first] != labels[second]) & (labels[first] != void) & (labels[second] != void)
            edge[first] |= differs
            edge[second] |= differs
    if not edge.any():
        return np.full(labels.shape, max(labels.shape) + 1, dtype=np.int64)
    distance = np.asarray(ndimage.distance_transform_cdt(~edge, metric="chessboard"), dtype=np.int64)
    return distance if band else distance + 1


def within_trimap(
    target: npt.ArrayLike, width: int, *, void: int = VOID, band: bool = False
) -> npt.NDArray[np.integer[Any]]:
    """The map with all pixels void that are farther than `width` from a boundary: trimap mIoU is mIoU of this.

    Source: Kohli, Ladicky and Torr, Robust higher order potentials for enforcing label consistency, IJCV 2009; Chen et
    al., DeepLab, TPAMI 2018, section 4.3.

    >>> within_trimap([[0, 0, 0, 1, 1]], 1).tolist()
    [[255, 255, 0, 1, 255]]
    """
    labels = class_indices(target, "target")
    near = boundary_distance(labels, void=void, band=band) <= whole(width, "the width of a trimap")
    # the label of void need not fit into the map's own type: 255 in int8 would be -1
    return np.where(near, labels, np.asarray(void, dtype=np.min_scalar_type(void)))


def boundary_f1(prediction: npt.ArrayLike, target: npt.ArrayLike, classes: int, *, void: int = VOID) -> float:
    """F1 of the boundaries of one image: mean over the classes that are there or predicted.

    Of each class, boundary pixels of the prediction that lie within 0.75 % of the diagonal of one of the truth
    (precision), and the other way round (recall); F1 is their harmonic mean. Distances are Euclidean to the nearest
    boundary pixel, where the Berkeley benchmark matches pixels one to one. A mean over images is the set's number.

    Source: Badrinarayanan et al., SegNet, TPAMI 2017, section 4; Csurka et al., What is a good evaluation measure for
    semantic segmentation?, BMVC 2013.

    >>> boundary_f1([[0, 0, 1, 1]] * 4, [[0, 0, 1, 1]] * 4, 2)
    1.0
    """
    from scipy import ndimage  # a quarter of a second, which `--help` need not wait for

    said, true = class_indices(prediction, "prediction"), class_indices(target, "target")
    if said.shape != true.shape or said.ndim != 2:
        raise MetricError(f"expected two maps [H, W] of one shape, found {said.shape} and {true.shape}.")
    known = _known(said, true, classes, void)
    tolerance = math.ceil(BOUNDARY_TOLERANCE * math.hypot(*true.shape))
    scores = []
    for index in range(classes):
        there, called = (true == index) & known, (said == index) & known
        if not (there.any() or called.any()):
            continue
        edges = [_outline(there) & known, _outline(called) & known]
        if not (edges[0].any() or edges[1].any()):
            scores.append(1.0)  # the class fills the image in both
            continue
        near = [
            ndimage.distance_transform_edt(~edge) <= tolerance if edge.any() else np.zeros(edge.shape, dtype=bool)
            for edge in edges
        ]
        precision = float(near[0][edges[1]].mean()) if edges[1].any() else 0.0
        recall = float(near[1][edges[0]].mean()) if edges[0].any() else 0.0
        scores.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return float(np.mean(scores)) if scores else float("nan")


def corruption_degradation(ious: Sequence[float], reference: Sequence[float]) -> float:
    """CD of one corruption: the degradations 1 - mIoU of all severities over those of a reference network.

    CD_c = sum_s (1 - mIoU(s, c)) / sum_s (1 - mIoU_reference(s, c)), a ratio of sums.

    Args:
        ious: mIoU at each severity, fractions.
        reference: the reference network's, of the same severities. There is no standard one: its name is part of the
            score's.

    Source: Kamann and Rother, Benchmarking the robustness of semantic segmentation models, CVPR 2020.

    >>> round(corruption_degradation([0.6, 0.4], [0.5, 0.3]), 4)
    0.8333
    """
    ours, theirs = _same_severities(ious, reference)
    return _divided(float((1 - ours).sum()), float((1 - theirs).sum()), "the reference network makes no mistake")


def relative_corruption_degradation(
    ious: Sequence[float], clean: float, reference: Sequence[float], reference_clean: float
) -> float:
    """rCD of one corruption: what is lost against clean images, over what the reference network loses.

    rCD_c = sum_s (mIoU(clean) - mIoU(s, c)) / sum_s (mIoU_reference(clean) - mIoU_reference(s, c)).

    >>> round(relative_corruption_degradation([0.6, 0.4], 0.7, [0.5, 0.3], 0.6), 4)
    1.0
    """
    ours, theirs = _same_severities(ious, reference)
    lost = added_error((1 - theirs).tolist(), 1 - fraction(reference_clean, "reference_clean"))
    cost = added_error((1 - ours).tolist(), 1 - fraction(clean, "clean"))
    return _divided(cost, lost, "the reference network loses nothing")


def _same_severities(ious: Sequence[float], reference: Sequence[float]) -> tuple[Array, Array]:
    ours, theirs = reals(ious, "mIoU"), reals(reference, "mIoU of the reference network")
    if ours.ndim != 1 or ours.shape != theirs.shape or not ours.size:
        raise MetricError(f"expected mIoU at the same severities, found {ours.shape} and {theirs.shape}.")
    for values in (ours, theirs):
        if not bool(np.all((values >= 0) & (values <= 1))):
            raise MetricError(f"mIoU is a fraction from 0 to 1, found {values.tolist()}.")
    return ours, theirs


def _counts(counts: npt.ArrayLike) -> Array:
    """Counts as float64 [..., K, 3], sums or means of them.

    Raises:
        MetricError: another shape, or numbers that are no counts.
    """
    given = reals(counts, "counts")
    if given.ndim < 2 or given.shape[-1] != 3:
        raise MetricError(
            f"expected counts [..., K, 3], of each class intersection, target and prediction; found {given.shape}."
        )
    if not bool(np.isfinite(given).all()):
        raise MetricError("counts must be finite numbers.")
    return given


def _known(
    said: npt.NDArray[np.integer], true: npt.NDArray[np.integer], classes: int, void: int
) -> npt.NDArray[np.bool_]:
    """Which pixels have a known class, once all classes there are known to be 0..K-1."""
    known = np.asarray(true != void)
    most = whole(classes, "the number of classes") - 1
    for name, values in (("targets", true[known]), ("predictions", said[known])):
        if values.size and not (int(values.min()) >= 0 and int(values.max()) <= most):
            raise MetricError(f"{name} go from {values.min()} to {values.max()}, expected 0 to {most}.")
    return known


def _divided(value: float, divisor: float, why: str) -> float:
    if divisor <= 0:
        raise MetricError(f"{why}: nothing can be divided by it.")
    return value / divisor


def _outline(region: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Pixels of a region that have a neighbour outside of it."""
    from scipy import ndimage  # a quarter of a second, which `--help` need not wait for

    return np.asarray(region & ~ndimage.binary_erosion(region, border_value=1))


def _ratio(above: Array, below: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(below > 0, above / below, np.nan))


def _mean(values: Array) -> Array:
    """The mean over the last axis of what is no NaN; NaN where nothing is left."""
    there = np.isfinite(values)
    return _ratio(np.where(there, values, 0.0).sum(axis=-1), there.sum(axis=-1).astype(np.float64))
