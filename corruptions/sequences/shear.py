"""Shear about the centre. Rows: degrees between frames.

Source: Hendrycks and Dietterich, ICLR 2019, section 4.2, and the four generator scripts (see `corruptions.sequences`).
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from corruptions.randomness import RandomSource
from corruptions.registry import perturbation
from corruptions.sequences.warps import Window, affine_frames, inverse_affine


@perturbation("shear", category="geometric", unprepared_at=(299,), rows=1.0)
def shear(images: Tensor, draws: RandomSource, step: float, count: int, *, window: Window) -> Iterator[Tensor]:
    """Frame i is sheared by (i - 15) step degrees, bilinear, black outside; frame 15 is clean."""
    height, width = images.shape[-2:]
    matrices = [inverse_affine(height, width, shear=step * (i - 15)) for i in range(count)]
    return affine_frames(images, matrices, window)
