"""What a protocol is: which cells there are, and which frames a cell shows of an image.

Evaluation knows protocols only through this interface. Reading and preparing an image happens on the CPU, one image
at a time, in any worker; rendering happens on whole batches, on the device, once for all models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

import metrics
from robustbench_lift.data.base import ImageSet, Outputs, fingerprint, has_maps, outputs_of
from robustbench_lift.registry import add
from robustbench_lift.runs import Cell, PixelCounts, Predictions, Record
from robustbench_lift.runs.segmentation import band_of

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class DataIdentity:
    """The whole data set of a request, the same whichever of its protocols are asked for, and in whatever order."""

    name: str
    """As printed in the signature: `imagenet`."""
    fingerprint: str
    """sha256 over ids, labels and, where no tree shows the same images, pixels."""
    images: int
    """Number of images."""
    class_names: tuple[str, ...]
    """In index order."""
    outputs: Outputs | None = None
    """Which outputs of a network stand for the classes; None: output k is class k."""

    @property
    def answers(self) -> int:
        """Outputs that a network must have."""
        return len(self.class_names) if self.outputs is None else self.outputs.of

    @classmethod
    def of(cls, images: ImageSet, *, content: bool = True) -> DataIdentity:
        """The identity of an image set.

        Args:
            images: all images.
            content: whether pixels count, where they are in memory.

        >>> from robustbench_lift.data.photos import PhotoTest
        >>> identity = DataIdentity.of(PhotoTest())
        >>> identity.name, identity.fingerprint[:8], identity.images
        ('photos', 'faa83961', 480)
        """
        pixels = getattr(images, "content", bytes)() if content else b""
        mark = fingerprint(images.ids, images.labels, pixels)
        return cls(images.name, mark, len(images.ids), tuple(images.class_names), outputs_of(images))


def record_of(images: ImageSet) -> type[Record]:
    """What is stored of answers to images: predicted classes, or counts of pixels where labels are maps."""
    return PixelCounts if has_maps(images) else Predictions


def target_of(images: ImageSet, row: int, size: tuple[int, int]) -> npt.NDArray[Any]:
    """What an answer to an image is measured by: its label, or uint8 [2, H, W], label map and band (`band_of`)."""
    if not has_maps(images):
        return np.asarray(images.labels[row])
    labels = images.target(row, size)
    return np.stack([labels, band_of(metrics.boundary_distance(labels, band=images.band))])


class EvaluationProtocol(Protocol):
    """Cells, the images they read, and how an image becomes the frames that a model sees.

    A protocol may have more: `record`, the class of what its cells store (`Predictions` without it); `target(images,
    row, size)`, what an answer to an image of that (height, width) is measured by (its label without it); and
    `combine(cell, measured, targets=..., ids=...)`, which makes what is stored of all frames of each image; and
    `geometry`, where `prepare` is that and all cells show the same images: they are then decoded once.
    """

    @property
    def name(self) -> str:
        """As it is registered: clean, corruption, perturbation, shift, ..."""
        ...

    @property
    def data(self) -> DataIdentity:
        """The data set that the images are of; one for all protocols of a run."""
        ...

    def cells(self) -> tuple[Cell, ...]:
        """All cells, in the order in which they are evaluated and printed."""
        ...

    def fields(self) -> dict[str, str]:
        """The protocol's part of the signature: every setting that changes a number."""
        ...

    def count(self) -> int:
        """Images of each cell, the same in all; at most one cell is listed for it."""
        ...

    def images(self, cell: Cell) -> ImageSet:
        """The images that a cell reads; a cell on disk is listed when it is asked for."""
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


def stored_by(protocol: EvaluationProtocol) -> type[Record]:
    """What cells of a protocol store."""
    found: type[Record] = getattr(protocol, "record", Predictions)
    return found


PROTOCOLS: dict[str, Any] = {}
"""Name -> class of protocols; each has `build(request, opened) -> EvaluationProtocol`."""

Class = TypeVar("Class", bound=type)


def protocol(name: str) -> Callable[[Class], Class]:
    """Register a class of protocols: `--protocols NAME` then takes it.

    The class has a class method `build(request, opened)` that makes the protocol of a request over its opened data;
    one that shows clean images otherwise derives from `Clean` and has it already. Its `name` is set.

    Raises:
        UsageError: the name is taken.

    Example:
        >>> from robustbench_lift.protocols import Clean, protocol
        >>> @protocol("mirror")  # doctest: +SKIP
        ... class Mirror(Clean): ...
    """

    def register(cls: Class) -> Class:
        add(PROTOCOLS, "protocol", name, cls, module=cls.__module__)
        cls.name = name  # type: ignore[attr-defined]
        return cls

    return register
