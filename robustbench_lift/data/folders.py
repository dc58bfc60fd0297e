"""Image sets of class folders, in a folder or a tar: ids `<class>/<path without ending>`, sorted.

Images may lie anywhere below their class folder, as for torchvision's ImageFolder. Names are brought to Unicode's form
NFC, so that ids and the order of classes are the same on Linux and macOS. What is left out is counted by reason.
"""

from __future__ import annotations

import itertools
import os
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from robustbench_lift.data.base import Outputs, Pixels
from robustbench_lift.data.classes import WNID, condition_folders, imagenet_labels, order_note, sorted_labels, wnids
from robustbench_lift.data.decode import SUFFIXES, decode_clip, decode_image
from robustbench_lift.data.geometry import check_side
from robustbench_lift.data.store import Blobs, Entries, Store, join, open_store
from robustbench_lift.errors import DataError
from robustbench_lift.text import file_name, listed, printable

VIDEO_SUFFIXES = frozenset({".mp4"})
"""Endings of clips, lower case."""
PARTS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})
"""Folders that hold parts of a data set, each with class folders of its own."""
TEST_FOLDERS = ("val", "test", "validation")
"""Folders beside `train` that are taken for the test images, the first that is there."""

ENDING = "other endings than images have"
BESIDE = "images beside the class folders"
BROKEN = "links to nothing"
APPLE = "AppleDouble files of macOS"

Label = Callable[[Sequence[str], int], Mapping[str, int]]
"""(class folders, images beside them) -> class index of each folder; it refuses folders that it does not know."""


@dataclass(kw_only=True, eq=False)
class StoredImages:
    """Images or clips in files, an `ImageSet`; decoding happens when one is read."""

    name: str
    """Printed in the signature."""
    ids: tuple[str, ...]
    """`<class>/<path without ending>`, sorted: the same wherever the data lie."""
    labels: npt.NDArray[np.int64]
    """[n] class indices."""
    class_names: tuple[str, ...]
    """In index order."""
    blobs: Blobs
    """The files, in the order of the ids."""
    side: int | None = None
    """The one side that images must have, in pixels; None: any size."""
    frames: int | None = None
    """Frames of each clip; None: these are single images."""
    omitted: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Reason -> the names that are left out for it."""
    notes: tuple[str, ...] = ()
    """What a user should read once."""
    outputs: Outputs | None = None
    """Which outputs of a network stand for the classes; None: output k is class k."""
    adversarial: bool = False
    """Whether the images were chosen because networks err on them."""

    @property
    def left_out(self) -> dict[str, int]:
        """Reason -> number of files that lie there and are not among the images."""
        return {reason: len(names) for reason, names in self.omitted.items()}

    def read(self, index: int) -> Pixels:
        """RGB uint8 [H, W, 3], or a clip [T, H, W, 3].

        Raises:
            DataError: broken, or of another size or length than the data set has; the message names the file.
        """
        name = self.blobs.name(index)
        content = self.blobs.read(index)
        image = decode_image(content, name) if self.frames is None else decode_clip(content, name)
        if self.side is not None:
            check_side(image, self.side, name)
        if self.frames is not None and len(image) != self.frames:
            raise DataError(
                f"{name} has {len(image)} frames, expected {self.frames}: the file is cut short, or another "
                "perturbation lies under this name. Replace it from the original."
            )
        return image


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What lies in a tree of class folders."""

    ids: tuple[str, ...]
    """`<class>/<path without ending>`, sorted."""
    paths: tuple[str, ...]
    """Path below the top of the store, in the order of the ids."""
    owners: tuple[int, ...]
    """Number of the class folder, in the order of the ids."""
    empty: tuple[str, ...]
    """Class folders without images."""
    omitted: Mapping[str, tuple[str, ...]]
    """Reason -> names that are left out for it."""


def list_classes(store: Store, top: str, classes: Sequence[str], *, suffixes: frozenset[str], inner: str) -> Listing:
    """List the images of class folders.

    Args:
        store: where they are.
        top: path of the folder of class folders.
        classes: names of the class folders.
        suffixes: endings that count, lower case.
        inner: folder between a class and its files (`images` in Tiny-ImageNet's train); others are not looked into.

    Raises:
        DataError: two files that would have the same id, or names that are no text.
    """
    rows: list[tuple[str, str, int]] = []
    omitted: dict[str, list[str]] = {}
    empty: list[str] = []
    for owner, name in enumerate(classes):
        before = len(rows)
        for below, entries in _walk(store, join(top, name, inner), deep=not inner):
            for reason, names in ((BROKEN, entries.broken), (APPLE, entries.apple)):
                if names:
                    omitted.setdefault(reason, []).extend(join(name, below, file) for file in names)
            for file in entries.files:
                stem, suffix = os.path.splitext(file)  # noqa: PTH122 - a name, millions of times
                if suffix.lower() in suffixes:
                    rows.append((normalized(join(name, below, stem)), join(top, name, inner, below, file), owner))
                else:
                    omitted.setdefault(ENDING, []).append(join(name, below, file))
        if len(rows) == before:
            empty.append(name)
    rows.sort()
    for first, second in itertools.pairwise(rows):
        if first[0] == second[0]:
            raise DataError(
                f"{join(store.location, printable(top))} has two files for one image, {printable(first[1])} and "
                f"{printable(second[1])}"
                + (
                    ", whose names differ in their Unicode form alone; remove one."
                    if normalized(first[1]) == normalized(second[1])
                    else "; remove one."
                )
            )
    ids, paths, owners = zip(*rows, strict=True) if rows else ((), (), ())
    return Listing(
        ids=ids,
        paths=paths,
        owners=owners,
        empty=tuple(empty),
        omitted={reason: tuple(names) for reason, names in omitted.items()},
    )


def _walk(store: Store, top: str, *, deep: bool) -> Iterator[tuple[str, Entries]]:
    """(path below `top`, what lies there) of a folder and, if `deep`, of all folders below it.

    Raises:
        DataError: a link leads back to a folder above it.
    """
    waiting: list[tuple[str, tuple[object, ...]]] = [("", ())]
    while waiting:
        below, above = waiting.pop()
        entries = store.entries(join(top, below))
        same = store.identity(join(top, below)) if entries.folders and deep else None
        if same is not None and same in above:
            raise DataError(
                f"{join(store.location, printable(join(top, below)))} is a folder above it again: a link leads back, "
                "and its images would be counted without end. Remove the link."
            )
        yield below, entries
        if deep:
            waiting.extend((join(below, name), (*above, same)) for name in reversed(entries.folders))


def normalized(name: str) -> str:
    """A name in Unicode's form NFC, so that it is one name on every system.

    Raises:
        DataError: the name is not UTF-8.

    >>> normalized("e\\u0301clair") == "\\u00e9clair"
    True
    """
    if name.isascii():
        return name
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DataError(
            f"{printable(name)} is a name that is not UTF-8, from an archive of another system. Rename it, for example "
            "with convmv -f latin1 -t utf8 -r --notest FOLDER."
        ) from None
    return unicodedata.normalize("NFC", name)


def class_images(
    store: Store,
    top: str = "",
    *,
    name: str,
    label: Label,
    class_names: Sequence[str] | None = None,
    suffixes: frozenset[str] = SUFFIXES,
    inner: str = "",
    side: int | None = None,
    frames: int | None = None,
    allow_empty: bool | None = None,
) -> StoredImages:
    """A tree of class folders as an image set.

    Args:
        store: where it is.
        top: path of the folder of class folders.
        name: of the set.
        label: class index of each folder; it refuses what it does not know.
        class_names: all classes in index order; None: the folders in the order of their labels.
        suffixes: endings that count.
        inner: folder between a class and its files.
        side: the one side that images must have.
        frames: frames of each clip.
        allow_empty: whether a class folder without images keeps its index; otherwise it is refused. None: it is
            refused, and the kind of data has no option that allows it.

    Raises:
        DataError: a layout that is not understood, or a class without images.
    """
    where = join(store.location, printable(top))
    entries = store.entries(top)
    folders = {normalized(folder): folder for folder in entries.folders}
    if len(folders) < len(entries.folders):
        raise DataError(f"{where} has two folders whose names differ in their Unicode form alone; remove one.")
    loose = [file for file in entries.files if file.lower().endswith(tuple(suffixes))]
    indices = label(tuple(folders), len(loose))
    if not inner:
        _refuse_parts(store, top, entries.folders, suffixes)
    found = list_classes(store, top, entries.folders, suffixes=suffixes, inner=inner)
    if not found.ids or (found.empty and not allow_empty):
        raise DataError(
            f"{where} has class folders without images ({', '.join(sorted(suffixes))}): {listed(found.empty)}. Extract "
            "the rest."
            + (
                " If there are none of a class, keep its folder, which holds its number, and say ?empty=allow in the "
                "data spec."
                if found.ids and allow_empty is not None
                else ""
            )
        )
    omitted = {BESIDE: tuple(loose)} if loose else {}
    of_class = np.array([indices[folder] for folder in folders], dtype=np.int64)
    return StoredImages(
        name=name,
        ids=found.ids,
        labels=of_class[np.array(found.owners, dtype=np.int64)],
        class_names=tuple(class_names or sorted(folders, key=indices.__getitem__)),
        blobs=store.blobs(found.paths),
        side=side,
        frames=frames,
        omitted=omitted | dict(found.omitted),
    )


def _refuse_parts(store: Store, top: str, folders: Sequence[str], suffixes: frozenset[str]) -> None:
    """Refuse a folder above the class folders: `train` and `val`, or the one folder of an archive."""
    if len(folders) != 1 and not set(folders) <= PARTS:
        return
    below = [store.entries(join(top, folder)) for folder in folders]
    images = any(file.lower().endswith(tuple(suffixes)) for entries in below for file in entries.files)
    if not images and any(entries.folders for entries in below):
        where = join(store.location, printable(top))
        best = next((name for name in ("val", "validation", "valid", "test") if name in folders), folders[0])
        raise DataError(
            f"{where} holds {listed(folders)}, no class folders; they lie one folder below. Name it: "
            f"{where.rstrip('/')}/{printable(best)}."
        )


def open_folder(
    path: Path, *, name: str | None = None, classes: str = "sorted", allow_empty: bool = False
) -> StoredImages:
    """A data set of the user's own: one folder a class.

    Args:
        path: a folder, a tar, or a folder in a tar.
        name: of the set, printed in the signature; the folder's unless given.
        classes: how folders are numbered: `sorted`, `natural` or `numeric` (see `sorted_labels`).
        allow_empty: whether a class folder without images keeps its index.

    Raises:
        DataError: a layout that is not understood, or a class without images.
    """
    store = open_store(path)
    found = class_images(
        store,
        name=file_name(name or path.resolve().name.removesuffix(".tar"), limit=64) or "folder",
        label=lambda folders, loose: sorted_labels(folders, where=store.location, rule=classes, loose=loose),
        allow_empty=allow_empty,
    )
    note = order_note(found.class_names) if classes == "sorted" else None
    found.notes = () if note is None else (note,)
    return found


def open_imagenet(
    path: Path, *, classes: str = "wnid", name: str | None = None, allow_empty: bool | None = None
) -> StoredImages:
    """ImageNet's train or val, or another set of its 1,000 classes: class folders named by WNID.

    Args:
        path: a folder, a tar, or a folder in a tar.
        classes: `wnid`, `partial`, `subset` or `numeric` (see `imagenet_labels`).
        name: of the set; ImageNet's by default.
        allow_empty: as for `class_images`.

    Raises:
        DataError: a layout that is not understood, or a class folder without images.
        IncompleteError: classes are missing.
    """
    store = open_store(path)

    def label(folders: Sequence[str], loose: int) -> dict[str, int]:
        parts = [] if any(WNID.fullmatch(name) for name in folders) else _with_wnids(store, folders)
        return imagenet_labels(folders, where=store.location, rule=classes, loose=loose, parts=parts)

    found = class_images(
        store,
        name=name or imagenet_name(classes),
        label=label,
        class_names=None if classes == "subset" else wnids(),
        allow_empty=allow_empty,
    )
    if classes == "partial":
        there = len(np.unique(found.labels))
        note = (
            f"{there:,} of the 1,000 classes have images, and answers are scored among all 1,000. ImageNet-R and -A "
            "are scored among their 200: say imagenet-r: or imagenet-a: for those."
        )
        found.notes = (note,)
    return found


def _with_wnids(store: Store, folders: Sequence[str], *, depth: int = 4) -> list[str]:
    """Paths of the nearest folders below that hold folders named by WNID."""
    conditions = condition_folders()
    level = [name for name in folders if name not in conditions]
    for _ in range(depth):
        inner = {path: store.folders(path) for path in level[:100]}
        found = [path for path, names in inner.items() if any(WNID.fullmatch(name) for name in names)]
        if found:
            return found
        level = [join(path, name) for path, names in inner.items() for name in names if name not in conditions]
    return []


def imagenet_name(classes: str) -> str:
    """Name of an ImageNet set: another one when classes are left out.

    >>> imagenet_name("wnid"), imagenet_name("partial")
    ('imagenet', 'imagenet-partial')
    """
    return f"imagenet-{classes}" if classes in ("partial", "subset") else "imagenet"
