"""Blur: defocus and Gaussian.

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
from corruptions.smoothing import IMAGEMAGICK_LIFT as IMAGEMAGICK_LIFT
from corruptions.smoothing import LIFT, correlate, smooth_images, truncate


def gaussian_blur(images: Tensor, draws: Source, sigma: float) -> Tensor:
    """Separable Gaussian cut at 4 sigma, edges replicated."""
    return smooth_images(images, sigma)


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
