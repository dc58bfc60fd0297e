"""Image sets for training and its tests: arrays in an .npz, folders of classes, and a held-out part of either."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from robustbench_lift.data.base import ImageSet
from robustbench_lift.errors import DataError, UsageError
from robustbench_lift.training.data import check_arrays

EXTENSIONS = (".jpeg", ".jpg", ".png", ".webp", ".bmp", ".ppm")
"""Files that count as images, any case."""


class ArrayImages:
    """Images of an .npz file: `x` uint8 [N, H, W, 3], `y` integers [N], `class_names` by choice."""

    def __init__(
        self, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.integer], *, class_names: Sequence[str], name: str
    ) -> None:
        """Take arrays; ids are the positions in six digits or more."""
        self.name = name
        self.class_names = tuple(class_names)
        self.labels = check_arrays(images, labels, len(self.class_names), name)
        self.images = images
        digits = max(6, len(str(len(images))))
        self.ids = tuple(f"{i:0{digits}d}" for i in range(len(images)))

    @classmethod
    def open(cls, path: Path) -> ArrayImages:
        """The arrays of a file.

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
        except (ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} is not an .npz of plain arrays ({error}).") from None
        count = int(labels.max()) + 1 if labels.size and labels.dtype.kind in "iu" else 0
        return cls(images, labels, class_names=names or [str(k) for k in range(count)], name=path.stem)

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """One image, RGB uint8 [H, W, 3]."""
        image: npt.NDArray[np.uint8] = self.images[index]
        return image


class ClassFolders:
    """One folder a class, images anywhere below it; ids are `<class>/<path without extension>`."""

    def __init__(self, path: Path, *, name: str | None = None) -> None:
        """List the images of a folder.

        Raises:
            DataError: no such folder, no class folders, or a class without images.
        """
        if not path.is_dir():
            raise DataError(f"{path} is not a folder. Expected one folder a class with images inside.")
        classes = sorted(p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
        if not classes:
            raise DataError(f"{path} has no class folders. Expected {path}/<class>/<image>.jpg.")
        entries: list[tuple[str, int, Path]] = []
        for label, folder in enumerate(classes):
            files = [f for f in (path / folder).rglob("*") if f.suffix.lower() in EXTENSIONS]
            if not files:
                raise DataError(f"{path / folder} holds no images ({', '.join(EXTENSIONS)}).")
            entries += [(f.relative_to(path).with_suffix("").as_posix(), label, f) for f in files]
        entries.sort()
        self.name = name or path.name
        self.class_names = tuple(classes)
        self.ids = tuple(entry[0] for entry in entries)
        self.labels: npt.NDArray[np.int64] = np.array([entry[1] for entry in entries], dtype=np.int64)
        self._files = tuple(entry[2] for entry in entries)
        twins = [a for a, b in zip(self.ids, self.ids[1:], strict=False) if a == b]
        if twins:
            raise DataError(f"{path} has two files for {twins[0]} that differ in extension only; remove one.")

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """One image, RGB uint8 [H, W, 3]."""
        try:
            with Image.open(self._files[index]) as image:
                return np.asarray(image.convert("RGB"))
        except OSError as error:
            raise DataError(f"{self._files[index]} is not a readable image ({error}). Remove or replace it.") from None


class Subset:
    """Some images of a set, by index."""

    def __init__(self, images: ImageSet, rows: Sequence[int], *, name: str | None = None) -> None:
        """Take the rows in rising order."""
        chosen = sorted(rows)
        self.parent, self.rows = images, np.array(chosen, dtype=np.int64)
        self.name = name or images.name
        self.class_names = images.class_names
        self.ids = tuple(images.ids[i] for i in chosen)
        self.labels = images.labels[self.rows]

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """One image."""
        return self.parent.read(int(self.rows[index]))


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
