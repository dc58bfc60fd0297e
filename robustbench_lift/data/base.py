"""What every collection of images offers: stable ids, labels, and one image at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
"""An image as RGB uint8 [H, W, 3], or a clip [T, H, W, 3]."""


UNLABELLED = -1
"""Label of an image whose class is unknown (CIFAR-P comes without labels; flips need none)."""


class ImageSet(Protocol):
    """Images with stable ids; reading one needs no other, so any worker can read any part in any order.

    A set may have more: `content() -> bytes` where its pixels are cheap to hash, `left_out` (see `left_out_of`), and
    `notes`, sentences about it that a user should read once.
    """

    name: str
    """Short name, printed in the signature: `photos`, `imagenet-val`, `cifar10-c`."""
    ids: tuple[str, ...]
    """Unique ids, sorted; an id never depends on where the data lie on disk."""
    labels: npt.NDArray[np.int64]
    """[n] class indices in the order of `class_names`, or `UNLABELLED`."""
    class_names: tuple[str, ...]
    """Names of the classes (WNIDs for ImageNet), in index order."""

    def read(self, index: int) -> Pixels:
        """One image as RGB uint8 [H, W, 3]; one clip as [T, H, W, 3]."""
        ...


def left_out_of(images: ImageSet) -> Mapping[str, int]:
    """What lies with the images and is not among them: reason -> number of files; empty where nothing is left out."""
    found: Mapping[str, int] = getattr(images, "left_out", {})
    return found


def notes_of(images: ImageSet) -> tuple[str, ...]:
    """Sentences about a set that a user should read once, for example on the order of its classes."""
    found: tuple[str, ...] = getattr(images, "notes", ())
    return found


def fingerprint(ids: Sequence[str], labels: npt.NDArray[np.int64], content: bytes = b"") -> str:
    """sha256 over ids, labels and, where it is cheap, the pixels: equal for equal image sets, on any machine.

    >>> fingerprint(["a", "b"], np.array([0, 1]))[:8]
    '27a55560'
    """
    digest = hashlib.sha256()
    for name, label in zip(ids, labels, strict=True):
        digest.update(f"{name}\t{int(label)}\n".encode())
    digest.update(content)
    return digest.hexdigest()
