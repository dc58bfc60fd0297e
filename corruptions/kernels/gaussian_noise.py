"""Gaussian noise: thermal noise of a sensor. Rows: standard deviation on the 0..1 scale.

Source: Hendrycks and Dietterich, ICLR 2019, section 4.1 and `make_imagenet_c.py`.
"""

from __future__ import annotations

from torch import Tensor

from corruptions.channel import Gaussian, send
from corruptions.randomness import RandomSource
from corruptions.registry import corruption


@corruption(
    "gaussian_noise",
    category="noise",
    rows={
        224: (0.08, 0.12, 0.18, 0.26, 0.38),
        299: (0.09, 0.13, 0.19, 0.27, 0.40),
        64: (0.04, 0.08, 0.12, 0.15, 0.18),
        32: (0.04, 0.06, 0.08, 0.09, 0.10),
    },
    piece=64,
)
def gaussian_noise(images: Tensor, draws: RandomSource, sd: float) -> Tensor:
    """clip(x + N(0, sd)) on the 0..1 scale, independently for every value; fraction of a level dropped."""
    return send(images, Gaussian(sd), draws)
