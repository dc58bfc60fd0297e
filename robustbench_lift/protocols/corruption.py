"""ImageNet-C's protocol: every corruption at every severity, from official files or generated on the fly.

Generated frames are another signature than the official files: the official randomness cannot be regenerated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import numpy.typing as npt

from robustbench_lift.data import suites
from robustbench_lift.data.base import ImageSet
from robustbench_lift.data.geometry import Geometry, for_network
from robustbench_lift.protocols.base import protocol
from robustbench_lift.protocols.request import OpenedData, Request
from robustbench_lift.protocols.sources import FrameSource, OverConditions, StoredCells
from robustbench_lift.runs import Cell

if TYPE_CHECKING:
    from torch import Tensor

SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True, kw_only=True, eq=False)
class GeneratedCorruptions:
    """Corrupted clean images, stored and read back as the official files were."""

    clean: ImageSet
    """The images."""
    geometry: Geometry
    """Resize and crop, before the corruption."""
    variant: str = "imagenet-c"
    """`imagenet-c` or `imagecorruptions`."""
    table: int | str | None = None
    """Severity table (32, 64, 224, 299, "nearest"); None is the table of the image size."""
    storage: str = "jpeg85"
    """Storage round trip: `jpeg85`, as ImageNet-C is stored, or `none`."""
    seed: int = 0
    """Every draw comes from (seed, corruption, severity, image id)."""

    def require(self, conditions: Sequence[str], levels: Sequence[int]) -> None:
        """Whatever has a kernel can be generated; OpenCV, which many use, is asked for before the first cell."""
        from corruptions.opencv import require_opencv

        require_opencv()

    def fields(self, cells: dict[str, str]) -> dict[str, str]:
        """Everything that changes a pixel."""
        table = {} if self.table is None else {"table": str(self.table)}
        made = {"geometry": self.geometry.text, "storage": self.storage, "seed": str(self.seed)}
        return {"source": "generated", "variant": self.variant} | table | cells | made

    def images(self, cell: Cell) -> ImageSet:
        """The same images for every cell."""
        return self.clean

    def frames(self, cell: Cell) -> int:
        """One."""
        return 1

    def prepare(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Apply the geometry."""
        return self.geometry(image)

    def render(self, cell: Cell, batch: Tensor, ids: Sequence[str]) -> Tensor:
        """Corrupt, store and read back: [n, 3, h, w] -> [n, 1, 3, h, w]."""
        from corruptions import corrupt
        from corruptions.storage import round_trip

        corrupted = corrupt(
            batch, cell.condition, cell.severity, seed=self.seed, ids=list(ids), variant=self.variant, table=self.table
        )
        return for_network(self.geometry, round_trip(corrupted, self.storage)).unsqueeze(1)


@protocol("corruption")
@dataclass(frozen=True, kw_only=True, eq=False)
class Corruption(OverConditions):
    """Corrupted images, `corruptions x severities` cells of one frame.

    Raises:
        UsageError: a corruption or severity that does not exist.
        IncompleteError: files are missing; the message names them.
    """

    what: ClassVar[str] = "severity"
    existing: ClassVar[tuple[int, ...]] = SEVERITIES

    conditions: tuple[str, ...] = suites.SUITES["imagenet-c"].conditions
    """Names of corruptions; the 15 of the benchmark by default."""
    severities: tuple[int, ...] = SEVERITIES
    """Severities, 1..5."""
    limits: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Corruption -> its severities, where a suite has fewer of it."""

    @property
    def levels(self) -> tuple[int, ...]:
        """The severities."""
        return self.severities

    def levels_of(self, condition: str) -> tuple[int, ...]:
        """The severities of one corruption."""
        return tuple(s for s in self.severities if s in self.limits.get(condition, SEVERITIES))

    @classmethod
    def build(cls, request: Request, opened: OpenedData) -> Self:
        """Official files where the request names them, else corruptions of its clean images."""
        conditions = opened.conditions(cls.name)
        return cls(
            source=cls._source(request, opened),
            conditions=conditions,
            severities=request.severities,
            limits=opened.limits(cls.name, conditions),
            identity=opened.identity,
        )

    @classmethod
    def _source(cls, request: Request, opened: OpenedData) -> FrameSource:
        tree = opened.tree(cls.name)
        if tree is not None:
            return StoredCells(tree=tree)
        images, views = opened.clean(cls.name)
        return GeneratedCorruptions(
            clean=images,
            geometry=views.geometry,
            variant=request.variant,
            table=opened.table(cls.name, needed=request.variant == "imagenet-c"),
            storage="jpeg85" if opened.stored else "none",
            seed=request.seed,
        )

    def fields(self) -> dict[str, str]:
        """Everything that changes a pixel."""
        cells = {"set": suites.label(self.name, self.conditions, self.limits)}
        if set(self.severities) != set(SEVERITIES):
            cells["severities"] = "+".join(map(str, sorted(self.severities)))
        return self.source.fields(cells)
