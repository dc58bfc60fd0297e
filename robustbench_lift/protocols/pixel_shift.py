"""Shift consistency where every pixel has a class: are pixels answered alike when the window moves?

Both views are windows of one image, so that no pixel is invented, and are compared in their overlap after the shift is
undone (mASSC, mean average semantic segmentation consistency). The relative shift is uniform in -margin..margin in
each direction, as in the reference; there the second view is rolled or padded. A network that answers one class for
everything is perfectly consistent: read it beside mIoU, and beside the consistency where the first view is right.

Source: Rojas-Gomez et al., Learnable polyphase sampling for shift invariant and equivariant convolutional networks,
NeurIPS 2022, section 5.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from metrics import VOID
from robustbench_lift.errors import DataError, UsageError
from robustbench_lift.protocols.clean import Clean
from robustbench_lift.protocols.request import OpenedData, Request
from robustbench_lift.runs import Cell, PixelAgreement, Record

if TYPE_CHECKING:
    from torch import Tensor

MOST_DRAWS = 1_000
"""Pairs of windows an image: the windows of one image are held at once."""
LEAST_WINDOW = 32
"""Side of the smallest window, in pixels."""


@dataclass(frozen=True, kw_only=True)
class PixelShift(Clean):
    """Pairs of windows of an image, frames [first_0, second_0, first_1, ...]; one cell.

    Raises:
        UsageError: draws that there cannot be, or a margin of no pixel.
    """

    name: ClassVar[str] = "shift"

    margin: int = 32
    """Largest shift in pixels; windows are smaller than the image by as much."""
    draws: int = 5
    """Pairs of windows an image."""
    seed: int = 0
    """Every offset comes from (seed, image id, draw)."""

    @classmethod
    def build(cls, request: Request, opened: OpenedData) -> Self:
        """Windows of the request's clean images."""
        images, views = opened.clean(cls.name)
        if request.shift_mode != "crop":
            raise UsageError(f"--shift-mode {request.shift_mode} is for classification; label maps have `crop` alone.")
        if views.geometry.text != "whole":
            raise UsageError(
                "shift consistency of label maps compares pixels of one scale: leave out ?resize, or leave shift out "
                "of --protocols."
            )
        return cls(
            source=images,
            geometry=views.geometry,
            margin=opened.kind.margin,
            draws=request.draws,
            seed=request.seed,
            identity=opened.identity,
        )

    def __post_init__(self) -> None:
        if not 1 <= self.draws <= MOST_DRAWS or self.margin < 1:
            raise UsageError(
                f"shift consistency needs at least one draw, {MOST_DRAWS:,} at most, and one pixel, not {self.draws}, "
                f"{self.margin}."
            )

    @property
    def record(self) -> type[Record]:
        """Counts of pixels that agree."""
        return PixelAgreement

    def cells(self) -> tuple[Cell, ...]:
        """The one cell."""
        return (Cell("shift", "overlap", 0),)

    def fields(self) -> dict[str, str]:
        """Margin, draws and seed."""
        return {
            "mode": "overlap",
            "geometry": self.geometry.text,
            "margin": str(self.margin),
            "draws": str(self.draws),
            "seed": str(self.seed),
        }

    def frames(self, cell: Cell) -> int:
        """Two a draw."""
        return 2 * self.draws

    def render(self, cell: Cell, batch: Tensor, ids: Sequence[str]) -> Tensor:
        """Cut the windows: [n, 3, H, W] -> [n, T, 3, H - margin, W - margin]."""
        import torch

        height, width = batch.shape[-2] - self.margin, batch.shape[-1] - self.margin
        least = max(LEAST_WINDOW, self.margin + 1)  # windows that are moved by the margin still overlap
        if min(height, width) < least:
            raise DataError(
                f"shift consistency moves windows by up to {self.margin} pixels, and images of "
                f"{batch.shape[-2]}x{batch.shape[-1]} leave windows of {height}x{width}; it needs {least}x{least}. "
                "Leave shift out of --protocols."
            )
        corners = self.offsets(ids).tolist()
        views = [
            torch.stack([image[:, top : top + height, left : left + width] for top, left in places])
            for image, places in zip(batch, corners, strict=True)
        ]
        return torch.stack(views)

    def offsets(self, ids: Sequence[str]) -> Tensor:
        """[n, T, 2] top and left of each window: the second minus the first is uniform in -margin..margin."""
        import torch

        from corruptions.randomness import Draws

        draws = Draws(self.seed, "shift/overlap", 0, list(ids), torch.device("cpu"))
        moved = draws.integers(-self.margin, self.margin + 1, (self.draws, 2)).to(torch.int64)
        first = (-moved).clamp(min=0)
        return torch.stack([first, first + moved], dim=2).flatten(1, 2)

    def combine(
        self, cell: Cell, measured: dict[str, Tensor], *, targets: Tensor, ids: Sequence[str]
    ) -> dict[str, npt.NDArray[Any]]:
        """Counts [n, draws, 4] of classes [n, T, h, w] and targets [n, 2, H, W]."""
        classes, labels = measured["classes"].numpy(), targets[:, 0].numpy()
        height, width = classes.shape[2:]
        found = np.zeros((len(classes), self.draws, 4), dtype=np.int32)
        for image, corners in enumerate(self.offsets(ids).numpy()):
            for draw in range(self.draws):
                first, second = corners[2 * draw], corners[2 * draw + 1]
                low, high = np.maximum(first, second), np.minimum(first, second) + np.array([height, width])
                views = []
                for number, corner in ((2 * draw, first), (2 * draw + 1, second)):
                    (top, left), (bottom, right) = low - corner, high - corner
                    views.append(classes[image, number, top:bottom, left:right])
                truth = labels[image, low[0] : high[0], low[1] : high[1]]
                alike, right_first = views[0] == views[1], (views[0] == truth) & (truth != VOID)
                found[image, draw] = (alike.sum(), alike.size, (alike & right_first).sum(), right_first.sum())
        return {"agreement": found}
