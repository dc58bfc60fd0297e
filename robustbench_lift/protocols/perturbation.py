"""ImageNet-P's protocol: every perturbation sequence, from official files or generated on the fly.

Two ways to generate: sequences of squares, made on the device a batch at a time; and sequences that warp the whole
resized image, as ImageNet-P was made. Images then differ in size, so that these are made where images are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import numpy.typing as npt

from robustbench_lift.data import suites
from robustbench_lift.data.base import ImageSet, has_maps
from robustbench_lift.data.geometry import Geometry, ResizeCrop
from robustbench_lift.errors import UsageError
from robustbench_lift.protocols.base import protocol
from robustbench_lift.protocols.request import OpenedData, Request
from robustbench_lift.protocols.sources import FrameSource, OverConditions, StoredCells
from robustbench_lift.runs import Cell

if TYPE_CHECKING:
    from torch import Tensor

REFERENCE = ResizeCrop()
"""The geometry of ImageNet-P: 224 pixels out of images whose shorter side is 256."""
WHOLE = ResizeCrop(resize=REFERENCE.resize, crop=None)
"""The same without the crop."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GeneratedSequences:
    """Sequences of square images, stored and read back as the official files were."""

    clean: ImageSet
    """The images."""
    geometry: Geometry
    """Resize and crop, before the perturbation."""
    crop: int | None = None
    """Side of the frames when the prepared image carries a margin."""
    table: int | str | None = None
    """Parameter table (32, 64, 224, 299, "nearest"); None is the table of the frame size."""
    storage: str = "h264"
    """Storage round trip: `h264`, as ImageNet-P is stored, or `none`."""
    seed: int = 0
    """Every draw comes from (seed, perturbation, difficulty, image id)."""

    def require(self, conditions: Sequence[str], levels: Sequence[int]) -> None:
        """Whatever has a kernel can be generated; OpenCV and a codec are asked for before the first cell."""
        from corruptions.opencv import require_opencv

        require_opencv()
        if self.storage == "h264":
            from corruptions.storage import require_video

            require_video()

    def fields(self, cells: dict[str, str]) -> dict[str, str]:
        """Everything that changes a pixel."""
        table = {} if self.table is None else {"table": str(self.table)}
        crop = {} if self.crop is None else {"crop": str(self.crop)}
        made = {"geometry": self.geometry.text, "storage": self.storage, "seed": str(self.seed)}
        return {"source": "generated", "set": cells["set"]} | table | crop | cells | made

    def images(self, cell: Cell) -> ImageSet:
        """The same images for every cell."""
        return self.clean

    def frames(self, cell: Cell) -> int:
        """Frames of the sequence, by the table of the frame size."""
        from corruptions import frame_count
        from corruptions.api import choose_table

        side = self.crop or self.geometry.side
        return frame_count(cell.condition, choose_table(side, side, self.table, "imagenet-c"))

    def prepare(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Apply the geometry."""
        return self.geometry(image)

    def render(self, cell: Cell, batch: Tensor, ids: Sequence[str]) -> Tensor:
        """The sequences: [n, 3, h, w] -> [n, T, 3, h, w]."""
        from corruptions import is_noise, perturb
        from corruptions.storage import round_trip

        sequences = perturb(
            batch,
            cell.condition,
            difficulty=cell.severity,
            seed=self.seed,
            ids=list(ids),
            crop=self.crop,
            table=self.table,
        )
        return round_trip(sequences, self.storage, noise=is_noise(cell.condition))


@dataclass(frozen=True, kw_only=True, eq=False)
class WholeImageSequences(GeneratedSequences):
    """Sequences that warp the whole resized image; frames show its centre."""

    geometry: Geometry = WHOLE
    crop: int = REFERENCE.side

    def images(self, cell: Cell) -> ImageSet:
        """The sequences as clips, made when they are read."""
        return _Clips(self, cell)

    def prepare(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The clip as it is."""
        return image

    def render(self, cell: Cell, batch: Tensor, ids: Sequence[str]) -> Tensor:
        """[n, T, 3, h, w], unchanged."""
        return batch


class _Clips:
    """Clips [T, size, size, 3] of one perturbation; ids, labels and classes are the images'."""

    def __init__(self, sequences: WholeImageSequences, cell: Cell) -> None:
        self._sequences, self._cell, images = sequences, cell, sequences.clean
        self.name, self.ids, self.labels, self.class_names = images.name, images.ids, images.labels, images.class_names

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """The clip of an image, uint8 [T, size, size, 3]."""
        from PIL import Image

        from corruptions import is_noise
        from corruptions.preparation import sequence
        from corruptions.storage import round_trip

        made, name = self._sequences, self._cell.condition
        clip = sequence(
            Image.fromarray(made.clean.read(index)),
            name,
            size=made.crop,
            difficulty=self._cell.severity,
            seed=made.seed,
            image_id=self.ids[index],
        )
        return round_trip(clip, made.storage, noise=is_noise(name), threads=1)


@protocol("perturbation")
@dataclass(frozen=True, kw_only=True, eq=False)
class Perturbation(OverConditions):
    """Sequences of frames, one cell a perturbation.

    Raises:
        UsageError: a perturbation or difficulty that does not exist.
        IncompleteError: files are missing; the message names them.
    """

    what: ClassVar[str] = "difficulty"
    existing: ClassVar[tuple[int, ...]] = (1, 2, 3)

    conditions: tuple[str, ...] = suites.SUITES["imagenet-p"].conditions
    """Names of perturbations; the 10 of the benchmark by default."""
    difficulty: int = 1
    """1..3: noise parameters for noise sequences, stride between compared frames for the others."""

    @property
    def levels(self) -> tuple[int, ...]:
        """The difficulty."""
        return (self.difficulty,)

    @classmethod
    def build(cls, request: Request, opened: OpenedData) -> Self:
        """Official files where the request names them, else sequences of its clean images."""
        return cls(
            source=cls._source(request, opened),
            conditions=opened.conditions(cls.name),
            difficulty=request.difficulty,
            identity=opened.identity,
        )

    @classmethod
    def _source(cls, request: Request, opened: OpenedData) -> FrameSource:
        tree = opened.tree(cls.name)
        if tree is not None:
            return StoredCells(tree=tree)
        images, views = opened.clean(cls.name)
        if has_maps(images):
            raise UsageError(
                "perturbation sequences move and scale what they show, and label maps would have to follow: leave "
                "perturbation out of --protocols."
            )
        images, table = opened.kind.sequences(images), opened.table(cls.name)
        storage = "h264" if opened.stored else "none"
        if views.geometry == REFERENCE:
            return WholeImageSequences(clean=images, storage=storage, seed=request.seed)
        return GeneratedSequences(
            clean=images, geometry=views.geometry, table=table, storage=storage, seed=request.seed
        )

    def fields(self) -> dict[str, str]:
        """Everything that changes a pixel or a pair, and how many images there are."""
        set_ = suites.label(self.name, self.conditions)
        return self.source.fields({"set": set_, "difficulty": str(self.difficulty), "n": str(self.count())})
