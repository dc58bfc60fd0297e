"""Why a network answers at the level of chance: almost always the data or the weights, hardly ever the network."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from robustbench_lift.runs import Cell

ENOUGH = 50
"""Fewer images say nothing about chance."""
MANY = 20_000
"""Images from which even the hardest cells tell chance from a weak network: AlexNet keeps 0.45 % (of 1,000 classes)."""
SUSPICIOUS = 0.05
"""Accuracy on 100 classes or more under which the answers are searched for a pattern."""
CLEAN = Cell("clean", "clean", 0)


def chance_limit(classes: int, images: int) -> float:
    """Accuracy that guessing stays below (three standard deviations above 1 / classes).

    >>> round(chance_limit(1000, 50_000), 5), round(chance_limit(10, 10_000), 3)
    (0.00142, 0.109)
    """
    chance = 1 / classes
    return chance + 3 * math.sqrt(chance * (1 - chance) / images)


def weak_limit(classes: int, images: int) -> float:
    """Accuracy that a weak network stays above, so that luck on few images does not stop it.

    A weak network is right twice as often as guessing, on 100 classes or more ten times; two standard deviations below.

    >>> round(weak_limit(10, 100), 3), round(weak_limit(10, 10_000), 3), round(weak_limit(50, 100), 3)
    (0.12, 0.192, 0.001)
    """
    weak = (10 if classes >= 100 else 2) / classes
    return weak - 2 * math.sqrt(max(0.0, weak * (1 - weak)) / images)


def diagnose_chance(
    error: float,
    classes: int,
    *,
    images: int,
    cell: Cell = CLEAN,
    labels: npt.NDArray[np.int64] | None = None,
    top1: npt.NDArray[np.int64] | None = None,
) -> str | None:
    """What is probably wrong when a cell's error is that of guessing; None when it is not.

    Clean and shift cells are judged against ten times chance where there are 100 classes or more (1 % of 1,000), and
    against guessing where there are fewer; on few images only what a weak network would hardly do by bad luck stops
    a run, or answers with a pattern. Corrupted cells may be as bad as guessing for honest reasons, so only mild
    ones are judged (severity 1, and 2 with 100 classes or more), and all of them where MANY images show 1,000 classes.

    Args:
        error: top-1 error of the cell, 0..1.
        classes: number of classes.
        images: number of images.
        cell: which cell.
        labels: [n] classes of the images, for a closer look.
        top1: [n] answers.

    Returns:
        a message with what was found and what to do, or None.

    >>> diagnose_chance(0.24, 1000, images=50_000) is None
    True
    >>> "0.10 %" in diagnose_chance(0.999, 1000, images=50_000)
    True
    """
    if images < ENOUGH or classes < 2 or cell.protocol == "perturbation":
        return None
    limit = chance_limit(classes, images)
    if cell.protocol == "corruption":
        mild = cell.severity <= (2 if classes >= 100 else 1)
        if not mild and not (classes >= 1000 and images >= MANY):
            return None
    elif classes >= 100:
        limit = max(limit, 10 / classes)
    certain = min(limit, weak_limit(classes, images))
    accuracy = 1 - error
    # classes in another order leave a few where they were: 1.2 % of 1,000 numbers sort as strings to their own place
    suspicious = cell.protocol != "corruption" and accuracy < SUSPICIOUS and classes >= 100
    if accuracy > limit and not suspicious:
        return None
    cause = None if labels is None or top1 is None else _cause(labels, top1, classes)
    if accuracy > certain and cause is None:
        return None
    return (
        f"{cell.key}: top-1 accuracy is {accuracy:.2%} on {images:,} images of {classes:,} classes; guessing gives "
        f"{1 / classes:.2%}. ".replace("%", " %")
        + (cause or _usual(cell))
        + " The run was stopped; nothing of this cell was stored."
    )


def _usual(cell: Cell) -> str:
    if cell.protocol == "corruption":
        return (
            "A cell this mild is never that hard: its folder probably holds other images or mixed classes. Run "
            "`robustbench-lift check` on the data."
        )
    return (
        "Usual causes: class folders in another order than the model's classes, a normalisation that is not the "
        "model's, weights of another architecture or untrained ones. Run `robustbench-lift check` on data and "
        "checkpoint."
    )


def _cause(labels: npt.NDArray[np.int64], top1: npt.NDArray[np.int64], classes: int) -> str | None:
    """The pattern in the answers, when there is one."""
    counts = np.bincount(top1[(top1 >= 0) & (top1 < classes)], minlength=classes)
    favourite = int(counts.argmax())
    if counts[favourite] > 0.9 * len(top1) and len(np.unique(labels)) > 1:
        return (
            f"The network answers class {favourite} for {counts[favourite] / len(top1):.0%} of the images. Usual "
            "causes: weights that were not loaded, or a normalisation that is not the model's (0..255 for 0..1, "
            "another mean)."
        ).replace("%", " %")
    for step, word in ((1, "above"), (-1, "below")):
        if np.mean(top1 == labels + step) > 0.3:
            return (
                f"The answers are right but one class {word}: the model counts a background class, or its classes "
                "begin at 1. Use a checkpoint with ImageNet's 1,000 classes in WNID order."
            )
    as_strings = np.array(sorted(range(classes), key=str))  # position in string order -> number
    for relation in (as_strings[labels], np.argsort(as_strings)[labels]):
        if np.mean(top1 == relation) > 0.3:
            return (
                "The answers are right when classes are numbered in string order (0, 1, 10, 100, ...): folders or the "
                "model's classes were named by numbers and sorted as strings. Rename the folders to WNIDs, or add "
                "?classes=numeric."
            )
    if len(labels) >= 5 * classes:
        table = np.zeros((classes, classes), dtype=np.int64)
        np.add.at(table, (labels, np.clip(top1, 0, classes - 1)), 1)
        if table.max(axis=1).sum() > 0.5 * len(labels) and np.count_nonzero(table.max(axis=0)) > classes // 2:
            return (
                "Each class has its own answer, but under another number: the model's classes are in another order "
                "than the folders' (sorted WNIDs for ImageNet, sorted names otherwise)."
            )
    return None
