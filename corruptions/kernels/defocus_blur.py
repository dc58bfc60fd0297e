"""Defocus blur: the image of a disk-shaped aperture. Rows: (radius of the disk in pixels, sigma of its edge).

Source: Hendrycks and Dietterich, ICLR 2019, section 4.1 and `make_imagenet_c.py`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from corruptions.opencv import cv2
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
    piece=8,
)
def defocus_blur(images: Tensor, draws: RandomSource, parameters: tuple[float, float]) -> Tensor:
    """Correlation with the image of a disk-shaped aperture (`disk`), borders reflect-101.

    The sums of a small disk are often whole levels but for the float32 rounding of its weights, and which side of the
    level they fall on shows. So on a CPU every pixel is what float64 gives, as in the original; an accelerator computes
    small disks in float64, and takes float32 where whole levels are rare.
    """
    kernel = _trimmed(*parameters)
    if images.device.type == "cpu":
        return torch.from_numpy(_on_cpu(images.contiguous().numpy(), kernel))
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


def _on_cpu(images: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """uint8 [N, 3, H, W], plane by plane: whole sums for equal weights, float32 where that decides."""
    result = np.empty_like(images)
    height, width = images.shape[-2:]
    uniform = _uniform(kernel)
    for source, target in zip(images.reshape(-1, height, width), result.reshape(-1, height, width), strict=True):
        if uniform is not None:
            sums = cv2.filter2D(source.astype(np.float32), -1, uniform)  # whole numbers below 2^24
            count = int(uniform.sum())
            # Exact multiples of `count` lie a hair below or above a level, as the weights' sum does below or above 1.
            shift = 0.5 if kernel.sum(dtype=np.float64) > 1 else -0.5
            cv2.addWeighted(sums, 1 / count, sums, 0, shift / count - 0.5, target, cv2.CV_8U)
        elif len(kernel) < _WIDE:
            target[:] = _literally(source, kernel)
        else:
            _decided(source, kernel, target)
    return result


_WIDE = 11
"""Side of a kernel from which on OpenCV filters by Fourier transforms."""

_DOUBT = 5e-4
"""Levels by which float32 transforms may be wrong: ten times the largest error seen."""

_CLOSE = 1e-9
"""Distance to a level, in levels, below which the order of summation in float64 decides."""

_MANY, _MOST = 200, 2000
"""Doubtful pixels of a plane above which flat areas are looked for, and above which all of it takes float64."""


def _uniform(kernel: np.ndarray) -> np.ndarray | None:
    """Ones in the kernel's disk if its weights are all equal, but for at most 1e-12 that changes no sum."""
    inside = kernel > 1e-12
    weights = kernel[inside]
    return inside.astype(np.float32) if (weights == weights[0]).all() else None


def _decided(source: np.ndarray, kernel: np.ndarray, target: np.ndarray) -> None:
    """Blur one plane in float32; pixels too close to a level for that are computed in float64."""
    height, width = source.shape
    reach = len(kernel) // 2
    size = _size(height, width, reach)
    plane = np.zeros(size, np.float32)
    part = plane[: height + 2 * reach, : width + 2 * reach]
    cv2.copyMakeBorder(source.astype(np.float32), reach, reach, reach, reach, cv2.BORDER_REFLECT_101, part)
    cv2.dft(plane, plane)
    plane *= _spectrum(kernel.tobytes(), len(kernel), size)
    cv2.idft(plane, plane, flags=cv2.DFT_SCALE | cv2.DFT_REAL_OUTPUT)
    blurred = plane[reach : reach + height, reach : reach + width]
    # OpenCV rounds the sum to the nearest, which is its floor after 1/2 is taken off, and keeps it within 0..255.
    lower = cv2.addWeighted(blurred, 1.0, blurred, 0.0, -0.5 - _DOUBT, dtype=cv2.CV_8U)
    cv2.addWeighted(blurred, 1.0, blurred, 0.0, -0.5 + _DOUBT, target, cv2.CV_8U)
    doubtful = lower != target
    if np.count_nonzero(doubtful) > _MANY:
        # Flat areas are whole levels but for the weights' sum.
        square = np.ones(kernel.shape, np.uint8)
        least, most = (find(source, square, borderType=cv2.BORDER_REFLECT_101) for find in (cv2.erode, cv2.dilate))
        flat = doubtful & (least == most)
        sums = np.arange(256.0) * kernel.sum(dtype=np.float64)
        if (np.abs(sums - np.rint(sums)) < _CLOSE)[1:].any():
            target[:] = _literally(source, kernel)
            return
        np.copyto(target, np.minimum(sums, 255.0).astype(np.uint8)[source], where=flat)
        doubtful &= ~flat
    rows, columns = np.divmod(np.flatnonzero(doubtful), width)
    if len(rows) > _MOST:
        target[:] = _literally(source, kernel)
    elif len(rows):
        padded = cv2.copyMakeBorder(source, reach, reach, reach, reach, cv2.BORDER_REFLECT_101)
        windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape)[rows, columns]
        exact = windows.reshape(len(rows), -1).astype(np.float64) @ kernel.astype(np.float64).ravel()
        target[rows, columns] = np.minimum(exact, 255.0).astype(np.uint8)
        if ((np.abs(exact - np.rint(exact)) < _CLOSE) & (exact > 0.5)).any():
            target[:] = _literally(source, kernel)


def _size(height: int, width: int, reach: int) -> tuple[int, int]:
    """The smallest plane for an image and its borders that is quick to transform."""
    rows, columns = (cv2.getOptimalDFTSize(side + 2 * reach) for side in (height, width))
    return rows, columns


@lru_cache(maxsize=16)
def _spectrum(weights: bytes, side: int, size: tuple[int, int]) -> np.ndarray:
    """The Fourier transform of a kernel about the plane's corner, as factors of OpenCV's packed spectrum: float32.

    A kernel that is its own mirror image has a real spectrum, which multiplies real and imaginary parts alike.
    """
    plane = np.zeros(size)
    plane[:side, :side] = np.frombuffer(weights, dtype=np.float32).reshape(side, side)
    spectrum = np.fft.fft2(np.roll(plane, (-(side // 2), -(side // 2)), (0, 1))).real
    rows, columns = size
    packed = np.empty(size)
    # Packed: each row holds Re 0, Re 1, Im 1, Re 2, ...; the columns of Re 0 and of the last Re are packed downwards.
    across, down = (np.arange(1, side + 1) // 2 for side in (columns, rows))
    packed[:] = spectrum[:, across]
    packed[:, 0] = spectrum[down, 0]
    if columns % 2 == 0:
        packed[:, -1] = spectrum[down, columns // 2]
    return packed.astype(np.float32)


def _literally(plane: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The original's float64 arithmetic on one plane; by Fourier transforms where OpenCV takes them too."""
    height, width = plane.shape
    reach = len(kernel) // 2
    unit = cv2.LUT(plane, _UNIT)
    if len(kernel) < _WIDE:
        blurred = cv2.filter2D(unit, -1, kernel)
    else:
        size = _size(height, width, reach)
        below, right = size[0] - height - reach, size[1] - width - reach
        # What lies beyond the reach, up to a size that is quick to transform, enters no result.
        padded = cv2.copyMakeBorder(unit, reach, below, reach, right, cv2.BORDER_REFLECT_101)
        cv2.dft(padded, padded)
        cv2.mulSpectrums(padded, _transform(kernel.tobytes(), len(kernel), size), 0, padded, conjB=True)
        blurred = cv2.idft(padded, padded, flags=cv2.DFT_SCALE | cv2.DFT_REAL_OUTPUT)[:height, :width]
    np.clip(blurred, 0.0, 1.0, out=blurred)
    return np.asarray(np.multiply(blurred, 255.0, out=blurred).astype(np.uint8))


_UNIT = np.arange(256) / 255.0


@lru_cache(maxsize=16)
def _transform(weights: bytes, side: int, size: tuple[int, int]) -> np.ndarray:
    """The Fourier transform of a kernel in a plane of this size; computed once, not once a plane as in OpenCV."""
    plane = np.zeros(size)
    plane[:side, :side] = np.frombuffer(weights, dtype=np.float32).reshape(side, side)
    return np.asarray(cv2.dft(plane))
