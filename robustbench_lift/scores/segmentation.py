"""Numbers of segmentation networks: functions of counts of pixels by class, summed over images.

A row of an image is its counts [K, 3] (intersection, target, prediction), or [widths, K, 3] within the bands along
boundaries. IoU is a ratio of sums, so that mIoU of a set follows from the mean row as well as from the sum; under a
corruption it is computed of each severity, then averaged.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import metrics
from robustbench_lift.data.suites import SUITES
from robustbench_lift.runs import TRIMAP_WIDTHS, Cell, PixelAgreement, PixelCounts
from robustbench_lift.scores.measures import Array, Measured
from robustbench_lift.scores.numbers import Means, Number, register_number

SUITE = SUITES["kamann-rother"]
"""The corruptions and severities of the headline numbers."""


def pixel_counts(cell: Cell, stored: PixelCounts) -> Measured:
    """Counts of each image [n, K, 3]."""
    return np.asarray(stored.counts)


def trimap_counts(cell: Cell, stored: PixelCounts) -> Measured:
    """Counts within the bands along boundaries [n, widths, K, 3]."""
    return np.asarray(stored.trimap)


def agreeing_pixels(cell: Cell, stored: PixelAgreement) -> Measured:
    """Mean over the pairs of views of the share of pixels that are answered alike [n]."""
    alike, pixels = stored.agreement[..., 0].astype(np.float64), stored.agreement[..., 1]
    return np.asarray((alike / pixels).mean(axis=1))


def agreeing_right_pixels(cell: Cell, stored: PixelAgreement) -> Measured:
    """Pixels that the first view has right [n, 2]: those that are answered alike, and all."""
    counts: Measured = stored.agreement[..., 2:].sum(axis=1, dtype=np.int64)
    return counts


def of_counts(formula: Callable[[Array], Array]) -> Callable[[Means, metrics.Baseline | None], Array | None]:
    """The value of a formula on the counts of the one condition that there is."""

    def value(means: Means, normaliser: metrics.Baseline | None) -> Array | None:
        return formula(next(iter(means.values()))) if len(means) == 1 else None

    return value


def levels(condition: str) -> tuple[int, ...]:
    """The severities of a corruption."""
    return SUITE.limits.get(condition, SUITE.severities)


def ious(means: Means, condition: str) -> list[Array] | None:
    """mIoU of a corruption at each severity, in order; None unless all are there, and no other."""
    found = {int(name.rpartition("/")[2]): mean for name, mean in means.items() if name.partition("/")[0] == condition}
    whole = (levels(condition), SUITE.severities)
    if tuple(sorted(found)) not in whole:
        return None
    return [metrics.mean_iou(found[severity]) for severity in sorted(found)]


def _condition(means: Means) -> str:
    return next(iter(means)).partition("/")[0]


def _mean(values: list[Array]) -> Array:
    return np.asarray(sum(values) / len(values))


def corrupted_iou(means: Means, normaliser: metrics.Baseline | None) -> Array | None:
    """mIoU under one corruption, mean over its severities."""
    found = ious(means, _condition(means))
    return None if found is None else _mean(found)


def degradation(means: Means, normaliser: metrics.Baseline | None) -> Array | None:
    """CD of one corruption: sum_s (1 - mIoU) over that of the reference network, of the same severities."""
    condition = _condition(means)
    found = ious(means, condition)
    reference = normaliser.corruption_errors.get(condition, ()) if normaliser else ()
    if found is None or len(reference) != len(found) or sum(reference) <= 0:
        return None
    return np.asarray(sum(1 - one for one in found) / sum(reference))


def relative_degradation(means: Means, normaliser: metrics.Baseline | None) -> Array | None:
    """rCD of one corruption: what its severities cost against clean images, over what they cost the reference."""
    clean = next((mean for name, mean in means.items() if name.partition("/")[0] == "clean"), None)
    conditions = sorted({name.partition("/")[0] for name in means} - {"clean"})
    if normaliser is None or clean is None or len(conditions) != 1:
        return None
    found = ious(means, conditions[0])
    reference = normaliser.corruption_errors.get(conditions[0], ())
    lost = metrics.added_error(reference, normaliser.clean_error)
    if found is None or len(reference) != len(found) or lost <= 0:
        return None
    return np.asarray(sum(metrics.mean_iou(clean) - one for one in found) / lost)


Member = Callable[[Means, metrics.Baseline | None], Array | None]


def over_suite(member: Member, *, clean: bool = False) -> Member:
    """The mean of a number of one corruption over the suite's, all of them or none."""

    def value(means: Means, normaliser: metrics.Baseline | None) -> Array | None:
        found = []
        for condition in SUITE.conditions:
            part = {name: mean for name, mean in means.items() if name.partition("/")[0] == condition}
            if tuple(sorted(int(name.rpartition("/")[2]) for name in part)) != levels(condition):
                return None
            if clean:
                part |= {name: mean for name, mean in means.items() if name.partition("/")[0] == "clean"}
            one = member(part, normaliser)
            if one is None:
                return None
            found.append(one)
        return _mean(found)

    return value


def _against_clean(combine: Callable[[Array, Array], Array]) -> Member:
    def value(means: Means, normaliser: metrics.Baseline | None) -> Array | None:
        clean = next((mean for name, mean in means.items() if name.partition("/")[0] == "clean"), None)
        corrupted = over_suite(corrupted_iou)(means, normaliser)
        return None if clean is None or corrupted is None else combine(corrupted, metrics.mean_iou(clean))

    return value


def _share(means: Means, normaliser: metrics.Baseline | None) -> Array:
    mean = next(iter(means.values()))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(mean[..., 0] / mean[..., 1])


for _number in (
    Number(
        key="miou", title="mIoU", direction="higher", protocol="clean", measure=pixel_counts, record=PixelCounts,
        value=of_counts(metrics.mean_iou), linear=False,
        about="Mean over classes of intersection over union on clean images, of pixels summed over the whole set.",
    ),
    Number(
        key="classes", title="Classes counted", short="Classes", unit="plain", digits=0, direction="higher",
        protocol="clean", measure=pixel_counts, record=PixelCounts, linear=False, gated=False,
        value=of_counts(lambda counts: metrics.classes_counted(counts).astype(np.float64)),
        about="Classes that mIoU is a mean over: those that are there or predicted.",
    ),
    Number(
        key="pixel_accuracy", title="Pixel accuracy", short="Pixel acc.", direction="higher", protocol="clean",
        measure=pixel_counts, record=PixelCounts, value=of_counts(metrics.pixel_accuracy), linear=False,
        about="Share of pixels of clean images whose class is right.",
    ),
    Number(
        key="class_accuracy", title="Class accuracy", short="Class acc.", direction="higher", protocol="clean",
        measure=pixel_counts, record=PixelCounts, value=of_counts(metrics.class_accuracy), linear=False,
        about="Mean over classes of the share of their pixels that is right, on clean images.",
    ),
    Number(
        key="fwiou", title="Frequency-weighted IoU", short="fwIoU", direction="higher", protocol="clean",
        measure=pixel_counts, record=PixelCounts, value=of_counts(metrics.frequency_weighted_iou), linear=False,
        gated=False, about="IoU weighted by the share of pixels of each class, on clean images.",
    ),
    Number(
        key="mean_miou", title="mIoU under corruption", short="mIoU, corr.", direction="higher",
        protocol="corruption", measure=pixel_counts, record=PixelCounts, value=over_suite(corrupted_iou),
        linear=False, pooled=False,
        about="Mean over the 16 corruptions of mIoU, mean over severities (of noise 1 to 3, of the others 1 to 5).",
    ),
    Number(
        key="retention", title="mIoU kept under corruption", short="Kept", direction="higher", protocol="corruption",
        also=("clean",), measure=pixel_counts, record=PixelCounts, linear=False, pooled=False, gated=False,
        value=_against_clean(lambda corrupted, clean: corrupted / clean),
        about="mIoU under corruption over mIoU on clean images.",
    ),
    Number(
        key="miou_lost", title="mIoU lost under corruption", short="Lost", direction="lower", protocol="corruption",
        also=("clean",), measure=pixel_counts, record=PixelCounts, linear=False, pooled=False, gated=False,
        value=_against_clean(lambda corrupted, clean: clean - corrupted),
        about="mIoU on clean images minus mIoU under corruption.",
    ),
    Number(
        key="mcd", title="mCD", direction="lower", protocol="corruption", measure=pixel_counts, record=PixelCounts,
        value=over_suite(degradation), linear=False, pooled=False, normalised=True, unnormalised="mean_miou",
        about="Mean over the 16 corruptions of CD, the degradations 1 - mIoU over those of the reference network.",
    ),
    Number(
        key="mrcd", title="mrCD", direction="lower", protocol="corruption", also=("clean",), measure=pixel_counts,
        record=PixelCounts, value=over_suite(relative_degradation, clean=True), linear=False, pooled=False,
        normalised=True, gated=False,
        about="Mean over the 16 corruptions of rCD, the mIoU that is lost over what the reference network loses.",
    ),
    Number(
        key="pixel_consistency", title="Shift consistency of pixels", short="Consist.", direction="higher",
        protocol="shift", measure=agreeing_pixels, record=PixelAgreement,
        about="mASSC: share of pixels of two shifted windows that are answered alike, mean over pairs and images.",
    ),
    Number(
        key="pixel_consistency_correct", title="Shift consistency of pixels that are right", short="Among correct",
        direction="higher", protocol="shift", measure=agreeing_right_pixels, record=PixelAgreement, value=_share,
        linear=False, gated=False, about="The same among pixels that the first window has right.",
    ),
    Number(
        key="trimap_miou", title="Trimap mIoU", direction="higher", protocol="clean", measure=trimap_counts,
        record=PixelCounts, value=of_counts(metrics.mean_iou), linear=False, family=True,
        members=tuple(map(str, TRIMAP_WIDTHS)),
        about="mIoU of the pixels within so many pixels of a boundary, on clean images.",
    ),
    Number(
        key="iou", title="IoU", direction="higher", protocol="clean", measure=pixel_counts, record=PixelCounts,
        value=of_counts(metrics.class_iou), linear=False, family=True, members=(),
        about="Intersection over union of one class on clean images.",
    ),
    Number(
        key="corrupted_miou", title="mIoU", direction="higher", protocol="corruption", measure=pixel_counts,
        record=PixelCounts, value=corrupted_iou, linear=False, pooled=False, family=True,
        about="mIoU under one corruption, mean over its severities.",
    ),
    Number(
        key="cd", title="CD", direction="lower", protocol="corruption", measure=pixel_counts, record=PixelCounts,
        value=degradation, linear=False, pooled=False, family=True, normalised=True, unnormalised="corrupted_miou",
        about="Corruption degradation: 1 - mIoU over the severities of one corruption over the reference network's.",
    ),
):  # fmt: skip
    register_number(_number)
