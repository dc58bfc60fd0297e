"""Gaussian noise. Rows: standard deviation at difficulty 1, 2, 3; image range 0..1.

Source: Hendrycks and Dietterich, ICLR 2019, section 4.2, and the four generator scripts (see `corruptions.sequences`).
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from corruptions.channel import Gaussian
from corruptions.randomness import RandomSource
from corruptions.registry import perturbation
from corruptions.sequences.noise import noisy


@perturbation(
    "gaussian_noise",
    category="noise",
    rows={
        224: (0.03, 0.05, 0.08),
        299: (0.035, 0.055, 0.085),
        64: (0.025, 0.05, 0.075),
        32: (0.02, 0.04, 0.06),
    },
)
def gaussian_noise(images: Tensor, draws: RandomSource, sd: float, count: int) -> Iterator[Tensor]:
    """clip(x + N(0, sd)), fraction dropped, independently for every value of frames 1, 2, ..."""
    return noisy(images, Gaussian(sd), draws, count)
