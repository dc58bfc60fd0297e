"""ImageNet-P's protocol on clean images: every perturbation sequence, generated on the fly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

import corruptions
from corruptions.sequences import TABLES
from robustbench_lift.data.base import ImageSet
from robustbench_lift.errors import UsageError, unknown
from robustbench_lift.protocols.clean import Clean
from robustbench_lift.protocols.corruption import named_set
from robustbench_lift.protocols.sequences import SequenceImages
from robustbench_lift.runs import Cell

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Perturbation(Clean):
    """Sequences of frames, one cell a perturbation.

    Raises:
        UsageError: a perturbation or difficulty that does not exist.
    """

    conditions: tuple[str, ...] = corruptions.PERTURBATIONS
    """Names of perturbations; the 10 of the benchmark unless told otherwise."""
    difficulty: int = 1
    """1..3: noise parameters for noise sequences, stride between compared frames for the others."""
    crop: int | None = None
    """Side of the frames when the prepared image carries a margin (ImageNet-P: 224 of 256)."""
    table: int | str | None = None
    """Parameter table (32, 64, 224, 299, "nearest"); None is the table of the frame size."""
    storage: str = "h264"
    """Storage round trip: `h264`, as ImageNet-P is stored, or `none`."""
    seed: int = 0
    """Every draw comes from (seed, perturbation, difficulty, image id)."""
    name: str = "perturbation"

    def __post_init__(self) -> None:
        known = (*corruptions.PERTURBATIONS, *corruptions.EXTRA_PERTURBATIONS)
        for condition in self.conditions:
            if condition not in known:
                raise unknown("perturbation", condition, known)
        if self.difficulty not in (1, 2, 3):
            raise UsageError(f"difficulty {self.difficulty} does not exist: difficulties are 1, 2 and 3.")

    def cells(self) -> tuple[Cell, ...]:
        """Perturbation by perturbation."""
        return tuple(Cell("perturbation", c, self.difficulty) for c in self.conditions)

    def fields(self) -> dict[str, str]:
        """Everything that changes a pixel or a pair."""
        fields = {"source": "generated", "set": named_set(self.conditions, corruptions.PERTURBATIONS, "benchmark10")}
        if self.table is not None:
            fields["table"] = str(self.table)
        if self.crop is not None:
            fields["crop"] = str(self.crop)
        return fields | {
            "difficulty": str(self.difficulty),
            "n": str(len(self.source.ids)),
            "geometry": self.geometry.text,
            "storage": self.storage,
            "seed": str(self.seed),
        }

    def frames(self, cell: Cell) -> int:
        """Frames of the sequence, by the table of the frame size."""
        from corruptions.api import choose_table
        from corruptions.perturbations import frame_count

        side = self.crop or self.geometry.side
        table = choose_table(side, side, self.table, "imagenet-c")
        return frame_count(cell.condition, table)

    def render(self, cell: Cell, batch: Tensor, ids: Sequence[str]) -> Tensor:
        """The sequences: [n, 3, h, w] -> [n, T, 3, h, w]."""
        from corruptions.storage import round_trip

        sequences = corruptions.perturb(
            batch,
            cell.condition,
            difficulty=self.difficulty,
            seed=self.seed,
            ids=list(ids),
            crop=self.crop,
            table=self.table,
        )
        return round_trip(sequences, self.storage, noise="noise" in cell.condition)


@dataclass(frozen=True, kw_only=True)
class WholeImagePerturbation(Perturbation):
    """Generated ImageNet-P: sequences warp the whole resized image, made where images are read."""

    crop: int | None = 224

    def images(self, cell: Cell) -> ImageSet:
        """The sequences of the images."""
        return SequenceImages(
            self.source,
            cell.condition,
            size=self.crop or 224,
            difficulty=self.difficulty,
            seed=self.seed,
            storage=self.storage,
        )

    def frames(self, cell: Cell) -> int:
        """Frames of the sequence."""
        return TABLES[self.crop or 224].count(cell.condition)

    def prepare(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The clip as it is."""
        return image

    def render(self, cell: Cell, batch: Tensor, ids: Sequence[str]) -> Tensor:
        """[n, T, 3, h, w], unchanged."""
        return batch
