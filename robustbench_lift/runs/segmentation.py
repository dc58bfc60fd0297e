"""What a cell of a segmentation network stores: counts of pixels by class, and of pixels on which two views agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from metrics import VOID
from robustbench_lift.errors import DataError
from robustbench_lift.runs.cells import Record, Shape, record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from robustbench_lift.data.base import ImageSet

TRIMAP_WIDTHS = (1, 2, 4, 8)
"""Widths of the bands along boundaries in which pixels are counted too, in pixels on each side."""


@record("segmentation")
@dataclass(frozen=True)
class PixelCounts(Record):
    """Counts of pixels of each image and class: intersection, target, prediction; void pixels are in none.

    Sums over images give mIoU and all that goes with it. Answers are compared at the size of the label map; logits of
    another size are upsampled bilinearly before the class is chosen.
    """

    block: npt.NDArray[np.int32]
    """[n] images of one number are drawn together by a bootstrap."""
    counts: npt.NDArray[np.int32]
    """[n, K, 3] over the whole image."""
    trimap: npt.NDArray[np.int32]
    """[n, widths, K, 3] within `TRIMAP_WIDTHS` pixels of a boundary."""

    ARRAYS: ClassVar[Mapping[str, tuple[str, Shape]]] = {
        "block": ("<i4", ()),
        "counts": ("<i4", ("K", 3)),
        "trimap": ("<i4", (len(TRIMAP_WIDTHS), "K", 3)),
    }
    TASK = "segmentation"
    READ = 16

    @classmethod
    def known(cls, images: ImageSet, rows: Sequence[int]) -> dict[str, npt.NDArray[Any]]:
        """The blocks."""
        return {"block": blocks(images, rows)}

    @classmethod
    def measure(cls, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Counts of logits [m, K, h, w] and targets uint8 [m, 2, H, W]: class indices, and bands (`band_of`).

        >>> import torch
        >>> logits = torch.zeros(1, 2, 1, 3)
        >>> logits[0, 1, 0, 1:] = 1
        >>> targets = torch.tensor([[[[0, 0, 1]], [[4, 0, 0]]]], dtype=torch.uint8)
        >>> found = PixelCounts.measure(logits, targets)
        >>> found["counts"].tolist(), found["trimap"][0, 0].tolist()
        ([[[1, 2, 1], [1, 1, 2]]], [[0, 1, 0], [1, 1, 2]])
        """
        import torch

        count, classes = logits.shape[:2]
        bands = len(TRIMAP_WIDTHS) + 1
        said = chosen(logits, targets.shape[2:]).to(torch.int32)
        true, band = targets[:, 0].to(torch.int32), targets[:, 1].clamp(max=bands - 1).to(torch.int32)
        true = true.masked_fill(true == VOID, classes)  # a row of its own, which is not counted
        image = torch.arange(count, dtype=torch.int32, device=logits.device).view(-1, 1, 1)
        place = ((image * bands + band) * (classes + 1) + true) * classes + said
        table = torch.bincount(place.flatten(), minlength=count * bands * (classes + 1) * classes)
        confusion = table.view(count, bands, classes + 1, classes)[:, :, :classes]
        found = torch.stack([confusion.diagonal(dim1=2, dim2=3), confusion.sum(dim=3), confusion.sum(dim=2)], dim=3)
        within = found.cumsum(dim=1).to(torch.int32)
        return {"counts": within[:, -1], "trimap": within[:, :-1]}

    def check(self, classes: int) -> None:
        """Counts that can be: as many classes as the data, no intersection above target or prediction."""
        if self.counts.shape[1] != classes and len(self.ids):
            raise DataError(f"counts are of {self.counts.shape[1]} classes, expected {classes}")
        whole = np.concatenate([self.trimap, self.counts[:, None]], axis=1)
        wrong = (whole < 0).any() or (whole[..., 0] > whole[..., 1:].min(axis=-1)).any()
        if wrong or (np.diff(whole, axis=1) < 0).any():
            raise DataError("counts of an intersection are above those of its target or prediction, or below zero")


@record("agreement")
@dataclass(frozen=True)
class PixelAgreement(Record):
    """On how many pixels two shifted views of an image are answered alike, of each pair of views."""

    block: npt.NDArray[np.int32]
    """[n] images of one number are drawn together by a bootstrap."""
    agreement: npt.NDArray[np.int32]
    """[n, pairs, 4] pixels of the overlap: answered alike, all; of those that the first view has right, likewise."""

    ARRAYS: ClassVar[Mapping[str, tuple[str, Shape]]] = {"block": ("<i4", ()), "agreement": ("<i4", ("P", 4))}
    TASK = "segmentation"
    READ = 4

    @classmethod
    def known(cls, images: ImageSet, rows: Sequence[int]) -> dict[str, npt.NDArray[Any]]:
        """The blocks."""
        return {"block": blocks(images, rows)}

    @classmethod
    def measure(cls, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The class of each pixel of a view, uint8 [m, h, w]; the protocol compares the views of an image."""
        import torch

        return {"classes": chosen(logits, logits.shape[2:]).to(torch.uint8)}

    def check(self, classes: int) -> None:
        """No count above what it is a part of, and no pair of views without a pixel in common."""
        if (self.agreement[..., 1] < 1).any():
            raise DataError("a pair of views has no pixel in common, so that nothing can be said of it")
        alike, pixels, right_alike, right = np.moveaxis(self.agreement, -1, 0)
        if (
            (self.agreement < 0).any()
            or (alike > pixels).any()
            or (right > pixels).any()
            or (right_alike > right).any()
        ):
            raise DataError("pixels that agree are more than there are, or below zero")


def chosen(logits: Tensor, size: Sequence[int]) -> Tensor:
    """The class of each pixel, int64 [m, H, W], of logits that are brought to this size first."""
    import torch.nn.functional as F

    if tuple(logits.shape[2:]) != tuple(size):
        logits = F.interpolate(logits, size=tuple(size), mode="bilinear", align_corners=False)
    return logits.max(dim=1).indices  # argmax is slower on a CPU


def blocks(images: ImageSet, rows: Sequence[int]) -> npt.NDArray[np.int32]:
    """Which images are drawn together: `images.blocks`, else each its own."""
    found = getattr(images, "blocks", None)
    every = np.arange(len(images.ids)) if found is None else np.asarray(found)
    return every[list(rows)].astype(np.int32)


def band_of(distance: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.uint8]:
    """The narrowest trimap that a pixel of this distance from a boundary lies in, as an index of `TRIMAP_WIDTHS`.

    >>> band_of(np.array([1, 2, 3, 8, 9])).tolist()
    [0, 1, 2, 3, 4]
    """
    return np.searchsorted(np.asarray(TRIMAP_WIDTHS), distance).astype(np.uint8)
