"""ImageNet-P: flip probability, mFR, top-5 distance."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from metrics.baseline import ALEXNET, PERTURBATIONS, Baseline, normaliser
from metrics.errors import MetricError, classes, fraction, whole


def is_noise(perturbation: str) -> bool:
    """Whether a perturbation's frames are independent noise on the first frame, which each of them is compared with.

    >>> is_noise("shot_noise"), is_noise("motion_blur")
    (True, False)
    """
    return "noise" in perturbation


def frame_pairs(
    frames: npt.NDArray[np.integer], *, noise: bool, step: int = 1
) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]:
    """The frames that are compared, (before, after), each [n, pairs, ...]; the first axes of `frames` are [n, T].

    Every frame with the one `step` before; for noise every frame with the first, because its frames have no order.

    Raises:
        MetricError: no clips, or a step that leaves no pair.

    Example:
        >>> frame_pairs(np.array([[1, 2, 3]]), noise=False)
        (array([[1, 2]]), array([[2, 3]]))

    Source: Hendrycks and Dietterich, ICLR 2019, section 4.2.
    """
    if frames.ndim < 2 or frames.shape[0] == 0:
        raise MetricError(f"expected predictions of at least one clip with frames in axis 1, found {frames.shape}.")
    if whole(step, "a step") >= frames.shape[1]:
        raise MetricError(f"a step of {step} leaves no pair among {frames.shape[1]} frames; it must be 1 or more.")
    if noise:
        if step != 1:
            raise MetricError("noise sequences are compared with their first frame: their step is 1.")
        return np.broadcast_to(frames[:, :1], frames[:, 1:].shape), frames[:, 1:]
    return frames[:, :-step], frames[:, step:]


def class_changes(predictions: npt.ArrayLike, *, noise: bool, step: int = 1) -> npt.NDArray[np.bool_]:
    """Whether the class changes, [n, pairs]: what `flip_probability` is the mean of; arguments as there.

    Example:
        >>> class_changes([[7, 7, 3, 3]], noise=False)
        array([[False,  True, False]])
    """
    found = classes(predictions, "predictions")
    if found.ndim != 2:
        raise MetricError(f"expected predictions of at least one clip with frames in axis 1, found {found.shape}.")
    before, after = frame_pairs(found, noise=noise, step=step)
    return np.asarray(before != after)


def top5_moves(top5: npt.ArrayLike, *, noise: bool, step: int = 1) -> npt.NDArray[np.int64]:
    """How far each pair's lists of five are apart, [n, pairs]: what `top5_distance` is the mean of; arguments as there.

    Example:
        >>> top5_moves([[[1, 2, 3, 4, 5], [2, 1, 3, 4, 5]]], noise=False)
        array([[2]])
    """
    lists = classes(top5, "top-5 lists")
    if lists.ndim != 3 or lists.shape[2] != 5:
        raise MetricError(f"expected the five best classes [n, T, 5], found {lists.shape}.")
    before, after = frame_pairs(lists, noise=noise, step=step)
    moved = np.zeros(before.shape[:2], dtype=np.int64)
    for i in range(5):  # rank by rank: all at once would hold 25 comparisons a pair
        same = before[..., i, None] == after
        rank = np.where(same.any(axis=-1), same.argmax(axis=-1), 5)
        moved += np.where(before[..., i] >= 0, np.abs(i - rank), 0)
    return moved


def flip_probability(predictions: npt.ArrayLike, *, noise: bool, step: int = 1) -> float:
    """FP: the probability that the top-1 class changes from frame to frame.

    FP = mean over clips of the mean over pairs of [prediction differs]. Pairs: every frame with the one `step` before;
    for noise sequences every frame with the first, because their frames have no order.

    Args:
        predictions: predicted classes [n, T], integers.
        noise: whether the frames are independent noise on the first frame.
        step: stride between compared frames, 1..T-1; all interleaved sub-sequences are used.

    Raises:
        MetricError: fewer than two frames, no clips, or a step that leaves no pair.

    Example:
        >>> flip_probability([[7, 7, 3, 3]], noise=False), flip_probability([[7, 7, 3, 3]], noise=True)
        (0.3333333333333333, 0.6666666666666666)

    Source: Hendrycks and Dietterich, ICLR 2019, section 4.2.
    """
    return float(np.mean(class_changes(predictions, noise=noise, step=step)))


def mean_flip_rate(flip_probabilities: Mapping[str, float], baseline: Baseline = ALEXNET) -> float:
    """mFR: the mean of the 10 flip rates FR_p = FP_p / FP_p(baseline).

    Args:
        flip_probabilities: flip probability of each of the 10 perturbations, fractions.
        baseline: the normaliser.

    Returns:
        mFR as a fraction: 0.58 is printed as 58 %.

    Raises:
        MetricError: a perturbation is missing or unknown, or the normaliser never flips on one.

    Example:
        >>> mean_flip_rate(ALEXNET.flip_probabilities)
        1.0

    Source: Hendrycks and Dietterich, ICLR 2019, section 4.2.
    """
    return _mean_ratio(flip_probabilities, normaliser(baseline).flip_probabilities, baseline.name, highest=1.0)


def top5_distance(top5: npt.ArrayLike, *, noise: bool, step: int = 1) -> float:
    """uT5D: how much the list of the five best classes changes from frame to frame, 0..18.

    d(A, B) = sum_{i=1..5} |i - min(sigma(i), 6)|, sigma(i) the rank in B of the class that A ranks i-th; the mean over
    the pairs of `flip_probability`. The lists of five suffice, since every rank beyond counts as 6.
    Lists without a common class are 15 apart; the largest distance is 18 (two in common, in ranks turned round).

    Args:
        top5: classes by descending score [n, T, 5], integers; -1 where there are fewer than five classes, and ranks
            without a class do not count.
        noise: whether the frames are independent noise on the first frame.
        step: stride between compared frames.

    Raises:
        MetricError: not lists of five, fewer than two frames, no clips, or a step that leaves no pair.

    Example:
        >>> top5_distance([[[1, 2, 3, 4, 5], [2, 1, 3, 4, 5]]], noise=False)
        2.0

    Source: Hendrycks and Dietterich, ICLR 2019, appendix E.
    """
    return float(np.mean(top5_moves(top5, noise=noise, step=step)))


def mean_top5_distance(top5_distances: Mapping[str, float], baseline: Baseline) -> float:
    """mT5D: the mean of the 10 top-5 distances, each over the normaliser's.

    AlexNet's own distances were never published as numbers: measure them with the same pipeline.

    Args:
        top5_distances: uT5D of each of the 10 perturbations.
        baseline: a normaliser that has top-5 distances.

    Raises:
        MetricError: the normaliser has none, or a perturbation is missing or unknown.

    Example:
        >>> same = dict.fromkeys(PERTURBATIONS, 2.0)
        >>> own = Baseline(
        ...     name="own", source="measured", clean_error=0.4, corruption_errors={}, flip_probabilities={},
        ...     top5_distances=same,
        ... )
        >>> mean_top5_distance(dict.fromkeys(PERTURBATIONS, 1.5), own)
        0.75

    Source: Hendrycks and Dietterich, ICLR 2019, section 4.2.
    """
    distances = normaliser(baseline).top5_distances
    if distances is None:
        raise MetricError(
            f"{baseline.name} has no top-5 distances (AlexNet's were never published): "
            "measure a normaliser with the same pipeline."
        )
    return _mean_ratio(top5_distances, distances, baseline.name, highest=18.0)


def _mean_ratio(values: Mapping[str, float], divisors: Mapping[str, float], name: str, *, highest: float) -> float:
    for whose, given in (("values", values), (name, divisors)):
        found: object = given
        if not isinstance(found, Mapping):
            raise MetricError(f"{whose}: expected one number for each perturbation, found {type(given).__name__}.")
        missing = [p for p in PERTURBATIONS if p not in given]
        if missing:
            raise MetricError(
                f"{whose}: {len(missing)} of the 10 perturbations are missing: {', '.join(missing)}. "
                "No mean is taken over the others; evaluate them first."
            )
    extra = [p for p in values if p not in PERTURBATIONS]
    if extra:
        raise MetricError(
            f"{', '.join(map(str, extra))} do not enter the benchmark's mean of 10 perturbations; leave them out."
        )
    for p in PERTURBATIONS:
        fraction(values[p], p, highest=highest)
        if fraction(divisors[p], f"{name} on {p}", highest=highest) == 0:
            raise MetricError(f"{name} is {divisors[p]} on {p}: nothing can be divided by it.")
    return math.fsum(float(values[p]) / float(divisors[p]) for p in PERTURBATIONS) / len(PERTURBATIONS)
