"""Gaussian blur that grows. Rows: (sigma of frame 0, step, truncation in sigmas).

Source: Hendrycks and Dietterich, ICLR 2019, section 4.2, and the four generator scripts (see `corruptions.sequences`).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from corruptions.channel import to_levels
from corruptions.randomness import RandomSource
from corruptions.registry import perturbation
from corruptions.smoothing import gaussian_weights, smooth_images, smooth_in_order


@perturbation(
    "gaussian_blur",
    category="blur",
    rows={224: (0.25, 0.035, 6), 299: (0.35, 0.035, 6), 64: (0.35, 0.014, 7), 32: (0.3, 0.015, 7)},
)
def gaussian_blur(
    images: Tensor, draws: RandomSource, parameters: tuple[float, float, float], count: int
) -> Iterator[Tensor]:
    """Frame i is smoothed with sigma start + step i, edges replicated."""
    start, step, truncation = parameters
    if images.device.type == "cpu":
        for i in range(count):
            yield smooth_images(images, start + step * i, truncation, few=0.0)
        return
    # a tensor as divisor: CUDA would multiply by the reciprocal of a Python number and round otherwise
    clean = images.double() / torch.full((1,), 255.0, dtype=torch.float64, device=images.device)
    for i in range(count):
        weights = gaussian_weights(start + step * i, truncation)
        yield to_levels(smooth_in_order(clean, weights[len(weights) // 2 :].tolist()))
