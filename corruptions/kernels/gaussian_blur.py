"""Gaussian blur. Rows: sigma in pixels.

Source: Hendrycks and Dietterich, ICLR 2019, section 4.1 and `make_imagenet_c.py`.
"""

from __future__ import annotations

from torch import Tensor

from corruptions.randomness import RandomSource
from corruptions.registry import corruption
from corruptions.smoothing import smooth_images


@corruption(
    "gaussian_blur",
    category="blur",
    rows={
        224: (1, 2, 3, 4, 6),
        299: (1.5, 2.5, 3.5, 4.5, 6.5),
        64: (0.5, 0.75, 1, 1.25, 1.5),
        32: (0.4, 0.6, 0.7, 0.8, 1),
    },
    piece=5,
)
def gaussian_blur(images: Tensor, draws: RandomSource, sigma: float) -> Tensor:
    """Separable Gaussian cut at 4 sigma, edges replicated."""
    return smooth_images(images, sigma)
