"""Snow that is driven round.

Rows: (mean, standard deviation, zoom, threshold) of the layer, (radius, sigma) of its blur.

Source: Hendrycks and Dietterich, ICLR 2019, section 4.2, and the four generator scripts (see `corruptions.sequences`).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from corruptions.kernels.snow import flakes, whiten
from corruptions.motion import blur_along, pad_for_blur
from corruptions.randomness import RandomSource
from corruptions.registry import perturbation
from corruptions.smoothing import truncate

MIX = 0.85
"""Weight of the image against its whitened self."""


@perturbation(
    "snow",
    category="weather",
    rows={
        224: ((0.05, 0.3, 3, 0.5), (14, 4)),
        299: ((0.05, 0.3, 3, 0.5), (14, 4)),
        64: ((0.05, 0.28, 2, 0.5), (10, 2.5)),
        32: ((0.05, 0.3, 2, 0.5), (10, 2)),
    },
)
def snow(
    images: Tensor,
    draws: RandomSource,
    parameters: tuple[tuple[float, float, float, float], tuple[int, float]],
    count: int,
) -> Iterator[Tensor]:
    """One layer of flakes a sequence, driven along 4 i - 150 degrees in frame i, over the whitened image.

    Frame = clip(mix x + (1 - mix) max(x, 1.5 grey(x) + 0.5) + layer + layer turned by 180 degrees), fraction dropped.
    """
    (mean, sd, zoom, threshold), (radius, sigma) = parameters
    field = draws.normal(images.shape[-2:]).mul_(sd).add_(mean).unsqueeze(1).to(torch.float32)
    padded = pad_for_blur(flakes(field, zoom, threshold).mul_(255).floor_(), radius)
    whitened = whiten(images, MIX)
    for i in range(count):
        layer = blur_along(padded, radius, sigma, 4 * i - 150).float()
        yield truncate(whitened + layer + layer.flip(2, 3))
