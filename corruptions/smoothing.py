"""Gaussian smoothing of batches, and how results become uint8 again.

Shapes: N images, C channels, H x W pixels.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from corruptions.channel import without_fraction
from corruptions.opencv import cv2
from corruptions.positions import differing

# A float32 sum over a kernel is off by up to some 1e-4 levels. Where the exact value is a whole level (flat areas) the
# fraction must not be dropped from 99.9999, so results are lifted by this much before truncation.
LIFT = 1e-4

# The same as a relative error of the sum, which matters in dark images.
_DOUBT = 4e-7

# Share of doubtful values from which on they are computed in float64: above the 0.05 % of planes without flat areas.
_SHARE = 1e-3


def truncate(values: Tensor, lift: float = LIFT) -> Tensor:
    """Values on the 0..255 scale, clipped, fraction dropped: uint8. Overwrites float32 `values`."""
    return without_fraction(values.add_(lift).clamp_(0.0, 255.0))


@lru_cache(maxsize=32)
def flat_levels(sigma: float, device: torch.device, cut: float = 4.0) -> Tensor:
    """What `scipy.ndimage.gaussian_filter` and truncation make of a flat area of each level: uint8 [256]."""
    levels = np.arange(256.0)[None] / 255.0
    for _ in range(2):
        levels = ndimage.gaussian_filter1d(levels, sigma, axis=0, mode="nearest", truncate=cut)
    return torch.from_numpy((np.clip(levels[0], 0, 1) * 255).astype(np.uint8)).to(device)


@lru_cache(maxsize=128)
def gaussian_weights(sigma: float, cut: float = 4.0) -> np.ndarray:
    """Normalised samples of a Gaussian at -r..r with r = int(cut sigma + 0.5): float64 [2 r + 1].

    >>> gaussian_weights(1.0).size
    9
    """
    radius = int(cut * sigma + 0.5)
    if radius == 0:
        return np.ones(1)
    weights = np.exp(-0.5 / (sigma * sigma) * np.arange(-radius, radius + 1) ** 2.0)
    return np.asarray(weights / weights.sum())


def smooth(planes: Tensor, sigma: float, cut: float = 4.0) -> Tensor:
    """Separable Gaussian of planes [..., H, W], edges replicated, truncated at `cut` sigmas: same type."""
    weights = gaussian_weights(sigma, cut)
    radius = len(weights) // 2
    if radius == 0:
        return planes
    if planes.device.type == "cpu":
        return _separable(planes, (weights, weights), cv2.BORDER_REPLICATE)
    stacked = planes.reshape(1, -1, *planes.shape[-2:])
    kernel = torch.from_numpy(weights).to(planes)
    padded = functional.pad(stacked, (radius, radius, radius, radius), mode="replicate")
    down = correlate(padded, kernel.view(-1, 1))
    return correlate(down, kernel.view(1, -1)).reshape(planes.shape)


def _separable(planes: Tensor, weights: tuple[np.ndarray, np.ndarray], border: int) -> Tensor:
    """Filter every plane [..., H, W] with the weights of (rows, columns), by OpenCV: on the CPU, of the same type."""
    result = torch.empty_like(planes, memory_format=torch.contiguous_format)
    height, width = planes.shape[-2:]
    rows, columns = weights
    for source, target in zip(planes.reshape(-1, height, width).numpy(), _planes(result), strict=True):
        cv2.sepFilter2D(source, -1, columns, rows, target, borderType=border)
    return result


def _planes(images: Tensor) -> np.ndarray:
    """All planes of contiguous images [..., H, W] on the CPU, in place: [P, H, W]."""
    return images.view(-1, *images.shape[-2:]).numpy()


def smooth_images(images: Tensor, sigma: float, cut: float = 4.0, *, few: float = _SHARE) -> Tensor:
    """Gaussian blur of uint8 images [N, 3, H, W], cut at `cut` sigmas, edges replicated: uint8, as scipy stores it.

    The original's weights sum to 1 up to the rounding of float64, so a flat area of level v becomes v or, a hair below
    it, v - 1 (`flat_levels`). Values too close to a level for float32 are decided as in a flat area; planes where more
    than a share `few` is (black frames with faint noise) have those computed in float64.
    """
    height, width = images.shape[-2:]
    area = height * width
    bounds = _bounds_on_cpu if images.device.type == "cpu" else _bounds
    lower, upper = bounds(images, sigma, cut)
    doubtful = differing(lower, upper)
    levels = upper.view(-1)
    levels[doubtful] = flat_levels(sigma, images.device, cut)[levels[doubtful].to(torch.int64)]
    places = doubtful.cpu().numpy()
    owner = places // area
    number = np.bincount(owner, minlength=3 * len(images))
    many = number > few * area
    if not many.any():
        return upper
    planes = images.reshape(-1, height, width).cpu().numpy()
    size = len(gaussian_weights(sigma, cut)) ** 2
    heavy = many & (number * size > area)
    decided = [_literally(planes, places[owner == plane], sigma, cut) for plane in np.flatnonzero(heavy)]
    light = places[(many & ~heavy)[owner]]
    step = 1 + _WINDOWS // size
    decided += [_literally(planes, light[k : k + step], sigma, cut) for k in range(0, len(light), step)]
    for where, exact in decided:
        levels[torch.from_numpy(where).to(levels.device)] = torch.from_numpy(exact).to(levels.device)
    return upper


_WINDOWS = 1 << 19
"""Values of windows that are held at a time."""


def _bounds(images: Tensor, sigma: float, cut: float) -> tuple[Tensor, Tensor]:
    """Blurred images without their fraction, uint8, once rounded down and once up by what float32 cannot tell."""
    blurred = smooth(images.to(torch.float32), sigma, cut)
    return blurred.mul(1.0 - _DOUBT).to(torch.uint8), blurred.mul_(1.0 + _DOUBT).to(torch.uint8)


def _bounds_on_cpu(images: Tensor, sigma: float, cut: float) -> tuple[Tensor, Tensor]:
    """`_bounds` by OpenCV, plane by plane, so that the intermediate values stay in the caches."""
    weights = gaussian_weights(sigma, cut)
    lower, upper = (torch.empty_like(images, memory_format=torch.contiguous_format) for _ in range(2))
    for plane, below, above in zip(_planes(images.contiguous()), _planes(lower), _planes(upper), strict=True):
        blurred = cv2.sepFilter2D(plane, cv2.CV_32F, weights, weights, borderType=cv2.BORDER_REPLICATE)
        # OpenCV rounds |a v + b| to the nearest, which is floor(a v) with b = -1/2.
        cv2.convertScaleAbs(blurred, below, 1.0 - _DOUBT, -0.5)
        cv2.convertScaleAbs(blurred, above, 1.0 + _DOUBT, -0.5)
    return lower, upper


def _literally(planes: np.ndarray, places: np.ndarray, sigma: float, cut: float) -> tuple[np.ndarray, np.ndarray]:
    """Blur some pixels of uint8 planes in float64, in scipy's order of operations.

    Args:
        planes: uint8 [P, H, W].
        places: flat positions in question, ascending; where they are many, they lie in one plane, and those whose whole
            window is flat are left out.
        sigma: of the Gaussian.
        cut: where its weights end, in sigmas.

    Returns:
        flat positions, and their results, uint8.
    """
    height, width = planes.shape[1:]
    area = height * width
    plane = places[0] // area
    weights = gaussian_weights(sigma, cut)
    radius = len(weights) // 2
    size = len(weights) ** 2
    if places[-1] // area == plane and len(places) * size > area:
        window = np.ones((len(weights), len(weights)), np.uint8)
        ends = (find(planes[plane], window, borderType=cv2.BORDER_REPLICATE) for find in (cv2.erode, cv2.dilate))
        places = places[np.not_equal(*ends).ravel()[places - plane * area]]
        if len(places) * size > 8 * area:
            exact = ndimage.gaussian_filter(planes[plane] / 255.0, sigma, mode="nearest", truncate=cut)
            return places, _levels(exact.ravel()[places - plane * area])
    line = places // width
    top = line // height * height
    span = np.arange(-radius, radius + 1)[:, None]
    rows = np.clip(line - top + span, 0, height - 1)
    rows += top
    rows *= width
    columns = np.clip(places - line * width + span, 0, width - 1)
    windows = planes.ravel().take(rows[:, None] + columns) / 255.0
    return places, _levels(_weighted(_weighted(windows, weights), weights))


def _weighted(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weighted sum along the first axis: the middle first, then pairs from the outside in, as scipy adds them."""
    radius = len(weights) // 2
    pairs = values[:radius] + values[:radius:-1]
    pairs *= weights[:radius].reshape(-1, *[1] * (values.ndim - 1))
    total = np.asarray(values[radius] * weights[radius])
    for pair in pairs:
        total += pair
    return total


def _levels(values: np.ndarray) -> np.ndarray:
    """Of 0..1, clipped, as uint8 without the fraction."""
    return np.asarray((np.clip(values, 0, 1) * 255).astype(np.uint8))


def smooth_reflected(planes: Tensor, sigmas: tuple[float, float], cut: float) -> Tensor:
    """Separable Gaussian of planes [N, H, W], sigmas (rows, columns), borders reflected at half samples."""
    height, width = planes.shape[-2:]
    weights = gaussian_weights(sigmas[0], cut), gaussian_weights(sigmas[1], cut)
    radius = max(len(part) for part in weights) // 2
    if planes.device.type == "cpu" and radius <= 24:  # wider kernels: dense matrices are faster
        return _separable(planes, weights, cv2.BORDER_REFLECT)
    rows = smoothing_matrix(height, sigmas[0], cut, planes.device).to(planes.dtype)
    columns = smoothing_matrix(width, sigmas[1], cut, planes.device).to(planes.dtype)
    return rows @ (planes.reshape(-1, width) @ columns.T).view(planes.shape)


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


def correlate(stacked: Tensor, kernel: Tensor) -> Tensor:
    """Correlate every plane of [1, P, H, W] with one kernel [h, w], without padding."""
    planes = stacked.shape[1]
    return functional.conv2d(stacked, kernel.expand(planes, 1, *kernel.shape), groups=planes)


@lru_cache(maxsize=16)
def smoothing_matrix(size: int, sigma: float, cut: float, device: torch.device) -> Tensor:
    """Gaussian smoothing of `size` samples, borders reflected at half samples, as a dense matrix: float64 [size, size].

    Exact for every sigma, also where the kernel is wider than the image and the reflection wraps several times.
    """
    identity = np.eye(size)
    if sigma > 0:
        radius = int(cut * sigma + 0.5)
        identity = ndimage.gaussian_filter1d(identity, sigma, axis=0, mode="reflect", radius=radius)
    return torch.from_numpy(identity).to(device)
