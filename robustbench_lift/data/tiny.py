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
from robustbench_lift.data.folders import StoredImages, class_images
from robustbench_lift.data.store import Store, TarStore, join, open_store
from robustbench_lift.errors import DataError, IncompleteError
from robustbench_lift.text import listed, printable

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
    unnamed = [name for name in folders if not WNID.fullmatch(name)]
    if unnamed:
        raise DataError(
            f"{where} has folders that are no WNIDs: {listed(sorted(unnamed))}. Expected 200 of the form n01443537."
        )
    if len(folders) != CLASSES:
        raise IncompleteError(
            f"{where} has {len(folders)} class folders, Tiny-ImageNet has {CLASSES}. Extract the rest."
        )
    if expected is not None and sorted(folders) != sorted(expected):
        other = sorted(set(folders) - set(expected))
        raise DataError(
            f"{where} has classes that the clean images do not have: {listed(other)}. Use one release of both."
        )
    return {name: k for k, name in enumerate(sorted(folders))}


def open_tiny(path: Path) -> StoredImages:
    """The validation images, or those of a folder of class folders.

    Args:
        path: `tiny-imagenet-200`, its `val`, a folder of 200 class folders, or a tar of one of them.

    Raises:
        DataError: the layout or the annotations are not as published.
        IncompleteError: classes or files are missing.
    """
    store = open_store(path)
    if isinstance(store, TarStore) and not store.files("") and len(store.folders("")) == 1:
        store = open_store(path / store.folders("")[0])  # an archive holds all in one folder
    top = "val" if "wnids.txt" in store.files("") or ANNOTATIONS in store.files("val") else ""
    if ANNOTATIONS in store.files(top) and "images" in store.folders(top):
        return _annotated(store, top)
    classes = store.folders(top)
    inner = "images" if classes and "images" in store.folders(join(top, classes[0])) else ""
    where = join(store.location, top)
    return class_images(
        store,
        top,
        name="tiny-imagenet",
        label=lambda folders, loose: tiny_labels(folders, where=where, loose=loose),
        inner=inner,
        side=SIDE,
    )


def _annotated(store: Store, top: str) -> StoredImages:
    where = join(store.location, top)
    text = store.blobs([join(top, ANNOTATIONS)]).read(0).decode("utf-8", "replace")
    entries: list[tuple[str, str, str]] = []
    for line in text.splitlines():
        file, _, rest = line.partition("\t")
        wnid = rest.partition("\t")[0]
        if not WNID.fullmatch(wnid) or "/" in file or "\\" in file or file.startswith("."):
            raise DataError(f"{join(where, ANNOTATIONS)} has a line that is not understood: {printable(line)}.")
        entries.append((f"{wnid}/{file.rpartition('.')[0]}", wnid, join(top, "images", file)))
    there = set(store.files(join(top, "images")))
    missing = [f"images/{path.rpartition('/')[2]}" for _, _, path in entries if path.rpartition("/")[2] not in there]
    if missing:
        raise IncompleteError(f"{where} lacks {len(missing):,} images: {listed(missing)}. Extract the archive again.")
    entries.sort()
    labels = tiny_labels(sorted({wnid for _, wnid, _ in entries}), where=where)
    return StoredImages(
        name="tiny-imagenet",
        ids=tuple(entry[0] for entry in entries),
        labels=np.array([labels[wnid] for _, wnid, _ in entries], dtype=np.int64),
        class_names=tuple(labels),
        blobs=store.blobs([entry[2] for entry in entries]),
        side=SIDE,
    )
