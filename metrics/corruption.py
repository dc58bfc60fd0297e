"""ImageNet-C: top-1 error, CE, mCE, relative mCE, and the unnormalised mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from metrics.baseline import ALEXNET, CORRUPTIONS, Baseline, normaliser
from metrics.errors import ROUNDING, MetricError, array, classes, fraction, number, shown, true_classes

Errors = Mapping[str, Sequence[float]]
"""Top-1 errors by corruption, severities 1..5, fractions."""

SEVERITIES = 5
"""Of a corruption, 1 to 5; the mean of fewer is another number."""


def top1_error(predictions: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Share of images whose predicted class is not the label, 1 - accuracy.

    Args:
        predictions: predicted classes [n], integers.
        labels: true classes [n], integers.

    Raises:
        MetricError: shapes differ, or there are no images.

    Example:
        >>> top1_error([1, 2, 2, 0], [1, 2, 0, 0])
        0.25
    """
    return topk_error(array(predictions, "predictions")[..., None], labels)


def outside_topk(ranked: npt.ArrayLike, labels: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Whether the label is not among the k first classes, [n]: what `topk_error` is the mean of; arguments as there.

    Example:
        >>> outside_topk([[1, 2], [2, 0], [2, 1]], [2, 0, 0])
        array([False, False,  True])
    """
    first, true = classes(ranked, "predictions"), true_classes(labels)
    if first.ndim != 2 or true.shape != first.shape[:1]:
        raise MetricError(f"expected classes [n, k] and labels [n], found {first.shape} and {true.shape}.")
    if true.size == 0:
        raise MetricError("there are no images: an error needs at least one.")
    return np.asarray(~(first == true[:, None]).any(axis=1))


def topk_error(ranked: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Share of images whose label is not among the k first classes.

    Args:
        ranked: classes by descending score [n, k], integers; -1 stands for no class where there are fewer than k.
        labels: true classes [n], integers.

    Raises:
        MetricError: shapes differ, or there are no images.

    Example:
        >>> topk_error([[1, 2], [2, 0], [2, 1]], [2, 0, 0])
        0.3333333333333333
    """
    return float(np.mean(outside_topk(ranked, labels)))


def corruption_error(errors: Sequence[float], baseline: Sequence[float]) -> float:
    """CE of one corruption: the errors of the five severities over the normaliser's.

    CE_c = sum_s E(s, c) / sum_s E_baseline(s, c): a ratio of sums, not a mean of ratios.

    Args:
        errors: top-1 errors at severities 1..5, fractions.
        baseline: the normaliser's, likewise.

    Returns:
        CE as a fraction: 0.8 is printed as 80 %.

    Raises:
        MetricError: not five errors, or one outside 0..1, or a normaliser without errors.

    Example:
        >>> corruption_error([0.1, 0.2, 0.3, 0.4, 0.5], [0.2, 0.4, 0.6, 0.8, 1.0])
        0.5

    Source: Hendrycks and Dietterich, ICLR 2019, section 4.1.
    """
    return _ratio(
        math.fsum(_five("errors", errors)), math.fsum(_five("baseline", baseline)), "the normaliser makes no error"
    )


def mean_corruption_error(errors: Errors, baseline: Baseline = ALEXNET) -> float:
    """mCE: the mean of the 15 CE.

    mCE = 1/15 sum_c CE_c, normalised by AlexNet unless given otherwise.

    Args:
        errors: top-1 errors at severities 1..5, fractions, for each of the 15 corruptions.
        baseline: the normaliser.

    Returns:
        mCE as a fraction: 0.767 is printed as 76.7 %.

    Raises:
        MetricError: a corruption is missing or is not one of the 15.

    Example:
        >>> half = {name: [e / 2 for e in five] for name, five in ALEXNET.corruption_errors.items()}
        >>> mean_corruption_error(half)
        0.5

    Source: Hendrycks and Dietterich, ICLR 2019, section 4.1.
    """
    divisor = _benchmark(normaliser(baseline).corruption_errors, baseline.name)
    found = _benchmark(errors, "errors")
    return math.fsum(corruption_error(found[name], divisor[name]) for name in CORRUPTIONS) / len(CORRUPTIONS)


def added_error(errors: Sequence[float], clean_error: float) -> float:
    """What a corruption adds to the clean error, summed over severities; exactly 0 where it is no more than rounding.

    Args:
        errors: top-1 errors at each severity, fractions.
        clean_error: top-1 error on clean images, fraction.

    Raises:
        MetricError: an error that is not one number.

    Example:
        >>> added_error([0.1, 0.2, 0.3, 0.4, 0.5], 0.3), round(added_error([0.3, 0.5], 0.2), 12)
        (0.0, 0.4)
    """
    clean = number(clean_error, "clean error")
    added = math.fsum(number(e, "error") - clean for e in errors)
    return 0.0 if abs(added) < ROUNDING else added


def relative_corruption_error(
    errors: Sequence[float], clean_error: float, baseline: Sequence[float], baseline_clean_error: float
) -> float:
    """Relative CE: what a corruption adds to the clean error, over what it adds to the normaliser's.

    relative CE_c = sum_s (E(s, c) - E_clean) / sum_s (E_baseline(s, c) - E_baseline,clean).

    Args:
        errors: top-1 errors at severities 1..5, fractions.
        clean_error: top-1 error on clean images, fraction.
        baseline: the normaliser's errors.
        baseline_clean_error: the normaliser's clean error.

    Raises:
        MetricError: not five errors, a value outside 0..1, or a normaliser that a corruption does not harm.

    Example:
        >>> round(relative_corruption_error([0.3] * 5, 0.2, [0.6] * 5, 0.4), 12)
        0.5

    Source: Hendrycks and Dietterich, ICLR 2019, section 4.1.
    """
    added = added_error(_five("errors", errors), fraction(clean_error, "clean_error"))
    divisor = added_error(_five("baseline", baseline), fraction(baseline_clean_error, "baseline_clean_error"))
    return _ratio(added, divisor, "the corruption adds no error to the normaliser")


def relative_mean_corruption_error(errors: Errors, clean_error: float, baseline: Baseline = ALEXNET) -> float:
    """Relative mCE: the mean of the 15 relative CE.

    Args:
        errors: top-1 errors at severities 1..5, fractions, for each of the 15 corruptions.
        clean_error: top-1 error on clean images, fraction.
        baseline: the normaliser.

    Raises:
        MetricError: a corruption is missing or unknown, or the normaliser is not harmed by one.

    Example:
        >>> relative_mean_corruption_error(ALEXNET.corruption_errors, ALEXNET.clean_error)
        1.0

    Source: Hendrycks and Dietterich, ICLR 2019, section 4.1.
    """
    divisor = _benchmark(normaliser(baseline).corruption_errors, baseline.name)
    found = _benchmark(errors, "errors")
    return math.fsum(
        relative_corruption_error(found[name], clean_error, divisor[name], baseline.clean_error) for name in CORRUPTIONS
    ) / len(CORRUPTIONS)


def mean_error(errors: Errors) -> float:
    """Mean error (unnormalised): the mean top-1 error over the 15 corruptions and 5 severities.

    The reference script prints this number under the name mCE; it is not the mCE.

    Args:
        errors: top-1 errors at severities 1..5, fractions, for each of the 15 corruptions.

    Raises:
        MetricError: a corruption is missing or unknown.

    Example:
        >>> round(mean_error(ALEXNET.corruption_errors), 6)
        0.788993
    """
    found = _benchmark(errors, "errors")
    return math.fsum(e for five in found.values() for e in five) / (SEVERITIES * len(found))


def _benchmark(errors: Errors, whose: str) -> dict[str, list[float]]:
    found: object = errors
    if not isinstance(found, Mapping):
        raise MetricError(
            f"{whose}: expected five errors for each corruption, {{name: [...]}}, found {type(errors).__name__}."
        )
    missing = [name for name in CORRUPTIONS if name not in errors]
    if missing:
        raise MetricError(
            f"{whose}: {len(missing)} of the 15 corruptions are missing: {', '.join(missing)}. "
            "No mean is taken over the others; evaluate them first."
        )
    extra = [name for name in errors if name not in CORRUPTIONS]
    if extra and whose == "errors":
        raise MetricError(
            f"errors: {', '.join(map(str, extra))} do not enter the benchmark's mean of 15 corruptions; leave them out."
        )
    return {name: _five(name, errors[name]) for name in CORRUPTIONS}


def _five(name: str, errors: Sequence[float]) -> list[float]:
    given: object = errors
    try:
        if isinstance(given, (str, bytes, Mapping)):
            raise TypeError
        values = list(errors)
    except TypeError:
        raise MetricError(
            f"{name}: expected the errors of severities 1 to 5, five fractions in this order, found {shown(errors)}. "
            "The mean over the severities is not enough: give each."
        ) from None
    if len(values) != SEVERITIES:
        raise MetricError(f"{name}: expected the errors of severities 1 to 5, found {len(values)} values.")
    return [fraction(value, name) for value in values]


def _ratio(numerator: float, divisor: float, zero: str) -> float:
    if divisor < ROUNDING:
        raise MetricError(f"{zero}, so nothing can be divided by it.")
    return numerator / divisor
