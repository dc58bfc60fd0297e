"""Scaling about the centre. Rows: (percent between frames, percent of frame 0).

Source: Hendrycks and Dietterich, ICLR 2019, section 4.2, and the four generator scripts (see `corruptions.sequences`).
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from corruptions.randomness import RandomSource
from corruptions.registry import perturbation
from corruptions.sequences.warps import Window, affine_frames, inverse_affine


@perturbation("scale", category="geometric", rows={224: (2.5, 40), 299: (2.5, 40), 64: (2.5, 40), 32: (2, 70)})
def scale(
    images: Tensor, draws: RandomSource, parameters: tuple[float, float], count: int, *, window: Window
) -> Iterator[Tensor]:
    """Frame i is scaled by (step i + start) / 100, bilinear, black outside; the frame of factor 1 is clean."""
    height, width = images.shape[-2:]
    step, start = parameters
    factors = [(i * step + start) / 100.0 for i in range(count)]
    return affine_frames(images, [inverse_affine(height, width, scale=factor) for factor in factors], window)
