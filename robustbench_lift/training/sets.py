"""Image sets for training and its tests that are given as plain paths, and a held-out part of any set.

Reading is that of the evaluation (`data`): the same decoder, the same messages, folders and tars alike.
"""

from __future__ import annotations

import hashlib
import itertools
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from robustbench_lift.data.cifar import MemoryImages
from robustbench_lift.data.classes import sorted_labels
from robustbench_lift.data.decode import SUFFIXES
from robustbench_lift.data.stored import StoredImages
from robustbench_lift.data.stores import Store, join, open_store
from robustbench_lift.errors import DataError, UsageError
from robustbench_lift.training.data import check_arrays


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
