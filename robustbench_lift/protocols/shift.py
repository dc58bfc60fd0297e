"""Shift consistency: does the prediction stay when the window moves by some pixels?

Zhang (ICML 2019) cuts two windows of 224 out of 256 and asks whether the top-1 classes agree; the reference draws one
pair of offsets a batch from the global generator, so that its number depends on the batch size. Modes, each named in
the signature because their numbers do not compare:

    crop       two windows, offsets from (seed, image id, draw); the default
    parity     two windows, one pair of offsets for each group of 8 images in id order: the reference's law
    diagonal   all windows at offsets (o, o); every pair of them is compared
    circular   the central window rolled twice, offsets from (seed, image id, draw)
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, cast

from robustbench_lift.data.base import has_maps
from robustbench_lift.errors import DataError, UsageError, unknown
from robustbench_lift.protocols.base import protocol
from robustbench_lift.protocols.clean import Clean
from robustbench_lift.protocols.pixel_shift import MOST_DRAWS, PixelShift
from robustbench_lift.protocols.request import OpenedData, Request
from robustbench_lift.runs import Cell

if TYPE_CHECKING:
    from torch import Tensor

MODES = ("crop", "parity", "diagonal", "circular")
GROUP = 8
"""Images that share their offsets in `parity`: the batch size of the reference's README."""


@protocol("shift")
@dataclass(frozen=True, kw_only=True)
class Shift(Clean):
    """Windows of an image, frames [first_0, second_0, first_1, second_1, ...]; one cell.

    The prepared image must be larger than the window: offsets are drawn from 0..margin-1 (for 224 of 256: 0..31, the
    reference excludes 32).

    Raises:
        UsageError: an unknown mode, or draws that there cannot be.
    """

    window: int = 224
    """Side of the windows in pixels."""
    mode: str = "crop"
    """crop, parity, diagonal or circular."""
    draws: int = 5
    """Pairs of windows an image (the reference passes five times over the images)."""
    seed: int = 0
    """Every offset comes from (seed, mode, image id or group, draw)."""

    @classmethod
    def build(cls, request: Request, opened: OpenedData) -> Self:
        """Windows of the request's clean images; where labels are maps, a `PixelShift`."""
        images, views = opened.clean(cls.name)
        if has_maps(images):
            return cast(Self, PixelShift.build(request, opened))
        if views.shift is None:
            raise UsageError(
                f"shift consistency needs a margin around the window, and {views.geometry.text} leaves none. Give a "
                "resize larger than the crop, for example ?resize=256&crop=224, or leave shift out of --protocols."
            )
        return cls(
            source=images,
            geometry=views.shift,
            window=views.window,
            mode=request.shift_mode,
            draws=request.draws,
            seed=request.seed,
            identity=opened.identity,
        )

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise unknown("shift mode", self.mode, MODES)
        if not 1 <= self.draws <= MOST_DRAWS:
            raise UsageError(
                f"shift consistency needs at least one draw, and {MOST_DRAWS:,} at most, not {self.draws}."
            )

    def cells(self) -> tuple[Cell, ...]:
        """The one cell."""
        return (Cell("shift", self.mode, 0),)

    def fields(self) -> dict[str, str]:
        """Mode, window and draws."""
        fields = {"mode": self.mode, "geometry": self.geometry.text, "window": str(self.window)}
        if self.mode != "diagonal":
            fields |= {"draws": str(self.draws), "seed": str(self.seed)}
        return fields

    def frames(self, cell: Cell) -> int:
        """Two a draw; for `diagonal` one for each offset from 0 to the margin."""
        return self.geometry.side - self.window + 1 if self.mode == "diagonal" else 2 * self.draws

    def render(self, cell: Cell, batch: Tensor, ids: Sequence[str]) -> Tensor:
        """Cut the windows: [n, 3, h, w] -> [n, T, 3, window, window]."""
        import torch

        margin = batch.shape[-1] - self.window
        if margin < 1 or batch.shape[-2] != batch.shape[-1]:
            raise DataError(
                f"shift consistency cuts {self.window}-pixel windows out of larger squares, but the images are "
                f"{batch.shape[-2]}x{batch.shape[-1]}. Give a geometry with a margin (ImageNet: 256 for 224)."
            )
        if self.mode == "diagonal":
            return torch.stack([batch[..., o : o + self.window, o : o + self.window] for o in range(margin + 1)], dim=1)
        offsets = self._offsets(ids, margin)
        rows = torch.arange(self.window)
        top, left = offsets[..., 0, None] + rows, offsets[..., 1, None] + rows  # [n, T, window]
        if self.mode == "circular":
            start = margin // 2
            top, left = ((index - start) % self.window + start for index in (top, left))
        top, left = top.to(batch.device), left.to(batch.device)
        image = torch.arange(len(batch), device=batch.device)[:, None, None, None]
        windows = batch.permute(0, 2, 3, 1)[image, top[..., :, None], left[..., None, :]]  # [n, T, window, window, 3]
        return windows.permute(0, 1, 4, 2, 3)

    def _offsets(self, ids: Sequence[str], margin: int) -> Tensor:
        """[n, T, 2] top and left, uniform in 0..margin-1."""
        import torch

        from corruptions.randomness import Draws

        keys = list(ids)
        if self.mode == "parity":
            position = _positions(self.source.ids)
            keys = [f"group {position[name] // GROUP}" for name in ids]
        draws = Draws(self.seed, f"shift/{self.mode}", 0, keys, torch.device("cpu"))
        return draws.integers(0, margin, (2 * self.draws, 2)).to(torch.int64)


@functools.lru_cache(maxsize=2)
def _positions(ids: tuple[str, ...]) -> dict[str, int]:
    """Where each image stands in id order; asked for with every batch."""
    return {name: index for index, name in enumerate(ids)}
