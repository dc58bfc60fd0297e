"""From what a user names (a recipe, a data spec, a file, a folder) to training samples and test images.

Reading is that of the evaluation (`data`): the same decoder, the same messages, folders and tars alike.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from robustbench_lift.data.base import ImageSet
from robustbench_lift.data.cifar import MemoryImages, open_cifar, position_ids
from robustbench_lift.data.classes import sorted_labels
from robustbench_lift.data.decode import SUFFIXES
from robustbench_lift.data.opening import KINDS, DataSpec, open_images, parse_spec
from robustbench_lift.data.pickles import read_batch
from robustbench_lift.data.stored import StoredImages
from robustbench_lift.data.stores import Store, join, open_store
from robustbench_lift.data.subset import Subset
from robustbench_lift.data.tiny import open_tiny
from robustbench_lift.errors import DataError, UsageError
from robustbench_lift.text import printable
from robustbench_lift.training.recipe import Recipe
from robustbench_lift.training.samples import ArraySource, ImageSource, PhotoSource, TrainingSource, check_arrays

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
        return Parts(lambda: open_cifar_training(spec.path, classes), lambda: open_cifar(spec.path, classes))
    if spec.kind == "tiny-imagenet" and (spec.path / "train").is_dir():
        return Parts(lambda: open_tiny(spec.path / "train"), lambda: open_tiny(spec.path))
    return _two_folders(spec.path, lambda path: open_images(_at(spec, path)))


def _at(spec: DataSpec, path: Path) -> DataSpec:
    return dataclasses.replace(spec, path=path)


def _plain(path: Path) -> Parts:
    if path.is_file() and path.suffix != ".tar":
        return Parts(lambda: open_npz(path), None)
    return _two_folders(path, open_folders)


def _two_folders(path: Path, opened: Callable[[Path], ImageSet]) -> Parts:
    if not (path / "train").is_dir():
        return Parts(lambda: opened(path), None)
    beside = next((path / name for name in TEST_FOLDERS if (path / name).is_dir()), None)
    return Parts(lambda: opened(path / "train"), None if beside is None else lambda: opened(beside))


def array_images(
    images: npt.NDArray[np.uint8], labels: npt.NDArray[np.integer], *, class_names: Sequence[str], name: str
) -> MemoryImages:
    """Arrays as an image set; ids are the positions in six digits or more.

    Args:
        images: uint8 [N, H, W, 3].
        labels: integers [N].
        class_names: in index order.
        name: of the set.

    Raises:
        DataError: shapes, types or labels that do not fit.

    >>> array_images(np.zeros((2, 8, 8, 3), np.uint8), np.array([0, 1]), class_names=("a", "b"), name="two").ids
    ('000000', '000001')
    """
    digits = max(6, len(str(len(images))))
    return MemoryImages(
        name=name,
        ids=tuple(f"{i:0{digits}d}" for i in range(len(images))),
        labels=check_arrays(images, labels, len(class_names), name),
        class_names=tuple(class_names),
        images=images,
    )


def open_npz(path: Path) -> MemoryImages:
    """The arrays of an .npz: `x` uint8 [N, H, W, 3], `y` integers [N], `class_names` by choice.

    Raises:
        DataError: the file is not an .npz, or lacks x or y.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            missing = [name for name in ("x", "y") if name not in stored.files]
            if missing:
                raise DataError(
                    f"{path} has no array {' and '.join(map(repr, missing))}; it has {', '.join(stored.files)}. "
                    "Expected x (uint8 [N, H, W, 3]) and y (integers [N])."
                )
            images, labels = stored["x"], stored["y"]
            names = [str(n) for n in stored["class_names"]] if "class_names" in stored.files else None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, EOFError, AttributeError, MemoryError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not an .npz of plain arrays ({error}).") from None
    count = int(labels.max()) + 1 if labels.size and labels.dtype.kind in "iu" else 0
    return array_images(images, labels, class_names=names or [str(k) for k in range(count)], name=path.stem)


def open_folders(path: Path) -> StoredImages:
    """One folder a class, images anywhere below it, in a folder or a tar; ids are `<class>/<path without ending>`.

    `folder:PATH` (`data.opening`) gives the same set where images lie directly in the class folders.

    Raises:
        DataError: nothing there, no class folders, a class without images, or two files for one id.
    """
    store = open_store(path)
    classes = store.folders("")
    loose = 0 if classes else sum(Path(file).suffix.lower() in SUFFIXES for file in store.files(""))
    labels = sorted_labels(classes, where=store.location, loose=loose)
    entries: list[tuple[str, int, str]] = []
    for folder in classes:
        files = [file for file in _below(store, folder) if Path(file).suffix.lower() in SUFFIXES]
        if not files:
            raise DataError(
                f"{store.location}/{folder} holds no images ({', '.join(sorted(SUFFIXES))}). Extract the rest, or "
                "remove the folder."
            )
        entries += [(str(Path(file).with_suffix("")), labels[folder], file) for file in files]
    entries.sort()
    for first, second in itertools.pairwise(entries):
        if first[0] == second[0]:
            raise DataError(f"{store.location} has two files for one image, {first[2]} and {second[2]}; remove one.")
    return StoredImages(
        name=(path.name or path.resolve().name).removesuffix(".tar"),
        ids=tuple(entry[0] for entry in entries),
        labels=np.array([entry[1] for entry in entries], dtype=np.int64),
        class_names=tuple(sorted(classes)),
        blobs=store.blobs([entry[2] for entry in entries]),
    )


def _below(store: Store, folder: str) -> Iterator[str]:
    for name in store.files(folder):
        yield join(folder, name)
    for name in store.folders(folder):
        yield from _below(store, join(folder, name))


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


FILES = {10: tuple(f"data_batch_{k}" for k in range(1, 6)), 100: ("train",)}
"""Files of the training images of the python version, in order."""
FOLDERS = {10: "cifar-10-batches-py", 100: "cifar-100-python"}
LABELS = {10: "labels", 100: "fine_labels"}


def open_cifar_training(path: Path, classes: int) -> MemoryImages:
    """The 50,000 training images of CIFAR-10 or CIFAR-100.

    Args:
        path: the folder of the python version, or the folder above it.
        classes: 10 or 100.

    Raises:
        DataError: a file is missing, damaged or of the other CIFAR.
    """
    folder = path / FOLDERS[classes] if (path / FOLDERS[classes]).is_dir() else path
    missing = [name for name in FILES[classes] if not (folder / name).is_file()]
    if missing:
        raise DataError(
            f"{printable(folder)} has no file {', '.join(missing)}. Expected the python version of the data "
            f"({FOLDERS[classes]}/{FILES[classes][0]})."
        )
    names = open_cifar(path, classes).class_names  # the test images too: a training needs both, and one CIFAR
    parts = [_batch(folder / name, LABELS[classes]) for name in FILES[classes]]
    images = np.concatenate([images for images, _ in parts])
    labels = check_arrays(images, np.concatenate([labels for _, labels in parts]), classes, printable(folder))
    return MemoryImages(
        name=f"cifar{classes}", ids=position_ids(len(images)), labels=labels, class_names=names, images=images
    )


def _batch(path: Path, key: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    content = read_batch(path)
    data, labels = content.get("data"), content.get(key)
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072:
        raise DataError(f"{printable(path)} has no pixels: expected data, uint8 [N, 3072].")
    if not isinstance(labels, list) or len(labels) != len(data):
        raise DataError(f"{printable(path)} has no {key!r} for its {len(data):,} images. Is it the other CIFAR?")
    return data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), np.array(labels, dtype=np.int64)
