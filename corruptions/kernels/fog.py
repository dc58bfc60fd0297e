"""Fog: a diamond-square height map laid over the image.

Rows: (strength, decay of the noise from level to level). Shapes: N images, S x S map, H x W pixels.
Source: Hendrycks and Dietterich, ICLR 2019, section 4.1 and `make_imagenet_c.py`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from corruptions.opencv import cv2
from corruptions.randomness import RandomSource
from corruptions.registry import corruption
from corruptions.smoothing import LIFT, truncate


def height_maps(draws: RandomSource, size: int, decay: float) -> Tensor:
    """Diamond-square maps on a torus, one an image, scaled to 0..1: float [N, size, size].

    From step = size down to 2, with w = 100 divided by `decay` after each level: the centre of every cell becomes the
    mean of its 4 corners plus w U(-w, w); then the middle of every edge, first horizontal then vertical ones, the mean
    of its 4 neighbours plus the same noise.

    Args:
        draws: per level the fields of centres, horizontal and vertical edges are drawn in this order.
        size: a power of two.
        decay: how fast the noise falls from level to level.
    """
    # One draw for all levels, split in the order of the original, instead of three small ones a level.
    unit = draws.uniform((size * size - 1,), -1.0, 1.0)
    corners = unit.new_zeros(len(unit), 1, 1)
    amplitude = 100.0
    used = 0
    while corners.shape[-1] < size:
        count = corners.shape[-1]
        fields = unit[:, used : used + 3 * count * count].view(-1, 3, count, count) * amplitude**2
        used += 3 * count * count
        pairs = corners + corners.roll(-1, 2)
        centres = torch.add(fields[:, 0], pairs + pairs.roll(-1, 1), alpha=0.25)
        across = torch.add(fields[:, 1], centres + centres.roll(1, 1) + pairs, alpha=0.25)
        beside = centres + centres.roll(1, 2)
        down = torch.add(fields[:, 2], beside.add_(corners).add_(corners.roll(-1, 1)), alpha=0.25)
        finer = centres.new_empty(len(centres), 2 * count, 2 * count)
        finer[:, ::2, ::2] = corners
        finer[:, ::2, 1::2] = across
        finer[:, 1::2, ::2] = down
        finer[:, 1::2, 1::2] = centres
        corners = finer
        amplitude /= decay
    low = corners.amin((1, 2), keepdim=True)
    high = corners.amax((1, 2), keepdim=True)
    return corners.sub_(low).div_(high - low)


@corruption(
    "fog",
    category="weather",
    rows={
        224: ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        299: ((1.5, 2), (2, 2), (2.5, 1.8), (2.5, 1.6), (3, 1.5)),
        64: ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
        32: ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    },
    piece=8,
)
def fog(images: Tensor, draws: RandomSource, parameters: tuple[float, float]) -> Tensor:
    """(x + s M) m / (m + s) with M the fog map, equal on all channels, and m the image's largest value."""
    strength, decay = parameters
    height, width = images.shape[-2:]
    size = 1 << (max(height, width) - 1).bit_length()
    fogs = height_maps(draws, size, decay)[:, :height, :width].to(torch.float32)
    largest = images.amax((1, 2, 3)).to(torch.float64) / 255
    factor = (largest / (largest + strength)).to(torch.float32).view(-1, 1, 1, 1)
    if images.device.type == "cpu":
        return _on_cpu(images, factor.view(-1).numpy(), fogs.numpy(), strength)
    added = fogs.unsqueeze(1) * (strength * 255.0) * factor
    return truncate((images * factor).add_(added))


def _on_cpu(images: Tensor, factors: np.ndarray, fogs: np.ndarray, strength: float) -> Tensor:
    """The truncated sum of each image and its fog map, float32 [N, H, W], plane by plane in the caches."""
    result = np.empty(images.shape, dtype=np.uint8)
    values = np.empty(images.shape[-2:], dtype=np.float32)
    for image, factor, fog_map, target in zip(images.numpy(), factors, fogs, result, strict=True):
        levels = np.arange(256, dtype=np.float32) * factor
        layer = fog_map * np.float32(strength * 255.0)
        layer *= factor
        for plane, out in zip(image, target, strict=True):
            cv2.LUT(plane, levels, values)
            values += layer
            values += np.float32(LIFT)
            np.copyto(out, values, casting="unsafe")  # neither part is negative, and their sum is at most 255 m
    return torch.from_numpy(result)
