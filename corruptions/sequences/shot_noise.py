"""Shot noise. Rows: photons at full brightness at difficulty 1, 2, 3.

Source: Hendrycks and Dietterich, ICLR 2019, section 4.2, and the four generator scripts (see `corruptions.sequences`).
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from corruptions.channel import Shot
from corruptions.randomness import RandomSource
from corruptions.registry import perturbation
from corruptions.sequences.noise import noisy


@perturbation(
    "shot_noise",
    category="noise",
    rows={
        224: (300, 120, 60),
        299: (250, 100, 50),
        64: (500, 250, 125),
        32: (700, 400, 200),
    },
)
def shot_noise(images: Tensor, draws: RandomSource, photons: float, count: int) -> Iterator[Tensor]:
    """clip(Poisson(photons x) / photons), fraction dropped, independently for every value of frames 1, 2, ..."""
    return noisy(images, Shot(photons), draws, count)
