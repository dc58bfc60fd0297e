"""Protocols over conditions, and where the frames of their cells come from: made of clean images, or stored on disk.

`corruption` and `perturbation` say which cells there are; a source says how a cell's frames come to be, so that
official files and generated frames are two sources of one protocol, told apart in the signature.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from robustbench_lift.data.base import ImageSet
from robustbench_lift.data.geometry import AsStored, Geometry
from robustbench_lift.data.suites import conditions_of, generated
from robustbench_lift.errors import DataError, UsageError, unknown
from robustbench_lift.protocols.base import DataIdentity, record_of, target_of
from robustbench_lift.runs import Cell, Predictions, Record

if TYPE_CHECKING:
    from torch import Tensor

    from robustbench_lift.data.tree import Tree


class FrameSource(Protocol):
    """What makes or reads the frames of cells; see `EvaluationProtocol` for the methods that it shares."""

    def require(self, conditions: Sequence[str], levels: Sequence[int]) -> None:
        """Raise, naming what is missing, unless it has the frames of all these cells."""
        ...

    def fields(self, cells: dict[str, str]) -> dict[str, str]:
        """The protocol's part of the signature, given the fields that say which cells there are."""
        ...

    def images(self, cell: Cell) -> ImageSet:
        """The images of a cell."""
        ...

    def frames(self, cell: Cell) -> int:
        """T, frames of each image."""
        ...

    def prepare(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """One image or clip, ready for a batch."""
        ...

    def render(self, cell: Cell, batch: Tensor, ids: Sequence[str]) -> Tensor:
        """The frames [n, T, 3, h, w] of a batch."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredCells:
    """Frames as they lie on disk: nothing is resized, nothing is drawn."""

    tree: Tree
    """Where the cells lie: ImageNet-C, ImageNet-P, CIFAR-C, ..."""

    def require(self, conditions: Sequence[str], levels: Sequence[int]) -> None:
        """Raise IncompleteError, naming all that is missing."""
        self.tree.require(conditions, levels)

    def fields(self, cells: dict[str, str]) -> dict[str, str]:
        """Which files, which cells, and that nothing is resized."""
        from robustbench_lift.data.tree import origin

        return origin(self.tree.root) | {"files": self.tree.files} | cells | {"geometry": AsStored(self.tree.size).text}

    def images(self, cell: Cell) -> ImageSet:
        """The images of a cell's folder or file."""
        return self.tree.images(cell.condition, cell.severity)

    def frames(self, cell: Cell) -> int:
        """Those of the file."""
        return self.tree.frames(cell.condition)

    def prepare(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The image or clip as it is; another size is refused."""
        return AsStored(self.tree.size)(image)

    def render(self, cell: Cell, batch: Tensor, ids: Sequence[str]) -> Tensor:
        """Images as one frame each; clips as they are."""
        return batch if batch.ndim == 5 else batch.unsqueeze(1)


@dataclass(frozen=True, kw_only=True, eq=False)
class OverConditions(ABC):
    """What corruption and perturbation have in common: conditions, levels, and a source of frames."""

    name: ClassVar[str]
    what: ClassVar[str]
    """What a level is: severity or difficulty."""
    existing: ClassVar[tuple[int, ...]]
    """All levels that there are."""

    source: FrameSource
    """Where the frames come from."""
    conditions: tuple[str, ...]
    """In the order in which they are evaluated."""
    identity: DataIdentity | None = None
    """The data set of the request; that of the first cell when there is none."""

    @property
    @abstractmethod
    def levels(self) -> tuple[int, ...]:
        """The levels of each condition."""

    @abstractmethod
    def fields(self) -> dict[str, str]:
        """The protocol's part of the signature."""

    def __post_init__(self) -> None:
        known = conditions_of(self.name) if isinstance(self.source, StoredCells) else generated(self.name)
        for condition in self.conditions:
            if condition not in known:
                raise unknown(self.name, condition, known)
        for level in self.levels:
            if level not in self.existing:
                plural = {"severity": "severities", "difficulty": "difficulties"}[self.what]
                *first, last = map(str, self.existing)
                raise UsageError(f"{self.what} {level} does not exist: {plural} are {', '.join(first)} and {last}.")
        self.source.require(self.conditions, self.levels)

    @property
    def data(self) -> DataIdentity:
        """The data set that the images are of."""
        return self.identity or DataIdentity.of(self.source.images(self.cells()[0]))

    def cells(self) -> tuple[Cell, ...]:
        """Condition by condition, levels in their order."""
        return tuple(
            Cell(self.name, condition, level) for condition in self.conditions for level in self.levels_of(condition)
        )

    def levels_of(self, condition: str) -> tuple[int, ...]:
        """The levels of one condition."""
        return self.levels

    @property
    def geometry(self) -> Geometry | None:
        """How clean images are prepared; None where each cell has images of its own."""
        return self.source.geometry if hasattr(self.source, "clean") else None  # type: ignore[attr-defined]

    @property
    def record(self) -> type[Record]:
        """What cells store: predicted classes, or counts of pixels where labels are maps."""
        clean: ImageSet | None = getattr(self.source, "clean", None)
        return Predictions if clean is None else record_of(clean)

    def target(self, images: ImageSet, row: int, size: tuple[int, int]) -> npt.NDArray[Any]:
        """What an answer is measured by."""
        return target_of(images, row, size)

    def count(self) -> int:
        """Images of the first cell; `images` refuses a cell that has others."""
        return len(self.source.images(self.cells()[0]).ids)

    def images(self, cell: Cell) -> ImageSet:
        """The images of a cell.

        Raises:
            DataError: they are not those of the first cell.
        """
        images, first = self.source.images(cell), self.source.images(self.cells()[0])
        if images.ids != first.ids:
            raise DataError(
                f"{cell.key} has {len(images.ids):,} images and {self.cells()[0].key} {len(first.ids):,}, not the same "
                "ones. All cells of a run show the same images; get the file that is cut short again."
            )
        return images

    def frames(self, cell: Cell) -> int:
        """Frames of each image."""
        return self.source.frames(cell)

    def prepare(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """One image or clip, ready for a batch."""
        return self.source.prepare(image)

    def render(self, cell: Cell, batch: Tensor, ids: Sequence[str]) -> Tensor:
        """The frames [n, T, 3, h, w] of a batch."""
        return self.source.render(cell, batch, ids)
