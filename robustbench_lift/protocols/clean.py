"""Clean images: one cell, one frame an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from robustbench_lift.data.base import ImageSet
from robustbench_lift.data.geometry import Geometry, for_network
from robustbench_lift.protocols.base import DataIdentity, protocol, record_of, target_of
from robustbench_lift.protocols.request import OpenedData, Request
from robustbench_lift.runs import Cell, Record

if TYPE_CHECKING:
    from torch import Tensor


@protocol("clean")
@dataclass(frozen=True, kw_only=True)
class Clean:
    """The images as they are, after the geometry; also the base of protocols that show clean images otherwise."""

    name: ClassVar[str]

    source: ImageSet
    """The images."""
    geometry: Geometry
    """Resize and crop."""
    identity: DataIdentity | None = None
    """The data set of the request; that of the images when there is none."""

    @classmethod
    def build(cls, request: Request, opened: OpenedData) -> Self:
        """The protocol of a request over its clean images."""
        images, views = opened.clean(cls.name)
        return cls(source=images, geometry=views.geometry, identity=opened.identity)

    @property
    def data(self) -> DataIdentity:
        """The data set that the images are of."""
        return self.identity or DataIdentity.of(self.source)

    @property
    def record(self) -> type[Record]:
        """What cells store: predicted classes, or counts of pixels where labels are maps."""
        return record_of(self.source)

    def target(self, images: ImageSet, row: int, size: tuple[int, int]) -> npt.NDArray[Any]:
        """What an answer is measured by."""
        return target_of(images, row, size)

    def cells(self) -> tuple[Cell, ...]:
        """The one cell, named like the protocol."""
        return (Cell(self.name, self.name, 0),)

    def fields(self) -> dict[str, str]:
        """Geometry only."""
        return {"geometry": self.geometry.text}

    def count(self) -> int:
        """All images."""
        return len(self.source.ids)

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
        return for_network(self.geometry, batch).unsqueeze(1)
