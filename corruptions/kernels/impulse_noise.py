"""Impulse noise: salt and pepper. Rows: share of the values that are replaced.

Source: Hendrycks and Dietterich, ICLR 2019, section 4.1 and `make_imagenet_c.py`.
"""

from __future__ import annotations

from torch import Tensor

from corruptions.channel import Impulse, send
from corruptions.randomness import RandomSource
from corruptions.registry import corruption


@corruption(
    "impulse_noise",
    category="noise",
    rows={
        224: (0.03, 0.06, 0.09, 0.17, 0.27),
        299: (0.04, 0.07, 0.10, 0.18, 0.28),
        64: (0.01, 0.02, 0.05, 0.08, 0.14),
        32: (0.01, 0.02, 0.03, 0.05, 0.07),
    },
    piece=64,
)
def impulse_noise(images: Tensor, draws: RandomSource, amount: float) -> Tensor:
    """Each value with probability `amount` replaced, by 255 or by 0 with even chances."""
    return send(images, Impulse(amount), draws)
