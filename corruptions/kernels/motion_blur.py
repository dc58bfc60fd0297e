"""Motion blur along a line, as ImageMagick does it. Rows: (radius in pixels, sigma in pixels); 2 radius + 1 samples.

Source: Hendrycks and Dietterich, ICLR 2019, section 4.1 and `make_imagenet_c.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from corruptions.channel import without_fraction
from corruptions.motion import IMAGEMAGICK_LIFT, move, moved_levels
from corruptions.randomness import RandomSource
from corruptions.registry import corruption
from corruptions.smoothing import LIFT


@corruption(
    "motion_blur",
    category="blur",
    rows={
        224: ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        299: ((12, 4), (17, 6), (17, 9), (17, 13), (22, 16)),
        64: ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
        32: ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    },
    piece=8,
)
def motion_blur(
    images: Tensor, draws: RandomSource, parameters: tuple[int, float], *, variant: str = "imagenet-c"
) -> Tensor:
    """ImageMagick's motion blur along one angle an image, uniform in -45..45 degrees."""
    radius, sigma = parameters
    degrees = draws.uniform((), -45.0, 45.0)
    if variant == "imagecorruptions":
        darkened = move(images.to(torch.float64), radius, sigma, degrees, darken=True)
        return without_fraction(darkened.clamp_(0, 255))
    return moved_levels(images, radius, sigma, degrees, IMAGEMAGICK_LIFT, LIFT)
