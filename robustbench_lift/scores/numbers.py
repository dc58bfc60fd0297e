"""Every number once: what it is called, and how it is computed from sums over images.

A number takes from each cell one row an image (its *measure*, for example "is the answer wrong"), and is a function of
the means of these rows over images (its *value*):

    rows(cell) -> [n] or [n, k]        value({condition: mean of its rows [...] or [..., k]}, normaliser) -> [...]

So the score is the value of the means over all images, a bootstrap replicate the value of the means over the images
drawn, and shards add. With the normaliser fixed most numbers are linear, for example

    mCE = 1/15 sum_c mean_error_c / mean_error_baseline,c

Scores, intervals, ties, comparisons, the gate and the tables of a report all read `NUMBERS`; a plug-in adds to it with
`register_number(Number(...))`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

import metrics
from metrics.corruption import SEVERITIES
from robustbench_lift.errors import UsageError, unknown
from robustbench_lift.runs import Cell, Predictions, Record
from robustbench_lift.scores.measures import (
    Array,
    Measured,
    agreements,
    agreements_of_correct,
    brier_score,
    calibration,
    flips,
    moves,
    negative_log_likelihood,
    outside_top5,
    wrong,
)
from robustbench_lift.text import condition_words

Unit = Literal["percent", "ranks", "nats", "plain"]
Direction = Literal["lower", "higher"]


Means = Mapping[str, Array]
"""Means over images by condition, [...] or [..., k]; conditions of which a cell is missing are not there."""
Measure = Callable[[Cell, Any], Measured | None]
"""Takes the cell and a record of the number's kind."""
Value = Callable[[Means, metrics.Baseline | None], Array | None]


def mean_over_conditions(means: Means, normaliser: metrics.Baseline | None) -> Array | None:
    """The mean over all conditions that are there: the value of a number that says nothing else."""
    return np.asarray(sum(means.values()) / len(means)) if means else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Number:
    """One number, or one family of them with a member a condition (`ce/fog`, `ce/snow`, ...).

    Example: the share of images that a network answers alike in a mirror, for a protocol `mirror` of two frames:

        >>> mirror = Number(
        ...     key="mirror_consistency", title="Mirror consistency", direction="higher", protocol="mirror",
        ...     measure=lambda cell, predictions: predictions.top1[:, 0] == predictions.top1[:, 1],
        ... )
        >>> mirror.linear
        True
    """

    key: str
    """Name in files, options and Python."""
    title: str
    """Name in tables; of a family, what stands before the condition."""
    short: str = ""
    """Heading where room is scarce; the title unless given."""
    unit: Unit = "percent"
    """`percent` is a fraction inside and a percentage where printed; `ranks` a top-5 distance; `nats` a likelihood."""
    digits: int = 1
    """Digits after the point, where printed."""
    direction: Direction
    """Which way is better."""
    protocol: str
    """The protocol whose cells it is computed from."""
    also: tuple[str, ...] = ()
    """Further protocols that it needs."""
    measure: Measure
    """What it takes from one cell: one row an image, or None where the cell does not hold what it needs."""
    value: Value = mean_over_conditions
    """Means over images -> the number, for any leading axes; of a family, called for each condition alone."""
    linear: bool = True
    """Whether `value` is linear in the means, so that the number is itself a mean over images."""
    record: type[Record] = Predictions
    """The kind of record that `measure` takes."""
    pooled: bool = True
    """Whether the cells of a condition are added up; otherwise the keys of `Means` are `condition/severity`."""
    family: bool = False
    """Whether it has a member a condition."""
    suite: bool = False
    """Whether it is a mean over a whole suite of conditions (the run's, `data.suites.suite_of`) and five severities; it
    is unknown for a part of one."""
    every: bool = False
    """Whether it is over every cell that the run has of its protocol, whichever conditions and severities these are; it
    is unknown while one is missing."""
    members: tuple[str, ...] | None = None
    """Names of the last axis of the value, of a family that has a member each; () are the classes of the data."""
    normalised: bool = False
    """Whether it is divided by a normaliser's number, and unknown without one."""
    unnormalised: str = ""
    """Key of the same number without the division."""
    from_top1: bool = False
    """Whether `measure` reads top-1 classes and labels alone, which is all that a baseline file keeps of a run."""
    gated: bool = True
    """Whether a gate tests it unless a policy says otherwise; of a family, whether comparisons show it."""
    about: str = ""
    """Formula or definition in a sentence, for help and footnotes."""

    @property
    def protocols(self) -> tuple[str, ...]:
        """All protocols that it needs."""
        return (self.protocol, *self.also)

    def known_from(
        self, means: Means, normaliser: metrics.Baseline | None, *, classes: Sequence[str] = ()
    ) -> dict[str, Array]:
        """Its values by name: `{key: value}`, of a family `{key/condition: value}`; what is unknown is left out.

        Args:
            means: by condition, or by condition/severity where cells are not added up.
            normaliser: what it is divided by.
            classes: names of the classes, for a family with a member a class.
        """
        if self.normalised and normaliser is None:
            return {}
        if self.family and self.members is None:
            parts: dict[str, dict[str, Array]] = {}
            for one, mean in means.items():
                parts.setdefault(f"{self.key}/{one.partition('/')[0]}", {})[one] = mean
        else:
            parts = {self.key: dict(means)}
        found = {name: self.value(part, normaliser) for name, part in parts.items() if part}
        known = {name: np.asarray(value) for name, value in found.items() if value is not None}
        if self.members is None:
            return known
        return {
            f"{self.key}/{member}": np.asarray(values[..., place])
            for values in known.values()
            for place, member in enumerate(self.members or classes or map(str, range(values.shape[-1])))
        }


NUMBERS: dict[str, Number] = {}
"""Every number by key, in printed order."""


def register_number(number: Number) -> Number:
    """Add a number.

    Raises:
        UsageError: the key is taken, or has a slash, which separates a family from its condition.
    """
    if number.key in NUMBERS:
        raise UsageError(
            f"the number {number.key!r} of {number.measure.__module__} is already registered by "
            f"{NUMBERS[number.key].measure.__module__}. Choose another key."
        )
    if not number.key or "/" in number.key:
        raise UsageError(f"{number.key!r} is no key for a number: it must not be empty or hold a slash.")
    NUMBERS[number.key] = number
    return number


def number_of(name: str) -> Number:
    """The number of a name: `mce`, `ce/fog`, or the error of a cell such as `corruption/fog/3`.

    Raises:
        UsageError: there is none.

    Example:
        >>> number_of("ce/fog").title, number_of("clean/clean/0").key
        ('CE', 'error')
    """
    head, slash, _ = name.partition("/")
    if head in NUMBERS and NUMBERS[head].family == bool(slash):
        return NUMBERS[head]
    if slash and head not in NUMBERS:
        return NUMBERS["error"]
    raise unknown("number", name, headlines())


def title(name: str) -> str:
    """A number's name inside a line.

    >>> title("mce"), title("clean_error"), title("ce/gaussian_noise"), title("corruption/gaussian_noise/3")
    ('mCE', 'clean error', 'CE Gaussian noise', 'Gaussian noise, severity 3')
    >>> title("clean/clean/0"), title("shift/crop/0")
    ('clean', 'shift crop')
    """
    head, _, condition = name.partition("/")
    if head not in NUMBERS:
        protocol, _, rest = name.partition("/")
        condition, _, severity = rest.partition("/")
        if protocol == "corruption":
            return f"{condition_words(condition)}, severity {severity}"
        parts = (protocol, condition if condition != protocol else "", severity if severity != "0" else "")
        return " ".join(part for part in parts if part)
    words = NUMBERS[head].title
    if words[1:2].islower():
        words = words[0].lower() + words[1:]
    return f"{words} {condition_words(condition)}" if condition else words


def sign(name: str) -> int:
    """+1 where an increase is worse, -1 where it is better."""
    return -1 if number_of(name).direction == "higher" else 1


def headlines() -> tuple[str, ...]:
    """Keys of the numbers that have one value a run, in printed order."""
    return tuple(key for key, number in NUMBERS.items() if not number.family)


def gated() -> tuple[str, ...]:
    """Keys of the headline numbers that a gate tests unless a policy says otherwise."""
    return tuple(key for key in headlines() if NUMBERS[key].gated)


# ---- values: functions of the means over images


def _only(means: Means) -> tuple[str, Array]:
    ((condition, mean),) = means.items()
    return condition, mean


def _mean_of(values: list[Array | None]) -> Array | None:
    known = [value for value in values if value is not None]
    return np.asarray(sum(known) / len(known)) if values and len(known) == len(values) else None


def _mean_over(member: Value) -> Value:
    """The mean over conditions, all of them or none."""

    def value(means: Means, normaliser: metrics.Baseline | None) -> Array | None:
        return _mean_of([member({condition: mean}, normaliser) for condition, mean in means.items()])

    return value


def _itself(means: Means, normaliser: metrics.Baseline | None) -> Array:
    return _only(means)[1]


def _corruption_error(means: Means, normaliser: metrics.Baseline | None) -> Array | None:
    condition, mean = _only(means)
    divisor = sum(normaliser.corruption_errors.get(condition, ())) if normaliser else 0.0
    return SEVERITIES * mean / divisor if divisor > 0 else None


def _relative_mce(means: Means, normaliser: metrics.Baseline | None) -> Array | None:
    if normaliser is None or "clean" not in means:
        return None
    found: list[Array | None] = []
    for condition, mean in means.items():
        if condition != "clean":
            added = metrics.added_error(normaliser.corruption_errors.get(condition, ()), normaliser.clean_error)
            found.append(SEVERITIES * (mean - means["clean"]) / added if added > 0 else None)
    return _mean_of(found)


def _flip_rate(means: Means, normaliser: metrics.Baseline | None) -> Array | None:
    condition, mean = _only(means)
    divisor = normaliser.flip_probabilities.get(condition, 0.0) if normaliser else 0.0
    return mean / divisor if divisor > 0 else None


def _top5_rate(means: Means, normaliser: metrics.Baseline | None) -> Array | None:
    condition, mean = _only(means)
    distances = normaliser.top5_distances if normaliser else None
    divisor = distances.get(condition, 0.0) if distances else 0.0
    return mean / divisor if divisor > 0 else None


def _ratio(means: Means, normaliser: metrics.Baseline | None) -> Array:
    with np.errstate(invalid="ignore"):  # no first window is right: unknown
        return np.asarray(sum(mean[..., 0] / mean[..., 1] for mean in means.values()) / len(means))


def _calibration_error(means: Means, normaliser: metrics.Baseline | None) -> Array:
    return np.asarray(np.abs(_only(means)[1]).sum(axis=-1))


for _number in (
    Number(
        key="clean_error", title="Clean error", direction="lower", protocol="clean", measure=wrong, from_top1=True,
        about="Share of clean images whose top-1 class is not the label.",
    ),
    Number(
        key="clean_top5_error", title="Clean top-5 error", direction="lower", protocol="clean", measure=outside_top5,
        gated=False,
        about="Share of clean images whose label is not among the first five classes; of five classes or fewer, none.",
    ),
    Number(
        key="mean_error", title="Mean error under corruption, unnormalised", short="Mean error", direction="lower",
        protocol="corruption", measure=wrong, from_top1=True, suite=True, value=mean_over_conditions,
        about="Mean top-1 error over the suite (ImageNet-C's 15 corruptions) and 5 severities.",
    ),
    Number(
        key="evaluated_error", title="Mean error of the corruptions evaluated", short="Mean, evaluated",
        direction="lower", protocol="corruption", measure=wrong, from_top1=True, every=True, gated=False,
        about="Mean top-1 error over the corruptions and severities that the run has, whichever they are; the "
        "signature names them.",
    ),
    Number(
        key="mce", title="mCE", direction="lower", protocol="corruption", measure=wrong, from_top1=True,
        normalised=True,
        unnormalised="mean_error", suite=True, value=_mean_over(_corruption_error),
        about="Mean over the suite (ImageNet-C's 15 corruptions) of CE, five severities' errors over the normaliser's.",
    ),
    Number(
        key="relative_mce", title="Relative mCE", direction="lower", protocol="corruption", also=("clean",),
        measure=wrong, from_top1=True, normalised=True, suite=True, value=_relative_mce,
        about="The rise of the error above the clean error, over the normaliser's rise, mean over corruptions.",
    ),
    Number(
        key="mean_flip_probability", title="Flip probability, unnormalised", short="Flip prob.", digits=2,
        direction="lower", protocol="perturbation", measure=flips, from_top1=True,
        suite=True, value=mean_over_conditions,
        about="Mean over the suite (ImageNet-P's 10) of the share of frame pairs whose class differs.",
    ),
    Number(
        key="mfr", title="mFR", direction="lower", protocol="perturbation", measure=flips, from_top1=True,
        normalised=True,
        unnormalised="mean_flip_probability", suite=True, value=_mean_over(_flip_rate),
        about="Mean over the suite (ImageNet-P's 10) of FR, the flip probability over the normaliser's.",
    ),
    Number(
        key="mean_top5_distance", title="Top-5 distance, unnormalised", short="Top-5 dist.", unit="ranks", digits=3,
        direction="lower", protocol="perturbation", measure=moves, gated=False,
        suite=True, value=mean_over_conditions,
        about="uT5D: mean over the suite (ImageNet-P's 10) of how far the lists of five move, 0 to 18 ranks.",
    ),
    Number(
        key="mt5d", title="mT5D", direction="lower", protocol="perturbation", measure=moves, normalised=True,
        unnormalised="mean_top5_distance", gated=False, suite=True, value=_mean_over(_top5_rate),
        about="Mean over the suite (ImageNet-P's 10) of the top-5 distance over the normaliser's.",
    ),
    Number(
        key="consistency", title="Shift consistency", short="Consist.", direction="higher", protocol="shift",
        measure=agreements, from_top1=True, about="Share of pairs of shifted windows with the same class.",
    ),
    Number(
        key="consistency_correct", title="Shift consistency among correctly classified", short="Among correct",
        direction="higher", protocol="shift", measure=agreements_of_correct, from_top1=True, value=_ratio,
        linear=False, gated=False,
        about="The same among pairs whose first window is classified correctly.",
    ),
    Number(
        key="clean_ece", title="ECE, clean", direction="lower", protocol="clean", measure=calibration, gated=False,
        value=_calibration_error, linear=False, pooled=False,
        about="Expected calibration error on clean images, 15 bins of equal width.",
    ),
    Number(
        key="corruption_ece", title="ECE under corruption", short="ECE, corr.", direction="lower",
        protocol="corruption", measure=calibration, gated=False, linear=False, pooled=False,
        suite=True, value=_mean_over(_calibration_error),
        about="Mean expected calibration error over the cells of the suite.",
    ),
    Number(
        key="clean_nll", title="NLL, clean", unit="nats", digits=3, direction="lower", protocol="clean",
        measure=negative_log_likelihood, gated=False,
        about="Mean negative logarithm of the label's probability on clean images.",
    ),
    Number(
        key="corruption_nll", title="NLL under corruption", short="NLL, corr.", unit="nats", digits=3,
        direction="lower", protocol="corruption", measure=negative_log_likelihood, gated=False,
        suite=True, value=mean_over_conditions,
        about="The same, mean over the suite (ImageNet-C's 15 corruptions) and 5 severities.",
    ),
    Number(
        key="clean_brier", title="Brier score, clean", unit="plain", digits=3, direction="lower", protocol="clean",
        measure=brier_score, gated=False,
        about="Mean squared distance of the probabilities from the label's one and zeros, 0 to 2.",
    ),
    Number(
        key="corruption_brier", title="Brier score under corruption", short="Brier, corr.", unit="plain", digits=3,
        direction="lower", protocol="corruption", measure=brier_score, gated=False,
        suite=True, value=mean_over_conditions,
        about="The same, mean over the suite (ImageNet-C's 15 corruptions) and 5 severities.",
    ),
    Number(
        key="error", title="error", direction="lower", protocol="corruption", measure=wrong, from_top1=True,
        value=_itself, family=True,
        about="Mean top-1 error over the severities of one corruption.",
    ),
    Number(
        key="ce", title="CE", direction="lower", protocol="corruption", measure=wrong, from_top1=True,
        value=_corruption_error,
        family=True, normalised=True, unnormalised="error",
        about="Corruption error: the errors of five severities over the normaliser's.",
    ),
    Number(
        key="fp", title="FP", digits=2, direction="lower", protocol="perturbation", measure=flips, from_top1=True,
        value=_itself,
        family=True, about="Flip probability: the share of compared frame pairs whose class differs.",
    ),
    Number(
        key="fr", title="FR", direction="lower", protocol="perturbation", measure=flips, from_top1=True,
        value=_flip_rate, family=True,
        normalised=True, unnormalised="fp", about="Flip rate: the flip probability over the normaliser's.",
    ),
    Number(
        key="top5_distance", title="Top-5 distance", unit="ranks", digits=3, direction="lower",
        protocol="perturbation", measure=moves, value=_itself, family=True, gated=False,
        about="How far the lists of five move between compared frames, 0 to 18 ranks.",
    ),
):  # fmt: skip
    register_number(_number)
