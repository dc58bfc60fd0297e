"""A fixed, class-balanced part of an image set: the same images on every machine, whatever the order on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from robustbench_lift.data.base import ImageSet
from robustbench_lift.errors import UsageError


class Subset:
    """Some images of a set, by index."""

    def __init__(self, images: ImageSet, rows: Sequence[int], *, name: str) -> None:
        """Take rows, in rising order."""
        self.parent, self.rows = images, np.array(rows, dtype=np.int64)
        self.name = name
        self.class_names = images.class_names
        self.ids = tuple(images.ids[i] for i in rows)
        self.labels: npt.NDArray[np.int64] = images.labels[self.rows]

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """One image."""
        return self.parent.read(int(self.rows[index]))


def subset(images: ImageSet, limit: int | None, seed: int = 0) -> ImageSet:
    """`limit` images, as many of each class as of any other (one more of some when it does not divide).

    Within a class images rank by sha256(seed, id), and classes by sha256(seed, class); every class gives its first
    image before one gives its second. So a smaller subset lies inside a larger one, and a class that has too few
    images leaves its places to the others. The name tells: `imagenet` becomes `imagenet-limit5000`.

    Args:
        images: the whole set.
        limit: number of images; None takes all.
        seed: another seed gives other images.

    Raises:
        UsageError: a limit below 1, or above the number of images.

    >>> from robustbench_lift.data.photos import PhotoTest
    >>> small = subset(PhotoTest(), 30)
    >>> small.name, np.bincount(small.labels).tolist() == [2] * 15
    ('photos-limit30', True)
    """
    if limit is None:
        return images
    rows = subset_rows(images.ids, images.labels, limit, seed)
    return Subset(images, rows, name=limited_name(images.name, limit, seed))


def limited_name(name: str, limit: int | None, seed: int = 0) -> str:
    """The name of a subset.

    >>> limited_name("imagenet", 5000), limited_name("imagenet", 50, 3)
    ('imagenet-limit5000', 'imagenet-limit50-seed3')
    """
    if limit is None:
        return name
    return f"{name}-limit{limit}" + (f"-seed{seed}" if seed else "")


def subset_rows(ids: Sequence[str], labels: npt.NDArray[np.int64], limit: int, seed: int = 0) -> list[int]:
    """Rows of the subset, rising."""
    if not 1 <= limit <= len(ids):
        raise UsageError(f"--limit {limit:,}: there are {len(ids):,} images; give 1 to {len(ids):,}, or no limit.")

    def mark(text: str) -> bytes:
        return hashlib.sha256(f"{seed}\t{text}".encode("utf-8", "surrogateescape")).digest()

    members: dict[int, list[tuple[bytes, int]]] = {}
    for row, (name, label) in enumerate(zip(ids, labels.tolist(), strict=True)):
        members.setdefault(label, []).append((mark(name), row))
    order = [
        (rank, mark(f"class {label}"), row)
        for label, entries in members.items()
        for rank, (_, row) in enumerate(sorted(entries))
    ]
    return sorted(row for _, _, row in sorted(order)[:limit])
