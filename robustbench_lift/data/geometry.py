"""How an image becomes the square that a protocol works on, when no data set prescribes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from robustbench_lift.errors import DataError


class Geometry(Protocol):
    """Resizing and cropping of one image, and the words for it in the signature."""

    def __call__(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """RGB uint8 [H, W, 3] in, uint8 [h, w, 3] out, one size for all images."""
        ...

    @property
    def side(self) -> int:
        """Side of the squares that come out, in pixels."""
        ...

    @property
    def text(self) -> str:
        """A few words for the signature, for example `resize256-crop224`."""
        ...


@dataclass(frozen=True, slots=True)
class CenterCrop:
    """The central square of an image, offsets rounded half to even as torchvision does.

    >>> CenterCrop(64)(np.zeros((72, 72, 3), np.uint8)).shape
    (64, 64, 3)
    """

    size: int
    """Side in pixels."""

    def __call__(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        height, width = image.shape[0], image.shape[1]
        if min(height, width) < self.size:
            raise DataError(f"an image of {height}x{width} pixels is smaller than the {self.size}-pixel crop.")
        top, left = round((height - self.size) / 2), round((width - self.size) / 2)
        return image[top : top + self.size, left : left + self.size]

    @property
    def side(self) -> int:
        """Side of the square."""
        return self.size

    @property
    def text(self) -> str:
        """Words for the signature."""
        return f"crop{self.size}"
