"""From what a user names (a recipe, a data spec, a file, a folder) to training samples and test images.

Reading is that of the evaluation (`data`): the same decoder, the same messages, folders and tars alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from robustbench_lift.data.base import ImageSet, has_maps
from robustbench_lift.data.folders import TEST_FOLDERS, open_folder
from robustbench_lift.data.kinds import KINDS, kind_of, open_images, parse_spec
from robustbench_lift.data.memory import MemoryImages, open_npz
from robustbench_lift.data.spec import DataSpec
from robustbench_lift.data.subset import held_out_part, held_out_rows, part_of, subset_rows
from robustbench_lift.errors import RobustbenchError, UsageError
from robustbench_lift.training.maps import MapSource, SceneSource
from robustbench_lift.training.recipe import Recipe
from robustbench_lift.training.samples import ArraySource, ImageSource, PhotoSource, TrainingSource

Opener = Callable[[], ImageSet]


class TrainingData(NamedTuple):
    """What a training needs of its data."""

    source: TrainingSource
    """Training samples."""
    images: ImageSet
    """Test images."""
    held_out: str | None = None
    """Data spec of test images that were set aside, as `run` takes it; None where none were, or no spec names them."""


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
    limit: int | None = None,
    workers: int = 0,
) -> TrainingData:
    """Training samples and test images for a recipe.

    Args:
        recipe: says which kind of data and which size.
        data: a data spec as `run` takes it (`imagenet:PATH`, `folder:PATH`, `tiny-imagenet:PATH`, `cifar100:PATH`,
            ...), an .npz with x and y, one folder a class, or a folder with `train` and `val`; None for photos.
        test_data: the same for the test images.
        hold_out: instead of `test_data`, the fraction of each class that is set aside by the hash of its ids.
        limit: a fixed, class-balanced part of the training images; None takes all.
        workers: processes that read files.

    Raises:
        UsageError: the recipe and the arguments do not go together.
        DataError: files or folders that are not what was expected.

    Example:
        >>> from robustbench_lift.training.recipes import RECIPES
        >>> data = open_data(RECIPES["photos"])
        >>> len(data.source.class_names), len(data.images.ids)
        (15, 480)
    """
    data, test_data = (None if place == recipe.data else place for place in (data, test_data))
    if recipe.data == "photos":
        if data is not None or test_data is not None or hold_out is not None or limit is not None:
            raise UsageError(
                f"recipe {recipe.name} trains on the embedded photographs and takes no --data, no --limit."
            )
        from robustbench_lift.data.photos import PhotoTest

        return TrainingData(PhotoSource(recipe=recipe), PhotoTest())
    if recipe.data == "scenes":
        if data is not None or test_data is not None or hold_out is not None or limit is not None:
            raise UsageError(f"recipe {recipe.name} trains on the embedded scenes and takes no --data, no --limit.")
        from robustbench_lift.data.scenes import Scenes

        return TrainingData(SceneSource(recipe=recipe, workers=workers), Scenes())
    if data is None and recipe.data == "maps":
        raise UsageError(
            f"recipe {recipe.name} needs --data: voc:PATH, cityscapes:PATH, camvid:PATH, label-folder:PATH."
        )
    if data is None:
        form = "an .npz with x and y, or cifar100:PATH" if recipe.data == "arrays" else "one folder a class"
        raise UsageError(f"recipe {recipe.name} needs --data: {form}.")
    if test_data is not None and hold_out is not None:
        raise UsageError("--test-data and --hold-out say the same thing twice; give one of them.")
    parts = parts_of(data)
    test: Opener | None = parts.test
    if test_data is not None:
        others = parts_of(test_data)
        named = _spec_of(test_data)
        chosen = named is not None and "split" in named.options  # that part, and not the one that is tested by default
        test = others.train if chosen else others.test or others.train
    everything = parts.train()  # first: it says so where nothing is there
    if test is None and hold_out is None:
        raise UsageError(
            f"no test images: give --test-data PATH, or --hold-out 0.2 to set a fifth of each class of {data} aside."
        )
    if hold_out is None:
        assert test is not None
        rows = _limited(everything, list(range(len(everything.ids))), limit)
        return TrainingData(_source(everything, rows, recipe, workers), test())
    images = held_out_part(everything, hold_out)
    rows = _limited(everything, held_out_rows(everything, hold_out, "train"), limit)
    source = _source(everything, rows, recipe, workers)
    return TrainingData(source, images, _held_out_spec(data, hold_out, images))


def _limited(images: ImageSet, rows: list[int], limit: int | None) -> list[int]:
    """A fixed, class-balanced part of some rows, chosen as `run --limit` chooses."""
    if limit is None:
        return rows
    chosen = subset_rows([images.ids[row] for row in rows], images.labels[rows], limit)
    return [rows[k] for k in chosen]


def _source(images: ImageSet, rows: Sequence[int], recipe: Recipe, workers: int) -> TrainingSource:
    if isinstance(images, MemoryImages) and recipe.augmentation != "resized-crop-flip":
        chosen = np.array(rows)
        return ArraySource(
            images.images[chosen],
            images.labels[chosen],
            class_names=images.class_names,
            recipe=recipe,
            name=images.name,
        )
    part = part_of(images, rows, name=images.name)
    if has_maps(images) != (recipe.data == "maps"):
        found = "a class for every pixel" if has_maps(images) else "one class an image"
        raise UsageError(f"{images.name} has {found}; recipe {recipe.name} trains on {recipe.data}.")
    if has_maps(part):
        return MapSource(part, recipe=recipe, workers=workers)
    return ImageSource(part, recipe=recipe, workers=workers)


def _held_out_spec(data: str | Path, hold_out: float, images: ImageSet) -> str | None:
    """The data spec that gives these held-out images to `run`, found by opening what may be it."""
    spec = _spec_of(data)
    part = {"part": "test", "hold_out": repr(hold_out)}
    candidates = [spec] if spec is not None else [DataSpec(kind, Path(data).expanduser()) for kind in KINDS]
    for candidate in candidates:
        if kind_of(candidate).images is None or {"part", "hold_out"} & set(candidate.options):
            continue
        for path in (candidate.path / "train", candidate.path):
            if not path.exists():
                continue
            text = str(DataSpec(candidate.kind, path, {**candidate.options, **part}))
            try:
                found = open_images(text)
            except RobustbenchError:
                continue
            same = found.ids == images.ids and np.array_equal(found.labels, images.labels)
            if same and len(found.class_names) == len(images.class_names):
                return text
    return None


def parts_of(place: str | Path) -> Parts:
    """Training and test images at a place that a user names.

    Raises:
        UsageError: a data spec that means nothing for a training.

    >>> parts_of("photos:x")
    Traceback (most recent call last):
    robustbench_lift.errors.UsageError: 'photos:x': photos takes no path and no options; write photos.
    """
    spec = _spec_of(place)
    if spec is None:
        return _plain(Path(place).expanduser())
    ignored = sorted({"resize", "crop", "interpolation", "table"} & set(spec.options))
    if ignored:
        raise UsageError(f"{place}: ?{ignored[0]}= is for an evaluation; in a training the recipe says it (--set).")
    if "part" in spec.options:
        return Parts(lambda: open_images(spec), None)
    training = kind_of(spec).training
    if training is not None:
        return Parts(*training(spec))
    return _two_folders(spec.path, lambda path: open_images(_at(spec, path)))


def _spec_of(place: str | Path) -> DataSpec | None:
    """The data spec that a user wrote; None for a plain path."""
    name, colon, _ = str(place).partition(":")
    if not colon or name not in KINDS or isinstance(place, Path) or Path(place).exists():
        return None
    return parse_spec(place)


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
