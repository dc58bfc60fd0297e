"""Zoom about the centre: zoom_blur, and the enlargement that snow uses.

Shapes: N images, H x W pixels.
Source: Hendrycks and Dietterich, ICLR 2019, section 4.1 and `make_imagenet_c.py`.
"""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor
from torch.nn import functional


def zoom_taps(size: int, factor: float, *, trim: bool = True) -> tuple[int, np.ndarray, np.ndarray]:
    """Linear enlargement of the centre of `size` samples by `factor`.

    The middle ceil(size / factor) samples are stretched to round(ceil(size / factor) factor) with the end samples kept
    at the ends.

    Args:
        size: samples.
        factor: at least 1.
        trim: cut the excess on both sides (the ImageNet-C scripts) or give all of the stretched samples.

    Returns:
        length of the result, left neighbour of each sample int64 [length], weight of the right one float64 [length].

    >>> zoom_taps(224, 3)[0], zoom_taps(224, 3, trim=False)[0]
    (224, 225)
    """
    part = math.ceil(size / factor)
    first = (size - part) // 2
    length = round(part * factor)
    place = np.arange(length) * ((part - 1) / max(length - 1, 1))
    if trim:
        place = place[(length - size) // 2 :][:size]
    left = np.minimum(np.floor(place).astype(np.int64), max(part - 2, 0))
    return len(place), left + first, place - left


def zoom_matrix(size: int, factor: float, *, trim: bool = True) -> np.ndarray:
    """`zoom_taps` as a matrix: float64 [length, size]."""
    length, left, weight = zoom_taps(size, factor, trim=trim)
    matrix = np.zeros((length, size))
    rows = np.arange(length)
    matrix[rows, left] = 1.0 - weight
    matrix[rows, np.minimum(left + 1, size - 1)] += weight
    return matrix


def centre_zoom(planes: Tensor, factor: float, *, trim: bool = True) -> Tensor:
    """Enlarge the centre of planes [N, C, H, W] bilinearly; see `zoom_taps`."""
    height, width = planes.shape[-2:]
    parts = math.ceil(height / factor), math.ceil(width / factor)
    top, left = (height - parts[0]) // 2, (width - parts[1]) // 2
    size = round(parts[0] * factor), round(parts[1] * factor)
    centre = planes[..., top : top + parts[0], left : left + parts[1]]
    large = functional.interpolate(centre, size, mode="bilinear", align_corners=True)
    if not trim:
        return large
    return large[..., (size[0] - height) // 2 :, (size[1] - width) // 2 :][..., :height, :width]
