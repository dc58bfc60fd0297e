"""Motion blur that turns. Rows: (radius in pixels, sigma in pixels, degrees between frames).

Source: Hendrycks and Dietterich, ICLR 2019, section 4.2, and the four generator scripts (see `corruptions.sequences`).
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from corruptions.motion import blur_along, pad_for_blur
from corruptions.randomness import RandomSource
from corruptions.registry import perturbation


@perturbation(
    "motion_blur",
    category="blur",
    count={224: 31, 299: 31, 64: 31, 32: 21},
    unprepared_at=(64,),
    rows={224: (10, 3, 4), 299: (13, 3, 4), 64: (14, 3, 5), 32: (6, 1.8, 9)},
)
def motion_blur(
    images: Tensor, draws: RandomSource, parameters: tuple[int, float, float], count: int
) -> Iterator[Tensor]:
    """Frame i is blurred along (i - last) * step degrees; the last frame along the rows."""
    radius, sigma, step = parameters
    padded = pad_for_blur(images, radius)
    for i in range(count):
        yield blur_along(padded, radius, sigma, (i - count + 1) * step)
