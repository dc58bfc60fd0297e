"""Image sets of files: class folders listed from any store, ids `<class>/<name without ending>`, sorted."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from robustbench_lift.data.decode import SUFFIXES, Pixels, decode_clip, decode_image
from robustbench_lift.data.stores import Blobs, Store, join
from robustbench_lift.data.transforms import check_side
from robustbench_lift.errors import DataError
from robustbench_lift.text import printable, some

VIDEO_SUFFIXES = frozenset({".mp4"})


@dataclass(kw_only=True, eq=False)
class StoredImages:
    """Images or clips in files, an `ImageSet`; decoding happens when one is read."""

    name: str
    """Printed in the signature."""
    ids: tuple[str, ...]
    """`<class>/<name without ending>`, sorted: the same wherever the data lie."""
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

    def renamed(self, name: str) -> StoredImages:
        """The same images under another name."""
        return replace(self, name=name)


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What lies in a tree of class folders."""

    where: str
    """The place, printable."""
    classes: tuple[str, ...]
    """Names of the class folders."""
    ids: tuple[str, ...]
    """`<class>/<name without ending>`, sorted."""
    paths: tuple[str, ...]
    """Path below the top, in the order of the ids."""
    owners: tuple[int, ...]
    """Index into `classes`, in the order of the ids."""
    ignored: tuple[str, ...] = ()
    """Files whose ending is no image's."""
    empty: tuple[str, ...] = field(default=())
    """Class folders without images."""


def list_classes(
    store: Store,
    top: str = "",
    *,
    suffixes: frozenset[str] = SUFFIXES,
    inner: str = "",
    keep: Mapping[str, int] | None = None,
) -> Listing:
    """List a tree of class folders.

    Args:
        store: where it is.
        top: path of the folder of class folders.
        suffixes: endings that count, lower case.
        inner: folder between a class and its files (`images` in Tiny-ImageNet's train).
        keep: list these classes only.

    Raises:
        DataError: two files that would have the same id.
    """
    where = join(store.location, printable(top))
    classes = [name for name in store.folders(top) if keep is None or name in keep]
    entries: list[tuple[str, str, int]] = []
    ignored: list[str] = []
    empty: list[str] = []
    for owner, name in enumerate(classes):
        before = len(entries)
        for file in store.files(join(top, name, inner)):
            stem, suffix = os.path.splitext(file)  # noqa: PTH122 - a name, millions of times
            if suffix.lower() in suffixes:
                entries.append((f"{name}/{stem}", join(top, name, inner, file), owner))
            else:
                ignored.append(f"{name}/{file}")
        if len(entries) == before:
            empty.append(name)
    entries.sort()
    for first, second in itertools.pairwise(entries):
        if first[0] == second[0]:
            raise DataError(
                f"{where} has two files for one image, {printable(first[1])} and {printable(second[1])}; remove one."
            )
    ids, paths, owners = zip(*entries, strict=True) if entries else ((), (), ())
    return Listing(
        where=where,
        classes=tuple(classes),
        ids=ids,
        paths=paths,
        owners=owners,
        ignored=tuple(ignored),
        empty=tuple(empty),
    )


def class_images(
    store: Store,
    top: str = "",
    *,
    name: str,
    label: Callable[[Sequence[str], int], Mapping[str, int]],
    class_names: Sequence[str] | None = None,
    suffixes: frozenset[str] = SUFFIXES,
    inner: str = "",
    side: int | None = None,
    frames: int | None = None,
) -> StoredImages:
    """A tree of class folders as an image set.

    Args:
        store: where it is.
        top: path of the folder of class folders.
        name: of the set.
        label: (class folders, images beside them) -> class index of each folder; it refuses what it does not know.
        class_names: all classes in index order; None: the folders in the order of their labels.
        suffixes: endings that count.
        inner: folder between a class and its files.
        side: the one side that images must have.
        frames: frames of each clip.

    Raises:
        DataError: a layout that is not understood, or a class without images.
    """
    found = list_classes(store, top, suffixes=suffixes, inner=inner)
    loose = 0
    if not found.classes:
        loose = sum(file.lower().endswith(tuple(suffixes)) for file in store.files(top))
    indices = label(found.classes, loose)
    if found.empty:
        raise DataError(
            f"{found.where} has class folders without files ({', '.join(sorted(suffixes))}): {some(found.empty)}. "
            "Extract the rest, or remove these folders."
        )
    of_class = np.array([indices[folder] for folder in found.classes], dtype=np.int64)
    names = class_names or tuple(sorted(found.classes, key=indices.__getitem__))
    return StoredImages(
        name=name,
        ids=found.ids,
        labels=of_class[np.array(found.owners, dtype=np.int64)],
        class_names=tuple(names),
        blobs=store.blobs(found.paths),
        side=side,
        frames=frames,
    )
