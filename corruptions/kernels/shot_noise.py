"""Shot noise: counting noise of light. Rows: photons of a white value.

Source: Hendrycks and Dietterich, ICLR 2019, section 4.1 and `make_imagenet_c.py`.
"""

from __future__ import annotations

from torch import Tensor

from corruptions.channel import Shot, send
from corruptions.randomness import RandomSource
from corruptions.registry import corruption


@corruption(
    "shot_noise",
    category="noise",
    rows={
        224: (60, 25, 12, 5, 3),
        299: (50, 20, 10, 5, 3),
        64: (250, 100, 50, 30, 15),
        32: (500, 250, 100, 75, 50),
    },
    piece=64,
)
def shot_noise(images: Tensor, draws: RandomSource, photons: float) -> Tensor:
    """clip(Poisson(photons x) / photons), independently for every value; fraction of a level dropped."""
    return send(images, Shot(photons), draws)
