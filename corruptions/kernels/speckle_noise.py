"""Speckle noise: noise in proportion to the value. Rows: standard deviation relative to the value.

Source: Hendrycks and Dietterich, ICLR 2019, section 4.1 and `make_imagenet_c.py`.
"""

from __future__ import annotations

from torch import Tensor

from corruptions.channel import Speckle, send
from corruptions.randomness import RandomSource
from corruptions.registry import corruption


@corruption(
    "speckle_noise",
    category="noise",
    rows={
        224: (0.15, 0.2, 0.35, 0.45, 0.6),
        299: (0.16, 0.21, 0.36, 0.46, 0.61),
        64: (0.15, 0.2, 0.25, 0.3, 0.35),
        32: (0.06, 0.1, 0.12, 0.16, 0.2),
    },
    piece=64,
)
def speckle_noise(images: Tensor, draws: RandomSource, sd: float) -> Tensor:
    """clip(x + x N(0, sd)), independently for every value; fraction of a level dropped."""
    return send(images, Speckle(sd), draws)
