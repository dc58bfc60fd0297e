"""CIFAR's training images, as published; its test images are read by `data.cifar`, as for an evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from robustbench_lift.data.cifar import MemoryImages, open_cifar, position_ids
from robustbench_lift.data.pickles import read_batch
from robustbench_lift.errors import DataError
from robustbench_lift.text import printable
from robustbench_lift.training.data import check_arrays

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
