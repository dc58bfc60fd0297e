"""motion_blur and gaussian_blur: one kernel a frame, shared by all images of the batch.

Shapes: N images, C channels, H x W pixels; `images` is uint8 [N, C, H, W].
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor

from corruptions.channel import to_levels
from corruptions.sequences.tables import SequenceTable
from corruptions.smoothing import IMAGEMAGICK_LIFT, gaussian_weights, motion_line


def padded_for_motion(images: Tensor, radius: int) -> Tensor:
    """float32 images with replicated edges, wide enough for every angle: [N, C, H + 4 radius, W + 4 radius]."""
    return torch.nn.functional.pad(images.float(), (2 * radius,) * 4, mode="replicate")


def motion_blurred(padded: Tensor, radius: int, sigma: float, degrees: float) -> Tensor:
    """One frame of ImageMagick's motion blur from `padded_for_motion`: uint8 [N, C, H, W].

    All images share the angle, so each offset is a view of the padded batch; weights that meet on a pixel are added.
    """
    height, width = padded.shape[-2] - 4 * radius, padded.shape[-1] - 4 * radius
    taps: Counter[tuple[int, int]] = Counter()
    for weight, row, column in zip(*(part.tolist() for part in motion_line(radius, sigma, degrees)), strict=True):
        taps[2 * radius + row, 2 * radius + column] += weight
    blurred = padded.new_full((*padded.shape[:2], height, width), IMAGEMAGICK_LIFT)
    for (top, left), weight in taps.items():
        blurred.add_(padded[..., top : top + height, left : left + width], alpha=weight)
    return blurred.to(torch.uint8)


def motion_blur(images: Tensor, table: SequenceTable) -> Iterator[Tensor]:
    """Frame i is blurred along (i - last) * motion_step degrees; the last frame along the rows."""
    radius, sigma = table.motion_blur
    padded = padded_for_motion(images, radius)
    count = table.count("motion_blur")
    for i in range(count):
        yield motion_blurred(padded, radius, sigma, (i - count + 1) * table.motion_step)


def smooth_in_order(values: Tensor, weights: list[float]) -> Tensor:
    """Separable symmetric filter, edges replicated: float64 [..., H, W].

    Rows first and the far taps before the near ones, as scipy.ndimage adds them. At the small sigmas of this sequence
    many sums are whole levels but for rounding, and only the same order drops the fraction on the same side.

    Args:
        values: float64 [..., H, W].
        weights: at distance 0, 1, ..., r.
    """
    radius = len(weights) - 1
    for dim in (-2, -1):
        size = values.shape[dim]
        edge = torch.arange(-radius, size + radius, device=values.device).clamp_(0, size - 1)
        padded = values.index_select(dim, edge)
        values = padded.narrow(dim, radius, size) * weights[0]
        for d in range(radius, 0, -1):
            pair = padded.narrow(dim, radius - d, size) + padded.narrow(dim, radius + d, size)
            values += pair.mul_(weights[d])
    return values


def gaussian_blur(images: Tensor, table: SequenceTable) -> Iterator[Tensor]:
    """Frame i is smoothed with sigma start + step i, edges replicated."""
    start, step, truncation = table.gaussian_blur
    # a tensor as divisor: CUDA would multiply by the reciprocal of a Python number and round otherwise
    clean = images.double() / torch.full((1,), 255.0, dtype=torch.float64, device=images.device)
    for i in range(table.count("gaussian_blur")):
        weights = gaussian_weights(start + step * i, truncation)
        yield to_levels(smooth_in_order(clean, weights[len(weights) // 2 :].tolist()))
