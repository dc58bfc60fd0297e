"""Noise: Gaussian, shot, impulse and speckle, each a memoryless channel on the 256 levels.

| corruption | law, x on the 0..1 scale, independent for every pixel and channel     |
|------------|------------------------------------------------------------------------|
| gaussian   | x + N(0, sd)                                                           |
| shot       | Poisson(c x) / c                                                       |
| impulse    | with probability p replaced: by 1 or by 0 with even chances            |
| speckle    | x + x N(0, sd)                                                         |

Each result is clipped to [0, 1], scaled to 255 and loses its fraction.

Source: Hendrycks and Dietterich, ICLR 2019, section 4.1 and `make_imagenet_c.py`.
"""

from __future__ import annotations

from torch import Tensor

from corruptions.channel import Gaussian, Impulse, Shot, Speckle
from corruptions.randomness import Source


def gaussian_noise(images: Tensor, draws: Source, sd: float) -> Tensor:
    """Thermal noise of a sensor: x + N(0, sd)."""
    return draws.through(images, Gaussian(sd))


def shot_noise(images: Tensor, draws: Source, photons: float) -> Tensor:
    """Counting noise of light: Poisson(photons x) / photons."""
    return draws.through(images, Shot(photons))


def impulse_noise(images: Tensor, draws: Source, amount: float) -> Tensor:
    """Salt and pepper: a fraction `amount` of the values becomes 0 or 255."""
    return draws.through(images, Impulse(amount))


def speckle_noise(images: Tensor, draws: Source, sd: float) -> Tensor:
    """Noise in proportion to the value: x + x N(0, sd)."""
    return draws.through(images, Speckle(sd))
