"""From what a user names (a recipe, a file, a folder) to training samples and test images."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from robustbench_lift.data.base import ImageSet
from robustbench_lift.errors import DataError, UsageError
from robustbench_lift.training.data import ArraySource, TrainingSource
from robustbench_lift.training.images import ImageSource
from robustbench_lift.training.recipes import Recipe
from robustbench_lift.training.sets import ArrayImages, ClassFolders, Subset, held_out

TEST_FOLDERS = ("val", "test", "validation")
"""Folders beside `train` that are taken for the test images."""


class TrainingData(NamedTuple):
    """What a training needs of its data."""

    source: TrainingSource
    """Training samples."""
    images: ImageSet
    """Test images."""


def open_data(
    recipe: Recipe,
    *,
    data: Path | None = None,
    test_data: Path | None = None,
    hold_out: float | None = None,
    workers: int = 0,
) -> TrainingData:
    """Training samples and test images for a recipe.

    Args:
        recipe: says which kind of data and which size.
        data: an .npz with x and y, or one folder a class, or a folder with `train` and `val`; None for photos.
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
    if recipe.data == "photos":
        if data is not None or test_data is not None or hold_out is not None:
            raise UsageError(f"recipe {recipe.name} trains on the embedded photographs and takes no --data.")
        from robustbench_lift.data.photos import PhotoTest
        from robustbench_lift.training.photographs import PhotoSource

        return TrainingData(PhotoSource(recipe=recipe), PhotoTest())
    if data is None:
        form = "an .npz with x and y" if recipe.data == "arrays" else "a folder with one folder a class"
        raise UsageError(f"recipe {recipe.name} needs --data: {form}.")
    train = data / "train" if (data / "train").is_dir() else data
    if test_data is None and hold_out is None and train != data:
        test_data = next((data / name for name in TEST_FOLDERS if (data / name).is_dir()), None)
    everything = open_images(train)
    if test_data is not None and hold_out is not None:
        raise UsageError("--test-data and --hold-out say the same thing twice; give one of them.")
    images: ImageSet
    if test_data is not None:
        images = open_images(test_data)
        rows = np.arange(len(everything.ids))
    elif hold_out is not None:
        aside = held_out(everything.ids, everything.labels, hold_out)
        images = Subset(everything, np.flatnonzero(aside).tolist(), name=f"{everything.name}-held-out")
        rows = np.flatnonzero(~aside)
    else:
        raise UsageError(
            f"no test images: give --test-data PATH, or --hold-out 0.2 to set a fifth of each class of {train} aside."
        )
    if isinstance(everything, ArrayImages) and recipe.augmentation != "resized-crop-flip":
        source: TrainingSource = ArraySource(
            everything.images[rows],
            everything.labels[rows],
            class_names=everything.class_names,
            recipe=recipe,
            name=everything.name,
        )
    else:
        source = ImageSource(Subset(everything, rows.tolist()), recipe=recipe, workers=workers)
    return TrainingData(source, images)


def open_images(path: Path) -> ArrayImages | ClassFolders:
    """An .npz file or class folders as an image set.

    Raises:
        DataError: neither is there.
    """
    if path.is_dir():
        return ClassFolders(path)
    if not path.exists():
        raise DataError(f"{path} does not exist. Name an .npz with x and y, or a folder with one folder a class.")
    return ArrayImages.open(path)
