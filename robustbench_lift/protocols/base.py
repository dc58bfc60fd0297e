"""What a protocol is: which cells there are, and which frames a cell shows of an image.

Evaluation knows protocols only through this interface. Reading and preparing an image happens on the CPU, one image
at a time, in any worker; rendering happens on whole batches, on the device, once for all models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from robustbench_lift.data.base import ImageSet
from robustbench_lift.runs import Cell

if TYPE_CHECKING:
    from torch import Tensor


class EvaluationProtocol(Protocol):
    """Cells, the images they read, and how an image becomes the frames that a model sees."""

    @property
    def name(self) -> str:
        """clean, corruption, perturbation or shift."""
        ...

    def cells(self) -> tuple[Cell, ...]:
        """All cells, in the order in which they are evaluated and printed."""
        ...

    def fields(self) -> dict[str, str]:
        """The protocol's part of the signature: every setting that changes a number."""
        ...

    def images(self, cell: Cell) -> ImageSet:
        """The images a cell reads: one set for all cells when frames are generated, a folder each on disk."""
        ...

    def frames(self, cell: Cell) -> int:
        """T, the frames that a model sees of each image."""
        ...

    def prepare(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Resize and crop one image ([H, W, 3], or a clip [T, H, W, 3]) to the one size that `render` takes."""
        ...

    def render(self, cell: Cell, batch: Tensor, ids: Sequence[str]) -> Tensor:
        """uint8 [n, 3, h, w] (clips [n, T, 3, h, w]) -> uint8 frames [n, T, 3, h, w] on the same device."""
        ...
