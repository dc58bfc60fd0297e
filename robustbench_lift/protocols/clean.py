"""Clean images: one cell, one frame an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from robustbench_lift.data.base import ImageSet
from robustbench_lift.data.geometry import Geometry
from robustbench_lift.runs import Cell

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Clean:
    """The images as they are, after the geometry."""

    source: ImageSet
    """The images."""
    geometry: Geometry
    """Resize and crop."""
    name: str = "clean"

    def cells(self) -> tuple[Cell, ...]:
        """The one cell."""
        return (Cell("clean", "clean", 0),)

    def fields(self) -> dict[str, str]:
        """Geometry only."""
        return {"geometry": self.geometry.text}

    def images(self, cell: Cell) -> ImageSet:
        """The same images for every cell."""
        return self.source

    def frames(self, cell: Cell) -> int:
        """One."""
        return 1

    def prepare(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Apply the geometry."""
        return self.geometry(image)

    def render(self, cell: Cell, batch: Tensor, ids: Sequence[str]) -> Tensor:
        """[n, 3, h, w] -> [n, 1, 3, h, w]."""
        return batch.unsqueeze(1)
