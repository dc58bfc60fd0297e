"""Tiny-ImageNet: 200 WNIDs in sorted order, 64 x 64 pixels; the validation images as published or in class folders.

tiny-imagenet-200/val/images/val_0.JPEG and val/val_annotations.txt      as published
tiny-imagenet-200/train/<wnid>/images/*.JPEG                             as published
val/<wnid>/*.JPEG or val/<wnid>/images/*.JPEG                            sorted into class folders
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from robustbench_lift.data.classes import WNID
from robustbench_lift.data.names import printable, some
from robustbench_lift.data.stored import StoredImages, class_images
from robustbench_lift.data.stores import FolderStore
from robustbench_lift.errors import DataError, IncompleteError

SIDE = 64
CLASSES = 200
ANNOTATIONS = "val_annotations.txt"


def tiny_labels(
    folders: Sequence[str], *, where: str, loose: int = 0, expected: Sequence[str] | None = None
) -> Mapping[str, int]:
    """Class index of each of the 200 folders: sorted WNIDs.

    Raises:
        DataError: not folders of WNIDs, or others than the `expected` ones of the clean images.
        IncompleteError: fewer than 200.
    """
    if not folders:
        hint = f"{loose:,} images lie directly in it and {ANNOTATIONS} is not beside them" if loose else "it is empty"
        raise DataError(f"{where} has no class folders: {hint}. Name the folder tiny-imagenet-200.")
    strange = [name for name in folders if not WNID.fullmatch(name)]
    if strange:
        raise DataError(
            f"{where} has folders that are no WNIDs: {some(sorted(strange))}. Expected 200 of the form n01443537."
        )
    if len(folders) != CLASSES:
        raise IncompleteError(
            f"{where} has {len(folders)} class folders, Tiny-ImageNet has {CLASSES}. Extract the rest."
        )
    if expected is not None and sorted(folders) != sorted(expected):
        other = sorted(set(folders) - set(expected))
        raise DataError(
            f"{where} has classes that the clean images do not have: {some(other)}. Use one release of both."
        )
    return {name: k for k, name in enumerate(sorted(folders))}


def open_tiny(path: Path) -> StoredImages:
    """The validation images, or those of a folder of class folders.

    Args:
        path: `tiny-imagenet-200`, its `val`, or a folder of 200 class folders.

    Raises:
        DataError: the layout or the annotations are not as published.
        IncompleteError: classes or files are missing.
    """
    folder = path / "val" if (path / "wnids.txt").is_file() or (path / "val" / ANNOTATIONS).is_file() else path
    if not folder.is_dir():
        raise DataError(f"{printable(folder)} does not exist. Name the folder tiny-imagenet-200.")
    if (folder / ANNOTATIONS).is_file() and (folder / "images").is_dir():
        return _annotated(folder)
    store = FolderStore(folder)
    classes = store.folders("")
    inner = "images" if classes and "images" in store.folders(classes[0]) else ""
    return class_images(
        store,
        name="tiny-imagenet",
        label=lambda folders, loose: tiny_labels(folders, where=store.location, loose=loose),
        inner=inner,
        side=SIDE,
    )


def _annotated(folder: Path) -> StoredImages:
    entries: list[tuple[str, str, str]] = []
    for line in (folder / ANNOTATIONS).read_text(encoding="utf-8", errors="replace").splitlines():
        file, _, rest = line.partition("\t")
        wnid = rest.partition("\t")[0]
        if not WNID.fullmatch(wnid) or "/" in file or "\\" in file or file.startswith("."):
            raise DataError(f"{printable(folder / ANNOTATIONS)} has a line that is not understood: {printable(line)}.")
        entries.append((f"{wnid}/{file.rpartition('.')[0]}", wnid, f"images/{file}"))
    store = FolderStore(folder)
    there = set(store.files("images"))
    missing = [path for _, _, path in entries if path.removeprefix("images/") not in there]
    if missing:
        raise IncompleteError(
            f"{store.location} lacks {len(missing):,} images: {some(missing)}. Extract the archive again."
        )
    entries.sort()
    labels = tiny_labels(sorted({wnid for _, wnid, _ in entries}), where=store.location)
    return StoredImages(
        name="tiny-imagenet",
        ids=tuple(entry[0] for entry in entries),
        labels=np.array([labels[wnid] for _, wnid, _ in entries], dtype=np.int64),
        class_names=tuple(labels),
        blobs=store.blobs([entry[2] for entry in entries]),
        side=SIDE,
    )
