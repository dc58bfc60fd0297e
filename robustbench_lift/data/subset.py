"""A fixed, class-balanced part of an image set: the same images on every machine, whatever the order on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from robustbench_lift.data.base import ImageSet, LabelMaps, Pixels, Target, has_maps, left_out_of, notes_of, outputs_of
from robustbench_lift.errors import UsageError
from robustbench_lift.text import printable


class Subset:
    """Some images of a set, by index."""

    def __init__(self, images: ImageSet, rows: Sequence[int], *, name: str) -> None:
        """Take rows, in rising order."""
        self.parent, self.rows = images, np.array(rows, dtype=np.int64)
        self.name = name
        self.class_names = images.class_names
        self.ids = tuple(images.ids[i] for i in rows)
        self.labels: npt.NDArray[np.int64] = images.labels[self.rows]
        self.left_out, self.notes = left_out_of(images), notes_of(images)
        self.outputs, self.adversarial = outputs_of(images), getattr(images, "adversarial", False)

    def read(self, index: int) -> Pixels:
        """One image."""
        return self.parent.read(int(self.rows[index]))


class MapSubset(Subset):
    """Some images of a set with label maps."""

    parent: LabelMaps

    def __init__(self, images: LabelMaps, rows: Sequence[int], *, name: str) -> None:
        super().__init__(images, rows, name=name)
        self.blocks: npt.NDArray[np.int64] = images.blocks[self.rows]
        self.band = images.band

    def target(self, index: int, size: tuple[int, int]) -> Target:
        """The label map of one image."""
        return self.parent.target(int(self.rows[index]), size)


def part_of(images: ImageSet, rows: Sequence[int], *, name: str) -> Subset:
    """Some images of a set, by index in rising order, with their label maps where there are some."""
    if has_maps(images):
        return MapSubset(images, rows, name=name)
    return Subset(images, rows, name=name)


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
    return part_of(images, rows, name=limited_name(images.name, limit, seed))


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


def held_out(
    ids: Sequence[str], labels: npt.NDArray[np.int64], fraction: float, seed: int = 0
) -> npt.NDArray[np.bool_]:
    """Which images are set aside for testing: of each class the given fraction with the smallest hash of their id.

    It depends on nothing else, so that training and evaluation agree on any machine.

    Args:
        ids: of all images.
        labels: [n] class indices.
        fraction: of each class, rounded to whole images; between 0 and 1.
        seed: another seed sets others aside; 0 hashes the ids alone.

    Raises:
        UsageError: a fraction that is not between 0 and 1.

    >>> aside = held_out(["a", "b", "c", "d"], np.array([0, 0, 1, 1]), 0.5)
    >>> int(aside[:2].sum()), int(aside[2:].sum())
    (1, 1)
    """
    if not 0 < fraction < 1:
        raise UsageError(f"the held-out fraction must lie between 0 and 1, not {fraction}.")
    salt = f"{seed}\t" if seed else ""
    order = np.array([hashlib.sha256(f"{salt}{name}".encode("utf-8", "surrogateescape")).hexdigest() for name in ids])
    aside = np.zeros(len(ids), dtype=np.bool_)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        ranked = members[np.argsort(order[members])]
        aside[ranked[: round(fraction * len(members))]] = True
    return aside


def held_out_rows(images: ImageSet, fraction: float, part: str) -> list[int]:
    """The rows of one side of `held_out`: `test` is what was set aside, `train` the rest.

    Raises:
        UsageError: a fraction that is none, or that leaves this part without images.
    """
    aside = held_out(images.ids, images.labels, fraction)
    rows: list[int] = np.flatnonzero(aside if part == "test" else ~aside).tolist()
    if not rows:
        largest = int(np.unique(images.labels, return_counts=True)[1].max())
        raise UsageError(
            f"holding out {fraction:g} of each class of {images.name} leaves no {part} images: its largest class has "
            f"{largest}. Give another fraction."
        )
    return rows


def held_out_part(images: ImageSet, fraction: float | str, part: str = "test") -> Subset:
    """The images of `held_out_rows`.

    Raises:
        UsageError: a fraction that is none, or that leaves this part without images.

    >>> from robustbench_lift.data.photos import PhotoTest
    >>> test, train = (held_out_part(PhotoTest(), "0.25", part) for part in ("test", "train"))
    >>> len(test.ids), len(train.ids), test.name, set(test.ids) & set(train.ids)
    (120, 360, 'photos-held-out', set())
    """
    try:
        share = float(fraction)
    except ValueError:
        raise UsageError(f"?hold_out={printable(str(fraction))}: expected a fraction such as 0.25.") from None
    rows = held_out_rows(images, share, part)
    return part_of(images, rows, name=f"{images.name}-{'held-out' if part == 'test' else 'not-held-out'}")
