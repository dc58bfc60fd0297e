"""Speckle noise. Rows: standard deviation relative to the value at difficulty 1, 2, 3.

Source: Hendrycks and Dietterich, ICLR 2019, section 4.2, and the four generator scripts (see `corruptions.sequences`).
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from corruptions.channel import Speckle
from corruptions.randomness import RandomSource
from corruptions.registry import perturbation
from corruptions.sequences.noise import noisy


@perturbation(
    "speckle_noise",
    category="noise",
    rows={
        224: (0.05, 0.10, 0.15),
        299: (0.06, 0.11, 0.16),
        64: (0.05, 0.10, 0.15),
        32: (0.05, 0.07, 0.1),
    },
)
def speckle_noise(images: Tensor, draws: RandomSource, sd: float, count: int) -> Iterator[Tensor]:
    """clip(x + x N(0, sd)), fraction dropped, independently for every value of frames 1, 2, ..."""
    return noisy(images, Speckle(sd), draws, count)
