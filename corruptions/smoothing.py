"""Gaussian smoothing of batches, and how results become uint8 again.

Shapes: N images, C channels, H x W pixels.
"""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from corruptions.channel import positions

# A float32 sum over a kernel is off by up to some 1e-4 levels. Where the exact value is a whole level (flat areas) the
# fraction must not be dropped from 99.9999, so results are lifted by this much before truncation.
LIFT = 1e-4

# The same as a relative error of the sum, which matters in dark images.
_DOUBT = 4e-7

# Share of doubtful values from which on they are computed in float64: above the 0.05 % of planes without flat areas.
_SHARE = 1e-3

IMAGEMAGICK_LIFT = 0.5 / 257
"""ImageMagick (16 bits a channel) stores floor(round(257 v) / 257), that is floor(v + 0.5 / 257)."""


def truncate(values: Tensor, lift: float = LIFT) -> Tensor:
    """Values on the 0..255 scale, clipped, fraction dropped: uint8. Overwrites float32 `values`."""
    return values.add_(lift).clamp_(0.0, 255.0).to(torch.uint8)


def undecided(values: Tensor) -> tuple[Tensor, Tensor]:
    """Truncated values, uint8, and the flat positions of those closer to a whole level than float32 can tell.

    Args:
        values: float32 on the 0..255 scale, means of levels and so at most 255.9; overwritten.
    """
    lower = values.mul(1.0 - _DOUBT).to(torch.uint8)
    upper = values.mul_(1.0 + _DOUBT).to(torch.uint8)
    return upper, positions(upper != lower)


@lru_cache(maxsize=32)
def flat_levels(sigma: float, device: torch.device) -> Tensor:
    """What `scipy.ndimage.gaussian_filter` and truncation make of a flat area of each level: uint8 [256]."""
    levels = np.arange(256.0)[None] / 255.0
    for _ in range(2):
        levels = ndimage.gaussian_filter1d(levels, sigma, axis=0, mode="nearest")
    return torch.from_numpy((np.clip(levels[0], 0, 1) * 255).astype(np.uint8)).to(device)


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
    """Separable Gaussian of planes [..., H, W], edges replicated, truncated at `cut` sigmas."""
    weights = gaussian_weights(sigma, cut)
    radius = len(weights) // 2
    if radius == 0:
        return planes
    height, width = planes.shape[-2:]
    if planes.device.type == "cpu":
        inner = _both_axes(turned(planes.reshape(-1, height * width)).view(height, width, -1), weights)
        return turned(inner.view(height * width, -1)).view(planes.shape)
    stacked = planes.reshape(1, -1, height, width)
    kernel = torch.from_numpy(weights).to(planes)
    padded = functional.pad(stacked, (radius, radius, radius, radius), mode="replicate")
    down = correlate(padded, kernel.view(-1, 1))
    return correlate(down, kernel.view(1, -1)).reshape(planes.shape)


def smooth_images(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of uint8 images [N, 3, H, W], cut at 4 sigma, edges replicated: uint8, as scipy would store it.

    The original's weights sum to 1 up to the rounding of float64, so a flat area of level v becomes v or, a hair below
    it, v - 1 (`flat_levels`). Values too close to a level for float32 are decided as in a flat area; planes with many
    of them (black frames with faint noise) have those computed in float64.
    """
    weights = gaussian_weights(sigma)
    height, width = images.shape[-2:]
    area = height * width
    flat = flat_levels(sigma, images.device)
    inner = images.device.type == "cpu" and len(weights) > 1  # are the planes innermost?
    if inner:
        planes = turned(images.reshape(-1, area)).view(height, width, -1).to(torch.float32)
        levels, doubtful = undecided(_both_axes(planes, weights))
        count = planes.shape[-1]
        owner = doubtful % count
        result = _decide(levels, doubtful, flat)
        levels = turned(result.view(area, -1))
    else:
        levels, doubtful = undecided(smooth(images.to(torch.float32), sigma))
        count = len(images) * images.shape[1]
        owner = torch.div(doubtful, area, rounding_mode="floor")
        levels = _decide(levels, doubtful, flat).view(-1, area)
    many = torch.bincount(owner, minlength=count) > _SHARE * area
    for plane in many.nonzero().view(-1).tolist():
        mine = doubtful[owner == plane]
        places = torch.div(mine, count, rounding_mode="floor") if inner else mine - plane * area
        original = images.reshape(-1, height, width)[plane].cpu().numpy()
        where, exact = _literally(original, places.cpu().numpy(), sigma, weights)
        levels[plane, torch.from_numpy(where).to(levels.device)] = torch.from_numpy(exact).to(levels.device)
    return levels.view(images.shape)


def _literally(
    plane: np.ndarray, places: np.ndarray, sigma: float, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Blur some pixels of one uint8 plane in float64, in scipy's order of operations.

    Args:
        plane: uint8 [H, W].
        places: flat positions in question; those whose whole window is flat are left out.
        sigma: of the Gaussian.
        weights: of the Gaussian.

    Returns:
        flat positions, and their results, uint8.
    """
    radius = len(weights) // 2
    window = np.ones((len(weights), len(weights)), np.uint8)
    border = cv2.BORDER_REPLICATE
    flat = cv2.erode(plane, window, borderType=border) == cv2.dilate(plane, window, borderType=border)
    places = places[~flat.ravel()[places]]
    if len(places) * window.size > 8 * plane.size:
        exact = ndimage.gaussian_filter(plane / 255.0, sigma, mode="nearest").ravel()[places]
    else:
        padded = np.pad(plane, radius, mode="edge") / 255.0
        windows = np.lib.stride_tricks.sliding_window_view(padded, window.shape)
        exact = windows[places // plane.shape[1], places % plane.shape[1]]
        for _ in range(2):  # the middle first, then pairs from the outside in, along the rows' axis and then the other
            total = exact[:, radius] * weights[radius]
            for step in range(radius, 0, -1):
                total += (exact[:, radius - step] + exact[:, radius + step]) * weights[radius - step]
            exact = total
    return places, (np.clip(exact, 0, 1) * 255).astype(np.uint8)


def _decide(levels: Tensor, doubtful: Tensor, flat: Tensor) -> Tensor:
    """Overwrite the doubtful positions by what a flat area of their level becomes."""
    everything = levels.view(-1)
    everything[doubtful] = flat[everything[doubtful].to(torch.int64)]
    return levels


def smooth_reflected(planes: Tensor, sigmas: tuple[float, float], cut: float) -> Tensor:
    """Separable Gaussian of planes [N, H, W], sigmas (rows, columns), borders reflected at half samples."""
    height, width = planes.shape[-2:]
    weights = tuple(gaussian_weights(sigma, cut) for sigma in sigmas)
    radius = max(len(part) for part in weights) // 2
    if planes.device.type == "cpu" and radius <= min(24, height, width):  # wider kernels: dense matrices are faster
        inner = turned(planes.reshape(-1, height * width)).view(height, width, -1)
        across = _along_rows(inner, weights[1], reflect=True).transpose(0, 1).contiguous()
        down = _along_rows(across, weights[0], reflect=True).transpose(0, 1)
        return turned(down.reshape(height * width, -1)).view(planes.shape)
    rows = smoothing_matrix(height, sigmas[0], cut, planes.device).to(planes.dtype)
    columns = smoothing_matrix(width, sigmas[1], cut, planes.device).to(planes.dtype)
    return rows @ (planes.reshape(-1, width) @ columns.T).view(planes.shape)


def _both_axes(planes: Tensor, weights: np.ndarray) -> Tensor:
    """Filter [H, W, P] along both axes.

    With the planes innermost and the filtered axis next to them, a CPU's depthwise convolution is several times faster
    than in any other layout; so the axes change places in between.
    """
    once = _along_rows(planes, weights).transpose(0, 1).contiguous()
    return _along_rows(once, weights).transpose(0, 1).contiguous()


def turned(table: Tensor) -> Tensor:
    """The transpose of a matrix on the CPU, contiguous; numpy copies uint8 twice as fast as torch."""
    return torch.from_numpy(np.ascontiguousarray(table.numpy().T))


def _along_rows(planes: Tensor, weights: np.ndarray, *, reflect: bool = False) -> Tensor:
    """Filter [A, B, P] along axis 1, edges replicated or reflected at half samples: contiguous, same shape."""
    radius, length = len(weights) // 2, planes.shape[1]
    index = np.pad(np.arange(length), radius, mode="symmetric" if reflect else "edge")
    padded = planes.index_select(1, torch.from_numpy(index))
    kernel = torch.from_numpy(weights).to(planes.dtype).view(1, -1)
    # unsqueeze before permute: torch tells the channels-last layout by the stride of the batch axis too
    return correlate(padded.unsqueeze(0).permute(0, 3, 1, 2), kernel)[0].permute(1, 2, 0).contiguous()


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


def motion_line(radius: int, sigma: float, degrees: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights and whole-pixel offsets (rows, columns) of ImageMagick's motion blur, 2 radius + 1 samples each.

        k_i ~ exp(-i^2 / (2 sigma^2)),   (oy_i, ox_i) = (ceil(i sin a - 0.5), ceil(i cos a - 0.5)),   i = 0..2 radius

    >>> [int(v) for v in motion_line(2, 1.0, 45.0)[1]]
    [0, 1, 1, 2, 3]
    """
    index = np.arange(2 * radius + 1)
    # The constant factor cancels, but it rounds, and flat areas show on which side of a level the weights sum.
    weights = np.exp(-(index**2) / (2 * sigma**2)) / (np.sqrt(2 * np.pi) * sigma)
    angle = math.radians(degrees)
    rows = np.ceil(index * math.sin(angle) - 0.5).astype(np.int64)
    columns = np.ceil(index * math.cos(angle) - 0.5).astype(np.int64)
    return weights / weights.sum(), rows, columns
