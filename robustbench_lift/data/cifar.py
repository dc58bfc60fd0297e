"""CIFAR-10 and CIFAR-100: ids are positions in the order of the test set, in five digits.

cifar-10-batches-py/test_batch         the published pickles, read without executing them
cifar-100-python/test
anything.npz                           x_test and y_test, or x and y (uint8 [N, 32, 32, 3], integers [N])
"""

from __future__ import annotations

import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from robustbench_lift.data.decode import Pixels
from robustbench_lift.data.pickles import read_batch
from robustbench_lift.errors import DataError, UsageError
from robustbench_lift.text import printable, some

SIDE = 32
TEST_IMAGES = 10_000
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""In index order. Source: Krizhevsky, 2009, and batches.meta."""


def position_ids(count: int) -> tuple[str, ...]:
    """Ids of images that have no names.

    >>> position_ids(2)
    ('00000', '00001')
    """
    width = max(5, len(str(count - 1)))
    return tuple(f"{k:0{width}d}" for k in range(count))


@dataclass(kw_only=True, eq=False)
class MemoryImages:
    """Images in memory."""

    name: str
    ids: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    images: Pixels
    """uint8 [N, H, W, 3]."""

    def read(self, index: int) -> Pixels:
        """RGB uint8 [H, W, 3]."""
        image: Pixels = self.images[index]
        return image

    def content(self) -> bytes:
        """All pixels, for the fingerprint."""
        return self.images.tobytes()


def open_cifar(path: Path, classes: int, *, rows: str | None = None) -> MemoryImages:
    """The test images of CIFAR-10 (`classes=10`) or CIFAR-100 (100), from the published pickles or an .npz.

    Args:
        path: the folder of the pickles, the folder above it, or an .npz.
        classes: 10 or 100.
        rows: `a-b` takes rows a to b-1 of an .npz that holds more than the test images.

    Raises:
        DataError: neither is there, or it is damaged or of another data set.
    """
    name = f"cifar{classes}"
    if path.is_file() and path.suffix == ".npz":
        images, labels = _from_npz(path, rows)
        names = class_names(None, classes)
    elif path.is_dir():
        inner = "cifar-10-batches-py" if classes == 10 else "cifar-100-python"
        folder = path / inner if (path / inner).is_dir() else path
        batch = folder / ("test_batch" if classes == 10 else "test")
        if not batch.is_file():
            raise DataError(
                f"{printable(folder)} has no file {batch.name!r}. Expected the python version of the data "
                f"({inner}/{batch.name}), or an .npz with x_test and y_test."
            )
        content = read_batch(batch)
        images, labels = _from_batch(content, batch, "labels" if classes == 10 else "fine_labels")
        names = class_names(folder / ("batches.meta" if classes == 10 else "meta"), classes)
    else:
        raise DataError(f"{printable(path)} is neither the folder of CIFAR's python version nor an .npz file.")
    _check(images, labels, classes, printable(path))
    return MemoryImages(
        name=name, ids=position_ids(len(images)), labels=labels.astype(np.int64), class_names=names, images=images
    )


def _from_batch(content: dict[str, Any], path: Path, key: str) -> tuple[Pixels, npt.NDArray[Any]]:
    data, labels = content.get("data"), content.get(key)
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3 * SIDE * SIDE:
        raise DataError(f"{printable(path)} has no pixels: expected data, uint8 [N, 3072].")
    if not isinstance(labels, list) or not all(isinstance(label, int) for label in labels):
        raise DataError(f"{printable(path)} has no {key!r}. Is it the other CIFAR? Use cifar10: or cifar100:.")
    images = data.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), np.array(labels, dtype=np.int64)


def _from_npz(path: Path, rows: str | None) -> tuple[Pixels, npt.NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            keys = ("x_test", "y_test") if "x_test" in stored.files else ("x", "y")
            if not set(keys) <= set(stored.files):
                raise DataError(
                    f"{printable(path)} holds {some(stored.files)}; expected x_test and y_test, or x and y."
                )
            images, labels = stored[keys[0]], stored[keys[1]]
    except (OSError, ValueError, EOFError, MemoryError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{printable(path)} is not an .npz of plain arrays ({printable(str(error))}).") from None
    if rows is not None:
        match = re.fullmatch(r"(\d{1,9})-(\d{1,9})", rows)
        if not match or not 0 <= int(match[1]) < int(match[2]) <= len(images):
            raise UsageError(f"?rows={printable(rows)}: expected a-b within 0-{len(images)}.")
        images, labels = images[int(match[1]) : int(match[2])], labels[int(match[1]) : int(match[2])]
    elif len(images) > TEST_IMAGES:
        raise DataError(
            f"{printable(path)} holds {len(images):,} images, CIFAR's test set has {TEST_IMAGES:,}: training images "
            "are among them. Say which rows are the test set, for example ?rows=50000-60000."
        )
    return images, labels.reshape(-1)


def _check(images: npt.NDArray[Any], labels: npt.NDArray[Any], classes: int, where: str) -> None:
    if images.dtype != np.uint8 or images.shape[1:] != (SIDE, SIDE, 3) or not len(images):
        raise DataError(f"{where}: expected uint8 [N, 32, 32, 3], found {images.dtype} {list(images.shape)}.")
    if labels.dtype.kind not in "iu" or labels.shape != (len(images),):
        raise DataError(
            f"{where}: expected one integer label an image, found {labels.dtype} {list(labels.shape)} for "
            f"{len(images):,}."
        )
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise DataError(f"{where}: labels go from {labels.min()} to {labels.max()}, expected 0 to {classes - 1}.")


def class_names(meta: Path | None, classes: int) -> tuple[str, ...]:
    """Names of the classes: from the published list, known, or numbers."""
    if classes == 10:
        return CIFAR10_CLASSES
    if meta is not None and meta.is_file():
        names = read_batch(meta).get("fine_label_names")
        if isinstance(names, list) and len(names) == classes and all(isinstance(n, str) for n in names):
            return tuple(printable(n) for n in names)
    return tuple(f"{k:02d}" for k in range(classes))
