"""Motion blur along a line, as ImageMagick does it.

Shapes: N images, C channels, H x W pixels.
Source: Hendrycks and Dietterich, ICLR 2019, section 4.1 and `make_imagenet_c.py`, which calls ImageMagick 6.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from corruptions.randomness import Source
from corruptions.smoothing import IMAGEMAGICK_LIFT, motion_line, truncate


def move(planes: Tensor, radius: int, sigma: float, degrees: Tensor, *, darken: bool = False) -> Tensor:
    """Motion blur along one angle an image, edges replicated, nothing rounded: [N, C, H, W] of the planes' type.

    Args:
        planes: float32 or, where sums must fall on the original's side of a level, float64 [N, C, H, W].
        radius: the line has 2 radius + 1 samples.
        sigma: of the one-sided Gaussian weights, in pixels.
        degrees: float [N].
        darken: stop at the first sample that lies a whole image away, without normalising again, as the package
            imagecorruptions does for small images.
    """
    height, width = planes.shape[-2:]
    result = torch.zeros_like(planes)
    for plane, angle, total in zip(planes, degrees.tolist(), result, strict=True):
        weights, rows, columns = motion_line(radius, sigma, angle)
        if darken:
            outside = (np.abs(rows) >= height) | (np.abs(columns) >= width)
            keep = int(outside.argmax()) if outside.any() else len(rows)
            weights, rows, columns = weights[:keep], rows[:keep], columns[:keep]
        top, left = max(0, -int(rows.min())), max(0, -int(columns.min()))
        margins = (left, max(0, int(columns.max())), top, max(0, int(rows.max())))
        padded = functional.pad(plane, margins, mode="replicate")
        for weight, row, column in zip(weights.tolist(), (rows + top).tolist(), (columns + left).tolist(), strict=True):
            part = padded[:, row : row + height, column : column + width]
            if planes.dtype == torch.float64:
                total.add_(part * weight)  # a fused multiply-add would round otherwise than the original
            else:
                total.add_(part, alpha=weight)
    return result


def motion_blur(images: Tensor, draws: Source, parameters: tuple[int, float], *, variant: str = "imagenet-c") -> Tensor:
    """ImageMagick's motion blur along one angle an image, uniform in -45..45 degrees."""
    radius, sigma = parameters
    degrees = draws.uniform((), -45.0, 45.0)
    if variant == "imagecorruptions":
        return move(images.to(torch.float64), radius, sigma, degrees, darken=True).clamp_(0, 255).to(torch.uint8)
    return truncate(move(images.to(torch.float32), radius, sigma, degrees).add_(IMAGEMAGICK_LIFT))
