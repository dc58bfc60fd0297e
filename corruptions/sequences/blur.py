"""motion_blur and gaussian_blur: one kernel a frame, shared by all images of the batch.

Shapes: N images, C channels, H x W pixels; `images` is uint8 [N, C, H, W].
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from corruptions.sequences.tables import SequenceTable


def motion_taps(radius: int, sigma: float, degrees: float) -> dict[tuple[int, int], float]:
    """Weights of ImageMagick's motion blur by (row, column) offset.

        k_i ~ exp(-i^2 / (2 sigma^2)),  offset_i = (ceil(i sin a - 0.5), ceil(i cos a - 0.5)),  i = 0 .. 2 radius

    One-sided, whole-pixel offsets; weights that meet on a pixel are added.

    Args:
        radius: pixels.
        sigma: pixels.
        degrees: angle of the motion.
    """
    weights = [math.exp(-(i * i) / (2 * sigma * sigma)) for i in range(2 * radius + 1)]
    total = sum(weights)
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    taps: dict[tuple[int, int], float] = {}
    for i, weight in enumerate(weights):
        offset = math.ceil(i * sin - 0.5), math.ceil(i * cos - 0.5)
        taps[offset] = taps.get(offset, 0.0) + weight / total
    return taps


def padded_for_motion(images: Tensor, radius: int) -> Tensor:
    """float32 images with replicated edges, wide enough for every angle: [N, C, H + 4 radius, W + 4 radius]."""
    return torch.nn.functional.pad(images.float(), (2 * radius,) * 4, mode="replicate")


def motion_blurred(padded: Tensor, radius: int, sigma: float, degrees: float) -> Tensor:
    """One frame from `padded_for_motion`: uint8 [N, C, H, W].

    ImageMagick 6 (16 bits a channel) rounds at 257 v and drops the rest: floor(round(257 v) / 257).
    """
    height, width = padded.shape[-2] - 4 * radius, padded.shape[-1] - 4 * radius
    blurred: Tensor | None = None
    for (row, column), weight in motion_taps(radius, sigma, degrees).items():
        top, left = 2 * radius + row, 2 * radius + column
        part = padded[..., top : top + height, left : left + width]
        blurred = part * weight if blurred is None else blurred.add_(part, alpha=weight)
    assert blurred is not None
    # floor(round(257 v) / 257) = floor(v + 0.5 / 257) for v >= 0
    return blurred.add_(0.5 / 257).to(torch.uint8)


def motion_blur(images: Tensor, table: SequenceTable) -> Iterator[Tensor]:
    """Frame i is blurred along (i - last) * motion_step degrees; the last frame along the rows."""
    radius, sigma = table.motion_blur
    padded = padded_for_motion(images, radius)
    count = table.count("motion_blur")
    for i in range(count):
        yield motion_blurred(padded, radius, sigma, (i - count + 1) * table.motion_step)


def gaussian_kernel(sigma: float, truncation: float) -> list[float]:
    """Weights at distance 0, 1, ..., int(truncation sigma + 0.5); both sides together sum to 1."""
    radius = int(truncation * sigma + 0.5)
    weights = [math.exp(-0.5 / (sigma * sigma) * d * d) for d in range(radius + 1)]
    total = weights[0] + 2 * sum(weights[1:])
    return [weight / total for weight in weights]


def smooth(values: Tensor, sigma: float, truncation: float) -> Tensor:
    """Separable Gaussian, edges replicated: float64 [..., H, W].

    Rows first and the far taps before the near ones, as scipy.ndimage adds them: where an area is flat or saturated the
    sum then falls on the same side of a level.
    """
    weights = gaussian_kernel(sigma, truncation)
    for dim in (-2, -1):
        values = _smooth_along(values, weights, dim)
    return values


def _smooth_along(values: Tensor, weights: list[float], dim: int) -> Tensor:
    radius, size = len(weights) - 1, values.shape[dim]
    edge = torch.arange(-radius, size + radius, device=values.device).clamp_(0, size - 1)
    padded = values.index_select(dim, edge)
    result = padded.narrow(dim, radius, size) * weights[0]
    for d in range(radius, 0, -1):
        pair = padded.narrow(dim, radius - d, size) + padded.narrow(dim, radius + d, size)
        result += pair.mul_(weights[d])
    return result


def gaussian_blur(images: Tensor, table: SequenceTable) -> Iterator[Tensor]:
    """Frame i is smoothed with sigma start + step i."""
    start, step, truncation = table.gaussian_blur
    clean = images.double() / 255
    for i in range(table.count("gaussian_blur")):
        yield (smooth(clean, start + step * i, truncation) * 255).to(torch.uint8)
