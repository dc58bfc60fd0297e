"""CIFAR-10 and CIFAR-100: ids are positions in the order of the published files, in five digits.

cifar-10-batches-py/test_batch         the published pickles, read without executing them
cifar-100-python/test
anything.npz                           x_test and y_test, or x and y (uint8 [N, 32, 32, 3], integers [N])
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from robustbench_lift.data.base import Pixels
from robustbench_lift.data.memory import MemoryImages, check_arrays, position_ids, read_npz
from robustbench_lift.data.pickles import read_batch
from robustbench_lift.errors import DataError, UsageError
from robustbench_lift.text import printable

SIDE = 32
"""Of every image, in pixels."""
TEST_IMAGES = 10_000
"""Of both test sets."""
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""In index order. Source: Krizhevsky, 2009, and batches.meta."""
FOLDERS = {10: "cifar-10-batches-py", 100: "cifar-100-python"}
"""Classes -> folder of the published python version."""
FILES = {
    (10, "test"): ("test_batch",),
    (10, "train"): tuple(f"data_batch_{k}" for k in range(1, 6)),
    (100, "test"): ("test",),
    (100, "train"): ("train",),
}
"""(classes, part) -> its files, in order."""
LABELS = {10: "labels", 100: "fine_labels"}
"""Classes -> key of the labels."""


def open_cifar(
    path: Path, classes: int, *, part: str = "test", rows: str | None = None, mixed: bool = False
) -> MemoryImages:
    """The test or training images of CIFAR-10 (`classes=10`) or CIFAR-100 (100), from the pickles or an .npz.

    Args:
        path: the folder of the pickles, the folder above it, or an .npz of test images.
        classes: 10 or 100.
        part: `test` (10,000 images) or `train` (50,000, from the pickles).
        rows: `a-b` takes rows a to b-1 of an .npz that holds more than the test images.
        mixed: whether an .npz may hold training images too, because its test images are chosen afterwards.

    Raises:
        DataError: neither is there, or it is damaged or of another data set.
    """
    if path.is_file() and path.suffix == ".npz":
        images, labels = _from_npz(path, rows, mixed)
        names = class_names(None, classes)
    elif path.is_dir():
        folder = path / FOLDERS[classes] if (path / FOLDERS[classes]).is_dir() else path
        files = FILES[classes, part]
        missing = [name for name in files if not (folder / name).is_file()]
        if missing:
            raise DataError(
                f"{printable(folder)} has no file {', '.join(map(repr, missing))}. Expected the python version of the "
                f"data ({FOLDERS[classes]}/{files[0]}), or an .npz with x_test and y_test."
            )
        parts = [_from_batch(folder / name, LABELS[classes]) for name in files]
        images = np.ascontiguousarray(np.concatenate([images for images, _ in parts]))
        labels = np.concatenate([labels for _, labels in parts])
        names = class_names(folder / "meta", classes)
    else:
        raise DataError(f"{printable(path)} is neither the folder of CIFAR's python version nor an .npz file.")
    labels = check_arrays(images, labels, classes, printable(path), side=SIDE)
    return MemoryImages(
        name=f"cifar{classes}", ids=position_ids(len(images)), labels=labels, class_names=names, images=images
    )


def _from_batch(path: Path, key: str) -> tuple[Pixels, npt.NDArray[Any]]:
    content = read_batch(path)
    data, labels = content.get("data"), content.get(key)
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3 * SIDE * SIDE:
        raise DataError(f"{printable(path)} has no pixels: expected data, uint8 [N, 3072].")
    if not isinstance(labels, list) or len(labels) != len(data) or not all(type(label) is int for label in labels):
        raise DataError(
            f"{printable(path)} has no {key!r} for its {len(data):,} images. Is it the other CIFAR? Use cifar10: or "
            "cifar100:."
        )
    return data.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1), np.array(labels, dtype=np.int64)


def _from_npz(path: Path, rows: str | None, mixed: bool) -> tuple[Pixels, npt.NDArray[Any]]:
    images, labels = read_npz(path, ("x_test", "y_test"), ("x", "y")).values()
    if rows is not None:
        match = re.fullmatch(r"(\d{1,9})-(\d{1,9})", rows)
        if not match or not 0 <= int(match[1]) < int(match[2]) <= len(images):
            raise UsageError(f"?rows={printable(rows)}: expected a-b within 0-{len(images)}.")
        images, labels = images[int(match[1]) : int(match[2])], labels[int(match[1]) : int(match[2])]
    elif len(images) > TEST_IMAGES and not mixed:
        raise DataError(
            f"{printable(path)} holds {len(images):,} images, CIFAR's test set has {TEST_IMAGES:,}: training images "
            "are among them. Say which rows are the test set, for example ?rows=50000-60000."
        )
    return images, labels


def class_names(meta: Path | None, classes: int) -> tuple[str, ...]:
    """Names of the classes: from the published list, known, or numbers."""
    if classes == 10:
        return CIFAR10_CLASSES
    if meta is not None and meta.is_file():
        names = read_batch(meta).get("fine_label_names")
        if isinstance(names, list) and len(names) == classes and all(isinstance(n, str) for n in names):
            return tuple(printable(n) for n in names)
    return tuple(f"{k:02d}" for k in range(classes))
