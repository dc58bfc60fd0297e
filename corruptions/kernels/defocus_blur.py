"""Defocus blur: the image of a disk-shaped aperture. Rows: (radius of the disk in pixels, sigma of its edge).

Source: Hendrycks and Dietterich, ICLR 2019, section 4.1 and `make_imagenet_c.py`.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from corruptions.randomness import RandomSource
from corruptions.registry import corruption
from corruptions.smoothing import LIFT, correlate, truncate

SMALL = 4
"""Reach of a kernel, in pixels, up to which an accelerator computes in float64."""


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


@corruption(
    "defocus_blur",
    category="blur",
    rows={
        224: ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        299: ((4, 0.1), (5, 0.5), (7, 0.5), (10, 0.5), (12, 0.5)),
        64: ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
        32: ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    },
    piece=5,
)
def defocus_blur(images: Tensor, draws: RandomSource, parameters: tuple[float, float]) -> Tensor:
    """Correlation with the image of a disk-shaped aperture (`disk`), borders reflect-101.

    The sums of a small disk are often whole levels but for the float32 rounding of its weights, and which side of the
    level they fall on shows. So on a CPU OpenCV computes them in float64, as in the original; an accelerator does so
    for small disks, and takes float32 where whole levels are rare.
    """
    kernel = _trimmed(*parameters)
    if images.device.type == "cpu":
        return _literally(images, kernel)
    reach = len(kernel) // 2
    dtype = torch.float64 if reach <= SMALL else torch.float32
    # The weights sum to a hair less or more than 1: flat areas fall on that side of a level.
    lift = 0.0 if reach <= SMALL else -LIFT if kernel.sum(dtype=np.float64) < 1 else LIFT
    stacked = images.to(dtype).view(1, -1, *images.shape[-2:])
    padded = functional.pad(stacked, (reach,) * 4, mode="reflect") if reach else stacked
    result = correlate(padded, torch.from_numpy(kernel).to(images.device, dtype))
    return truncate(result, lift).view(images.shape)


@lru_cache(maxsize=32)
def _trimmed(radius: float, sigma: float) -> np.ndarray:
    """The disk without outer rows and columns that change no sum: at most 1e-22 stands there."""
    kernel = disk(radius, sigma)
    centre = len(kernel) // 2
    reach = np.abs(np.argwhere(kernel > 1e-12) - centre).max()
    return np.ascontiguousarray(kernel[centre - reach : centre + reach + 1, centre - reach : centre + reach + 1])


def _literally(images: Tensor, kernel: np.ndarray) -> Tensor:
    """The original's float64 arithmetic, plane by plane; by Fourier transforms where OpenCV takes them too."""
    result = np.empty(images.shape, dtype=np.uint8)
    height, width = images.shape[-2:]
    reach = len(kernel) // 2
    size = tuple(cv2.getOptimalDFTSize(side + 2 * reach) for side in (height, width))
    below, right = size[0] - height - reach, size[1] - width - reach
    transform = None if len(kernel) < 11 else _transform(kernel.tobytes(), len(kernel), size)
    planes = zip(images.reshape(-1, height, width).numpy(), result.reshape(-1, height, width), strict=True)
    for source, target in planes:
        plane = cv2.LUT(source, _UNIT)
        if transform is None:
            blurred = cv2.filter2D(plane, -1, kernel)
        else:
            # What lies beyond the reach, up to a size that is quick to transform, enters no result.
            padded = cv2.copyMakeBorder(plane, reach, below, reach, right, cv2.BORDER_REFLECT_101)
            cv2.dft(padded, padded)
            cv2.mulSpectrums(padded, transform, 0, padded, conjB=True)
            blurred = cv2.idft(padded, padded, flags=cv2.DFT_SCALE | cv2.DFT_REAL_OUTPUT)[:height, :width]
        np.clip(blurred, 0.0, 1.0, out=blurred)
        np.copyto(target, np.multiply(blurred, 255.0, out=blurred), casting="unsafe")
    return torch.from_numpy(result)


_UNIT = np.arange(256) / 255.0


@lru_cache(maxsize=16)
def _transform(weights: bytes, side: int, size: tuple[int, int]) -> np.ndarray:
    """The Fourier transform of a kernel in a plane of this size; computed once, not once a plane as in OpenCV."""
    plane = np.zeros(size)
    plane[:side, :side] = np.frombuffer(weights, dtype=np.float32).reshape(side, side)
    return np.asarray(cv2.dft(plane))
