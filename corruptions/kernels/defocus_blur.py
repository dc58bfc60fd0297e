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
from corruptions.positions import few
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
    """uint8 [N, 3, H, W]: whole sums for equal weights, float32 where that decides."""
    result = np.empty_like(images)
    height, width = images.shape[-2:]
    sources, targets = images.reshape(-1, height, width), result.reshape(-1, height, width)
    uniform = _uniform(kernel)
    if uniform is None and len(kernel) >= _WIDE:
        _decided(sources, kernel, targets)
        return result
    for source, target in zip(sources, targets, strict=True):
        if uniform is not None:
            sums = cv2.filter2D(source.astype(np.float32), -1, uniform)  # whole numbers below 2^24
            count = int(uniform.sum())
            # Exact multiples of `count` lie a hair below or above a level, as the weights' sum does below or above 1.
            shift = 0.5 if kernel.sum(dtype=np.float64) > 1 else -0.5
            cv2.addWeighted(sums, 1 / count, sums, 0, shift / count - 0.5, target, cv2.CV_8U)
        else:
            target[:] = _literally(source, kernel)
    return result


_WIDE = 11
"""Side of a kernel from which on OpenCV filters by Fourier transforms."""

_DOUBT = 5e-4
"""Levels by which float32 transforms may be wrong: six times the largest error seen."""

_CLOSE = 1e-9
"""Distance to a level, in levels, below which the order of summation in float64 decides."""

_MANY, _MOST = 200, 2000
"""Doubtful pixels of a plane above which flat areas are looked for, and above which all of it takes float64."""


def _uniform(kernel: np.ndarray) -> np.ndarray | None:
    """Ones in the kernel's disk if its weights are all equal, but for at most 1e-12 that changes no sum."""
    inside = kernel > 1e-12
    weights = kernel[inside]
    return inside.astype(np.float32) if (weights == weights[0]).all() else None


def _decided(sources: np.ndarray, kernel: np.ndarray, targets: np.ndarray) -> None:
    """Blur planes [P, H, W] in float32; pixels too close to a level for that are computed in float64."""
    height, width = sources.shape[1:]
    reach = len(kernel) // 2
    border = (reach,) * 4
    padded = np.empty((len(sources), height + 2 * reach, width + 2 * reach), np.uint8)
    for source, wide in zip(sources, padded, strict=True):
        cv2.copyMakeBorder(source, *border, cv2.BORDER_REFLECT_101, wide)
    doubtful = _bounds(padded, kernel, targets)
    whole = kernel.sum(dtype=np.float64)
    square = np.ones(kernel.shape, np.uint8)
    literal: set[int] = set()
    found: list[np.ndarray] = []
    for plane, (source, target, unsure) in enumerate(zip(sources, targets, doubtful, strict=True)):
        if np.count_nonzero(unsure) > _MANY:
            # Flat areas are whole levels but for the weights' sum.
            ends = (find(source, square, borderType=cv2.BORDER_REFLECT_101) for find in (cv2.erode, cv2.dilate))
            flat = unsure & np.equal(*ends)
            sums = np.arange(256.0) * whole
            if (np.abs(sums - np.rint(sums)) < _CLOSE)[1:].any():
                literal.add(plane)
                continue
            np.copyto(target, cv2.LUT(source, np.minimum(sums, 255.0).astype(np.uint8)), where=flat)
            unsure &= ~flat
        places = few(unsure.ravel())
        if len(places) > _MOST:
            literal.add(plane)
        else:
            found.append(places + plane * height * width)
    places = np.concatenate(found) if found else np.empty(0, np.int64)
    line = places // width
    corners = places + line * (2 * reach) + line // height * (2 * reach * padded.shape[2])
    rows, columns = np.nonzero(kernel)
    windows = padded.ravel().take(corners[:, None] + (rows * padded.shape[2] + columns))
    exact = windows.astype(np.float64) @ kernel[rows, columns].astype(np.float64)
    targets.reshape(-1)[places] = np.minimum(exact, 255.0)
    undecided = (np.abs(exact - np.rint(exact)) < _CLOSE) & (exact > 0.5)
    for plane in sorted(literal.union((line[undecided] // height).tolist())):
        targets[plane] = _literally(sources[plane], kernel)


def _bounds(padded: np.ndarray, kernel: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Blur planes with their borders by Fourier transforms, and tell where float32 leaves the level open: bool.

    The spectrum of a kernel that is its own mirror image is real, so two planes are the parts of one complex one.
    """
    count, height, width = targets.shape
    reach = len(kernel) // 2
    size = _quick_size(*padded.shape[1:])
    spectrum = _spectrum(kernel.tobytes(), len(kernel), size)
    # Levels count from 128, which halves the rounding errors.
    middle = 128 * float(kernel.sum(dtype=np.float64))
    plane = np.zeros((*size, 2), np.float32)
    part = plane[: padded.shape[1], : padded.shape[2]]
    pair = torch.view_as_complex(torch.from_numpy(plane))
    lower, upper = (np.empty((height, width, 2), np.uint8) for _ in range(2))
    doubtful = np.empty(targets.shape, np.bool_)
    for first in range(0, count, 2):
        last = min(first + 1, count - 1)
        np.copyto(part, (cv2.merge([padded[first], padded[last]]) ^ 128).view(np.int8))
        transform = torch.fft.fft2(pair)
        torch.view_as_real(transform).mul_(spectrum)
        both = torch.view_as_real(torch.fft.ifft2(transform, norm="forward")).numpy()
        blurred = both[reach : reach + height, reach : reach + width]
        # OpenCV rounds the sum to the nearest, which is its floor after 1/2 is taken off, and keeps it within 0..255.
        # The second call takes the absolute value first, and is quicker: no sum is so far below 0 that it shows.
        cv2.addWeighted(blurred, 1.0, blurred, 0.0, middle - 0.5 - _DOUBT, lower, cv2.CV_8U)
        cv2.convertScaleAbs(blurred, upper, 1.0, middle - 0.5 + _DOUBT)
        cv2.split(upper, [targets[first], targets[last]])
        cv2.split((lower != upper).view(np.uint8), [doubtful[k].view(np.uint8) for k in (first, last)])
    return doubtful


def _quick_size(*sides: int) -> tuple[int, ...]:
    """The smallest multiples of 8 from these on that are quick to transform."""
    return tuple(8 * cv2.getOptimalDFTSize(-(-side // 8)) for side in sides)


@lru_cache(maxsize=16)
def _spectrum(weights: bytes, side: int, size: tuple[int, ...]) -> Tensor:
    """The Fourier transform of a kernel about the plane's corner, twice, over the plane's area: float32 [*size, 2]."""
    plane = np.zeros(size)
    plane[:side, :side] = np.frombuffer(weights, dtype=np.float32).reshape(side, side)
    spectrum = np.fft.fft2(np.roll(plane, (-(side // 2), -(side // 2)), (0, 1))).real / plane.size
    return torch.from_numpy(np.stack([spectrum, spectrum], axis=-1).astype(np.float32))


def _literally(plane: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The original's float64 arithmetic on one plane; by Fourier transforms where OpenCV takes them too."""
    height, width = plane.shape
    reach = len(kernel) // 2
    unit = cv2.LUT(plane, _UNIT)
    if len(kernel) < _WIDE:
        blurred = cv2.filter2D(unit, -1, kernel)
    else:
        size = [cv2.getOptimalDFTSize(side + 2 * reach) for side in (height, width)]
        below, right = size[0] - height - reach, size[1] - width - reach
        # What lies beyond the reach, up to a size that is quick to transform, enters no result.
        padded = cv2.copyMakeBorder(unit, reach, below, reach, right, cv2.BORDER_REFLECT_101)
        cv2.dft(padded, padded)
        cv2.mulSpectrums(padded, _transform(kernel.tobytes(), len(kernel), tuple(size)), 0, padded, conjB=True)
        blurred = cv2.idft(padded, padded, flags=cv2.DFT_SCALE | cv2.DFT_REAL_OUTPUT)[:height, :width]
    np.clip(blurred, 0.0, 1.0, out=blurred)
    return np.asarray(np.multiply(blurred, 255.0, out=blurred).astype(np.uint8))


_UNIT = np.arange(256) / 255.0


@lru_cache(maxsize=16)
def _transform(weights: bytes, side: int, size: tuple[int, ...]) -> np.ndarray:
    """The Fourier transform of a kernel in a plane of this size; computed once, not once a plane as in OpenCV."""
    plane = np.zeros(size)
    plane[:side, :side] = np.frombuffer(weights, dtype=np.float32).reshape(side, side)
    return np.asarray(cv2.dft(plane))
