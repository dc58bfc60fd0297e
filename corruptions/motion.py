"""Motion blur along a line, as ImageMagick does it.

Shapes: N images, C channels, H x W pixels.
Source: Hendrycks and Dietterich, ICLR 2019, section 4.1 and `make_imagenet_c.py`, which calls ImageMagick 6.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from corruptions.channel import without_fraction
from corruptions.opencv import cv2

IMAGEMAGICK_LIFT = 0.5 / 257
"""ImageMagick (16 bits a channel) stores floor(round(257 v) / 257), that is floor(v + 0.5 / 257)."""


def motion_line(radius: int, sigma: float, degrees: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights and whole-pixel offsets (rows, columns) of ImageMagick's motion blur, 2 radius + 1 samples each.

        k_i ~ exp(-i^2 / (2 sigma^2)),   (oy_i, ox_i) = (ceil(i y / r - 0.5), ceil(i x / r - 0.5)),   i = 0..2 radius

    with w = 2 radius + 1, (y, x) = (w sin a, w cos a) and r = hypot(y, x) as ImageMagick computes them: half pixels
    are common (sin 30 degrees), and only the same rounding drops them on the same side.

    >>> [int(v) for v in motion_line(2, 1.0, 45.0)[1]]
    [0, 1, 1, 2, 3]
    """
    index = np.arange(2 * radius + 1)
    # The constant factor cancels, but it rounds, and flat areas show on which side of a level the weights sum.
    weights = np.exp(-(index**2) / (2 * sigma**2)) / (np.sqrt(2 * np.pi) * sigma)
    angle = math.pi * degrees / 180.0
    y, x = len(index) * math.sin(angle), len(index) * math.cos(angle)
    length = math.hypot(y, x)
    rows = np.ceil(index * y / length - 0.5).astype(np.int64)
    columns = np.ceil(index * x / length - 0.5).astype(np.int64)
    return weights / weights.sum(), rows, columns


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


def moved_levels(planes: Tensor, radius: int, sigma: float, degrees: Tensor, *lifts: float) -> Tensor:
    """`move` of whole levels 0..255 plus some small numbers, added one by one, fraction dropped: uint8 [N, C, H, W].

    On a CPU OpenCV's filter sums in another order than `move`; where that could show, the sum is made anew.
    """
    if planes.device.type != "cpu":
        result = move(planes.to(torch.float32), radius, sigma, degrees)
        for lift in lifts:
            result.add_(lift)
        return without_fraction(result.clamp_(0.0, 255.0))
    channels, height, width = planes.shape[1:]
    levels = np.empty(planes.shape, dtype=np.uint8)
    sources = without_fraction(planes) if planes.dtype != torch.uint8 else planes.contiguous()
    places: list[np.ndarray] = []
    taps: list[np.ndarray] = []
    weights = np.empty(0)
    for image, (source, angle) in enumerate(zip(sources.numpy(), degrees.tolist(), strict=True)):
        weights, rows, columns = motion_line(radius, sigma, angle)
        top, left = max(0, -int(rows.min())), max(0, -int(columns.min()))
        bottom, right = max(0, int(rows.max())), max(0, int(columns.max()))
        rows, columns = rows + top, columns + left
        padded = np.empty((channels, top + height + bottom, left + width + right), dtype=np.uint8)
        for plane, wide in zip(source, padded, strict=True):
            cv2.copyMakeBorder(plane, top, bottom, left, right, cv2.BORDER_REPLICATE, wide)
        blurred = _filtered(padded.astype(np.float32), weights, rows, columns, height, width)
        low, high = np.empty_like(levels[image]), levels[image]
        for plane, below, above in zip(blurred.reshape(channels, -1, width), low, high, strict=True):
            # OpenCV rounds |v + b| to the nearest, which is the floor of v with b = -1/2.
            for side, doubt in ((below, -_DOUBT), (above, _DOUBT)):
                cv2.convertScaleAbs(plane[:height], side, 1.0, sum(lifts) - 0.5 + doubt)
        doubtful = np.flatnonzero(low != high)
        if len(doubtful):
            line = doubtful // width
            corner = doubtful + line * (padded.shape[2] - width) + line // height * ((top + bottom) * padded.shape[2])
            taps.append(padded.reshape(-1).take(corner + (rows * padded.shape[2] + columns)[:, None]))
            places.append(doubtful + image * source.size)
    if places:  # the weights are the same along every angle
        values = torch.from_numpy(np.concatenate(taps, axis=1).astype(np.float32))
        total = torch.zeros(values.shape[1])
        for row, weight in zip(values, weights.tolist(), strict=True):
            total.add_(row, alpha=weight)
        for lift in lifts:
            total.add_(lift)
        levels.reshape(-1)[np.concatenate(places)] = without_fraction(total.clamp_(0.0, 255.0)).numpy()
    return torch.from_numpy(levels)


_DOUBT = 1e-3
"""Levels by which two orders of summation in float32 may differ, at most: some twenty times what is seen."""

_AREA = 121
"""Largest kernel that OpenCV sums up directly, value by value; beyond it takes slower Fourier transforms."""


def _filtered(
    padded: np.ndarray, weights: np.ndarray, rows: np.ndarray, columns: np.ndarray, height: int, width: int
) -> np.ndarray:
    """The sum over a line of float32 [C, padded H, padded W], piece by piece: float32 [C padded H, width]."""
    channels, padded_height, padded_width = padded.shape
    tall = padded.reshape(-1, padded_width)
    needed = (channels - 1) * padded_height + height  # the planes lie below each other
    total = np.zeros((channels * padded_height, width), dtype=np.float32)
    start = 0
    while start < len(weights):
        # a line leads one way, so its ends say how large a piece is, and a longer one is not smaller
        area = (np.abs(rows[start:] - rows[start]) + 1) * (np.abs(columns[start:] - columns[start]) + 1)
        stop = start + int(np.searchsorted(area, _AREA, side="right"))
        down, across = rows[start:stop], columns[start:stop]
        top, left = min(down[0], down[-1]), min(across[0], across[-1])
        shape = abs(down[-1] - down[0]) + 1, abs(across[-1] - across[0]) + 1
        kernel = np.zeros(shape, dtype=np.float32)
        np.add.at(kernel, (down - top, across - left), weights[start:stop])
        part = tall[top : top + needed + shape[0] - 1, left : left + width + shape[1] - 1]
        part = cv2.filter2D(part, -1, kernel, anchor=(0, 0), borderType=cv2.BORDER_REPLICATE)
        cv2.add(total[:needed], part[:needed, :width], total[:needed])
        start = stop
    return total


def pad_for_blur(images: Tensor, radius: int) -> Tensor:
    """float32 images with replicated edges, wide enough for every angle: [N, C, H + 4 radius, W + 4 radius]."""
    return functional.pad(images.float(), (2 * radius,) * 4, mode="replicate")


def blur_along(padded: Tensor, radius: int, sigma: float, degrees: float) -> Tensor:
    """One frame of ImageMagick's motion blur from `pad_for_blur`: uint8 [N, C, H, W].

    All images share the angle, so each offset is a view of the padded batch; weights that meet on a pixel are added.
    """
    height, width = padded.shape[-2] - 4 * radius, padded.shape[-1] - 4 * radius
    taps: Counter[tuple[int, int]] = Counter()
    for weight, row, column in zip(*(part.tolist() for part in motion_line(radius, sigma, degrees)), strict=True):
        taps[2 * radius + row, 2 * radius + column] += weight
    blurred = padded.new_full((*padded.shape[:2], height, width), IMAGEMAGICK_LIFT)
    for (top, left), weight in taps.items():
        blurred.add_(padded[..., top : top + height, left : left + width], alpha=weight)
    return without_fraction(blurred)
