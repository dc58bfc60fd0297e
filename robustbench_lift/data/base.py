"""What every collection of images offers: stable ids, labels, and one image at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt


class ImageSet(Protocol):
    """Images with stable ids; reading one needs no other, so any worker can read any part in any order."""

    name: str
    """Short name, printed in the signature: `photos`, `imagenet-val`, `cifar10-c`."""
    ids: tuple[str, ...]
    """Unique ids, sorted; an id never depends on where the data lie on disk."""
    labels: npt.NDArray[np.int64]
    """[n] class indices in the order of `class_names`."""
    class_names: tuple[str, ...]
    """Names of the classes (WNIDs for ImageNet), in index order."""

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """One image as RGB uint8 [H, W, 3]; one clip as [T, H, W, 3]."""
        ...


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
