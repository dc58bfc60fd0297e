"""Blur: defocus, glass, motion and Gaussian.

Shapes: N images, H x W pixels; images are uint8 [N, 3, H, W].
Source: Hendrycks and Dietterich, ICLR 2019, section 4.1 and `make_imagenet_c.py`.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from corruptions.randomness import Source
from corruptions.smoothing import LIFT, correlate, flat_levels, motion_line, settle, smooth, truncate

IMAGEMAGICK_LIFT = 0.5 / 257
"""ImageMagick (16 bits a channel) stores floor(round(257 v) / 257), that is floor(v + 0.5 / 257)."""


def gaussian_blur(images: Tensor, draws: Source, sigma: float) -> Tensor:
    """Separable Gaussian cut at 4 sigma, edges replicated."""
    return settle(smooth(images.to(torch.float32), sigma), flat_levels(sigma, images.device))


@lru_cache(maxsize=32)
def disk(radius: float, sigma: float) -> np.ndarray:
    """The defocus kernel: a disk of sum 1, its image smoothed by a Gaussian of 3 x 3 (5 x 5 above radius 8).

    The smoothing reflects at the border of the kernel's image (reflect-101) and is not normalised again: where the disk
    touches that border (radius 8 and more) the sum exceeds 1, and the image brightens by about 1 %.

    >>> round(float(disk(8, 0.5).sum()), 5), round(float(disk(10, 0.5).sum()), 5)
    (1.01298, 1.01079)
    """
    reach, size = (8, 3) if radius <= 8 else (int(radius), 5)
    offsets = np.arange(-reach, reach + 1)
    inside = (offsets[:, None] ** 2 + offsets[None, :] ** 2 <= radius**2).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(inside / inside.sum(), (size, size), sigma))


def defocus_blur(images: Tensor, draws: Source, parameters: tuple[float, float]) -> Tensor:
    """Correlation with the image of a disk-shaped aperture (`disk`), borders reflect-101."""
    kernel = disk(*parameters)
    # The float32 weights of the original sum to a hair less or more than 1: flat areas fall on that side of a level.
    lift = -LIFT if kernel.sum(dtype=np.float64) < 1 else LIFT
    # Outer rows and columns of zeros cost time and change nothing.
    used = np.abs(np.argwhere(kernel > 0) - len(kernel) // 2).max()
    kernel = kernel[len(kernel) // 2 - used :][: 2 * used + 1]
    kernel = kernel[:, kernel.shape[1] // 2 - used :][:, : 2 * used + 1]
    height, width = images.shape[-2:]
    stacked = images.to(torch.float32).view(1, -1, height, width)
    padded = functional.pad(stacked, (used,) * 4, mode="reflect") if used else stacked
    result = correlate(padded, torch.from_numpy(kernel.copy()).to(images.device))
    return truncate(result, lift).view(images.shape)


def glass_sources(steps: Tensor, height: int, width: int, reach: int) -> Tensor:
    """Where every pixel comes from after one round of glass_blur: flat positions int64 [N, H W].

    The original scans rows from H - d down to d + 1 and columns likewise, and each pixel *copies* its neighbour at the
    drawn offset. A neighbour that was scanned before holds its final value, any other its old one. So a pixel points to
    its neighbour; a pointer to a pixel scanned before is followed further, which pointer doubling does in log steps.

    Args:
        steps: the offsets (column, row) in scan order, int64 [N, (H - 2 d) (W - 2 d), 2].
        height: H.
        width: W.
        reach: d, the largest offset.
    """
    rows, columns = max(height - 2 * reach, 0), max(width - 2 * reach, 0)
    device = steps.device
    forward = (steps[..., 1] * width + steps[..., 0]).view(-1, rows, columns).flip(1, 2)
    here = torch.arange(height * width, device=device)
    area = (slice(reach + 1, height - reach + 1), slice(reach + 1, width - reach + 1))
    target = here.expand(len(steps), -1).clone()
    target.view(-1, height, width)[:, area[0], area[1]] += forward
    scanned = torch.zeros(height, width, dtype=torch.bool, device=device)
    scanned[area] = True
    if reach > 1:  # with d = 1 the offsets are -1 and 0, and no neighbour is scanned before
        flat = target.view(-1)
        base = (torch.arange(len(steps), device=device) * (height * width)).view(-1, 1)
        waits = ((target > here) & scanned.view(-1).index_select(0, flat).view(target.shape)).view(-1)
        absolute = (target + base).view(-1)
        open_at = waits.nonzero().view(-1)
        while len(open_at):
            via = absolute[open_at]
            still = waits[via]
            absolute[open_at] = absolute[via]
            waits[open_at] = still
            open_at = open_at[still]
        target = absolute.view(target.shape) - base
    return target


def glass_blur(images: Tensor, draws: Source, parameters: tuple[float, int, int]) -> Tensor:
    """Gaussian blur, then rounds in which pixels copy a neighbour (`glass_sources`), then the Gaussian again."""
    sigma, reach, rounds = parameters
    height, width = images.shape[-2:]
    flat = flat_levels(sigma, images.device)
    pixels = settle(smooth(images.to(torch.float32), sigma), flat).view(len(images), 3, -1)
    count = (height - 2 * reach) * (width - 2 * reach)
    for _ in range(rounds):
        sources = glass_sources(draws.offsets(reach, count), height, width, reach)
        pixels = pixels.gather(2, sources[:, None].expand_as(pixels))
    return settle(smooth(pixels.view(images.shape).to(torch.float32), sigma), flat)


def move(planes: Tensor, radius: int, sigma: float, degrees: Tensor, *, darken: bool = False) -> Tensor:
    """Motion blur along one angle an image: float32 [N, C, H, W], edges replicated, nothing rounded.

    Args:
        planes: float32 [N, C, H, W].
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
            total.add_(padded[:, row : row + height, column : column + width], alpha=weight)
    return result


def motion_blur(images: Tensor, draws: Source, parameters: tuple[int, float], *, variant: str = "imagenet-c") -> Tensor:
    """ImageMagick's motion blur along one angle an image, uniform in -45..45 degrees."""
    radius, sigma = parameters
    degrees = draws.uniform((), -45.0, 45.0)
    if variant != "imagecorruptions":
        return truncate(move(images.to(torch.float32), radius, sigma, degrees).add_(IMAGEMAGICK_LIFT))
    blurred = move(images.to(torch.float32), radius, sigma, degrees, darken=True)
    weights = motion_line(radius, sigma, 0.0)[0]
    flat = np.add.accumulate(weights[:, None] * np.arange(256.0))[-1].astype(np.uint8)
    return settle(blurred, torch.from_numpy(flat).to(images.device))
