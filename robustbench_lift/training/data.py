"""From what a user names (a recipe, a data spec, a file, a folder) to training samples and test images.

Reading is that of the evaluation (`data`): the same decoder, the same messages, folders and tars alike.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from robustbench_lift.data.base import ImageSet
from robustbench_lift.data.cifar import open_cifar
from robustbench_lift.data.folders import open_folder
from robustbench_lift.data.memory import MemoryImages, open_npz
from robustbench_lift.data.opening import KINDS, DataSpec, open_images, parse_spec
from robustbench_lift.data.subset import Subset
from robustbench_lift.data.tiny import open_tiny
from robustbench_lift.errors import UsageError
from robustbench_lift.training.recipe import Recipe
from robustbench_lift.training.samples import ArraySource, ImageSource, PhotoSource, TrainingSource

TEST_FOLDERS = ("val", "test", "validation")
"""Folders beside `train` that are taken for the test images."""

Opener = Callable[[], ImageSet]


class TrainingData(NamedTuple):
    """What a training needs of its data."""

    source: TrainingSource
    """Training samples."""
    images: ImageSet
    """Test images."""


class Parts(NamedTuple):
    """What lies at a place, not opened yet."""

    train: Opener
    """The training images, or all where there is one part."""
    test: Opener | None
    """The test images beside them."""


def open_data(
    recipe: Recipe,
    *,
    data: str | Path | None = None,
    test_data: str | Path | None = None,
    hold_out: float | None = None,
    workers: int = 0,
) -> TrainingData:
    """Training samples and test images for a recipe.

    Args:
        recipe: says which kind of data and which size.
        data: a data spec as `run` takes it (`imagenet:PATH`, `folder:PATH`, `tiny-imagenet:PATH`, `cifar100:PATH`,
            ...), an .npz with x and y, one folder a class, or a folder with `train` and `val`; None for photos.
        test_data: the same for the test images.
        hold_out: instead of `test_data`, the fraction of each class that is set aside by the hash of its ids.
        workers: processes that read files.

    Raises:
        UsageError: the recipe and the arguments do not go together.
        DataError: files or folders that are not what was expected.

    Example:
        >>> from robustbench_lift.training.recipes import RECIPES
        >>> data = open_data(RECIPES["photos"])
        >>> len(data.source.class_names), len(data.images.ids)
        (15, 240)
    """
    data, test_data = (None if place == "photos" else place for place in (data, test_data))
    if recipe.data == "photos":
        if data is not None or test_data is not None or hold_out is not None:
            raise UsageError(f"recipe {recipe.name} trains on the embedded photographs and takes no --data.")
        from robustbench_lift.data.photos import PhotoTest

        return TrainingData(PhotoSource(recipe=recipe), PhotoTest())
    if data is None:
        form = "an .npz with x and y, or cifar100:PATH" if recipe.data == "arrays" else "one folder a class"
        raise UsageError(f"recipe {recipe.name} needs --data: {form}.")
    if test_data is not None and hold_out is not None:
        raise UsageError("--test-data and --hold-out say the same thing twice; give one of them.")
    parts = parts_of(data)
    test: Opener | None = parts.test
    if test_data is not None:
        others = parts_of(test_data)
        test = others.test or others.train
    if test is None and hold_out is None:
        raise UsageError(
            f"no test images: give --test-data PATH, or --hold-out 0.2 to set a fifth of each class of {data} aside."
        )
    everything = parts.train()
    rows = np.arange(len(everything.ids))
    images: ImageSet
    if hold_out is not None:
        aside = held_out(everything.ids, everything.labels, hold_out)
        images = Subset(everything, np.flatnonzero(aside).tolist(), name=f"{everything.name}-held-out")
        rows = np.flatnonzero(~aside)
    else:
        assert test is not None
        images = test()
    return TrainingData(_source(everything, rows.tolist(), recipe, workers), images)


def _source(images: ImageSet, rows: list[int], recipe: Recipe, workers: int) -> TrainingSource:
    if isinstance(images, MemoryImages) and recipe.augmentation != "resized-crop-flip":
        return ArraySource(
            images.images[rows], images.labels[rows], class_names=images.class_names, recipe=recipe, name=images.name
        )
    return ImageSource(Subset(images, rows, name=images.name), recipe=recipe, workers=workers)


def parts_of(place: str | Path) -> Parts:
    """Training and test images at a place that a user names.

    Raises:
        UsageError: a data spec that means nothing for a training.

    >>> parts_of("photos:x")
    Traceback (most recent call last):
    robustbench_lift.errors.UsageError: the embedded photographs are for recipe photos, which takes no --data.
    """
    kind, colon, _ = str(place).partition(":")
    if not colon or kind not in KINDS or isinstance(place, Path) or Path(place).exists():
        return _plain(Path(place).expanduser())
    spec = parse_spec(place)
    ignored = sorted({"resize", "crop", "interpolation", "table"} & set(spec.options))
    if ignored:
        raise UsageError(f"{place}: ?{ignored[0]}= is for an evaluation; in a training the recipe says it (--set).")
    if spec.kind == "photos":
        raise UsageError("the embedded photographs are for recipe photos, which takes no --data.")
    if spec.kind in ("cifar10", "cifar100") and spec.path.is_dir():
        classes = int(spec.kind.removeprefix("cifar"))
        return Parts(lambda: open_cifar(spec.path, classes, part="train"), lambda: open_cifar(spec.path, classes))
    if spec.kind == "tiny-imagenet" and (spec.path / "train").is_dir():
        return Parts(lambda: open_tiny(spec.path / "train"), lambda: open_tiny(spec.path))
    return _two_folders(spec.path, lambda path: open_images(_at(spec, path)))


def _at(spec: DataSpec, path: Path) -> DataSpec:
    return dataclasses.replace(spec, path=path)


def _plain(path: Path) -> Parts:
    if path.is_file() and path.suffix != ".tar":
        return Parts(lambda: open_npz(path), None)
    return _two_folders(path, open_folder)


def _two_folders(path: Path, opened: Callable[[Path], ImageSet]) -> Parts:
    if not (path / "train").is_dir():
        return Parts(lambda: opened(path), None)
    beside = next((path / name for name in TEST_FOLDERS if (path / name).is_dir()), None)
    return Parts(lambda: opened(path / "train"), None if beside is None else lambda: opened(beside))


def held_out(ids: Sequence[str], labels: npt.NDArray[np.int64], fraction: float) -> npt.NDArray[np.bool_]:
    """Which images are set aside for testing: of each class the given fraction with the smallest sha256 of their id.

    It depends on nothing but ids and labels, so training and evaluation agree on any machine.

    >>> aside = held_out(["a", "b", "c", "d"], np.array([0, 0, 1, 1]), 0.5)
    >>> int(aside[:2].sum()), int(aside[2:].sum())
    (1, 1)
    """
    if not 0 < fraction < 1:
        raise UsageError(f"the held-out fraction must lie between 0 and 1, not {fraction}.")
    order = np.array([hashlib.sha256(name.encode()).hexdigest() for name in ids])
    aside = np.zeros(len(ids), dtype=np.bool_)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        ranked = members[np.argsort(order[members])]
        aside[ranked[: round(fraction * len(members))]] = True
    return aside
