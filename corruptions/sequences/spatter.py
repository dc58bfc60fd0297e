"""Spatter that runs down.

Rows: (mean, standard deviation, sigma, threshold) of the liquid layer, filter down the columns.

Source: Hendrycks and Dietterich, ICLR 2019, section 4.2, and the four generator scripts (see `corruptions.sequences`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from corruptions.kernels.spatter import water
from corruptions.randomness import RandomSource
from corruptions.registry import perturbation
from corruptions.smoothing import gaussian_weights, smooth_in_order

INTENSITY = 0.6
"""Weight of the liquid."""


@perturbation(
    "spatter",
    category="weather",
    rows={
        224: ((0.65, 0.27, 3.7, 0.69), (0.05, 0.1, 0.15, 0.7)),
        299: ((0.65, 0.3, 4, 0.69), (0.05, 0.1, 0.15, 0.7)),
        64: ((0.6, 0.25, 1.75, 0.7), (0.2, 0.8)),
        32: ((0.6, 0.265, 1.75, 0.7), (0.2, 0.8)),
    },
)
def spatter(
    images: Tensor,
    draws: RandomSource,
    parameters: tuple[tuple[float, float, float, float], tuple[float, ...]],
    count: int,
) -> Iterator[Tensor]:
    """Drops of water, one liquid layer a sequence, that run down by one filter step a frame.

    Frame = clip(x + intensity relief (175, 238, 238) / 255), fraction dropped.
    """
    (mean, sd, sigma, threshold), weights_down = parameters
    # float64: the layer is cut to 8 bits in every frame, and edges and histogram make much of a level
    field = draws.normal(images.shape[-2:]).double().mul_(sd).add_(mean)
    if images.device.type == "cpu":
        smoothed = [ndimage.gaussian_filter(plane, sigma, mode="nearest") for plane in field.numpy()]
        layer = torch.from_numpy(np.stack(smoothed))
    else:
        weights = gaussian_weights(sigma)
        layer = smooth_in_order(field, weights[len(weights) // 2 :].tolist())
    layer.masked_fill_(layer < threshold, 0.0)
    # a CPU has one image at a time in its caches
    parts = len(images) if images.device.type == "cpu" else 1
    layers = list(layer.chunk(parts))
    for i in range(count):
        frame = torch.empty_like(images)
        for number, (part, target) in enumerate(zip(images.chunk(parts), frame.chunk(parts), strict=True)):
            if i:
                layers[number] = flow(layers[number], weights_down)
            target.copy_(water(part, layers[number], INTENSITY))
        yield frame


def flow(layer: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Convolve down the columns of [N, H, W], zeros beyond the edges, aligned as numpy.convolve(mode="same")."""
    count, height = len(weights), layer.shape[1]
    moved = torch.zeros_like(layer)
    for k, weight in enumerate(weights):
        shift = k - (count - 1) // 2  # downwards
        length = height - abs(shift)
        moved.narrow(1, max(shift, 0), length).add_(layer.narrow(1, max(-shift, 0), length), alpha=weight)
    return moved
