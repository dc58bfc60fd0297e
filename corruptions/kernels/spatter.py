"""Spatter: drops of water or splashes of mud on the lens.

Rows: (mean, standard deviation, sigma, threshold, intensity of water or sigma of mud, 0 water or 1 mud).
Shapes: N images, H x W pixels; images are uint8 [N, 3, H, W].
Source: Hendrycks and Dietterich, ICLR 2019, appendix B and `make_imagenet_c.py`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from corruptions.channel import without_fraction
from corruptions.opencv import cv2
from corruptions.randomness import RandomSource
from corruptions.registry import corruption
from corruptions.smoothing import LIFT, smooth, truncate

WATER = (175.0, 238.0, 238.0)
"""Pale turquoise, red, green, blue."""
MUD = (63.0, 42.0, 20.0)
"""Brown, red, green, blue."""
_RELIEF = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])


def liquid(
    draws: RandomSource, height: int, width: int, mean: float, sd: float, sigma: float, threshold: float
) -> Tensor:
    """A smoothed normal field, values below the threshold removed: [N, H, W]."""
    layer = smooth(draws.normal((height, width)).mul_(sd).add_(mean), sigma)
    return torch.threshold_(layer, threshold, 0.0)


def drops(layer: np.ndarray) -> np.ndarray:
    """Relief of the drops of one layer of 8 bits: layer times distance to its edges, 0..1, float32 [H, W].

    Canny's edges, a distance transform and a histogram equalisation have no batched form, so OpenCV does them.
    """
    distance = cv2.distanceTransform(cv2.bitwise_not(cv2.Canny(layer, 50, 150)), cv2.DIST_L2, 5)
    distance = cv2.threshold(distance, 20, 20, cv2.THRESH_TRUNC)[1]
    levels = cv2.equalizeHist(cv2.blur(distance, (3, 3)).astype(np.uint8))
    levels = cv2.blur(cv2.filter2D(levels, cv2.CV_8U, _RELIEF), (3, 3))
    relief = cv2.multiply(layer, levels, dtype=cv2.CV_32F)
    largest = relief.max()
    return np.asarray(relief / largest if largest > 0 else relief)


def water(images: Tensor, layer: Tensor, intensity: float) -> Tensor:
    """x + intensity relief (175, 238, 238) / 255; the layer is [N, H, W]."""
    bits = without_fraction(layer * 255.0).cpu().numpy()
    colour = torch.tensor(WATER, device=images.device).mul_(intensity)
    if images.device.type == "cpu":
        return _water_on_cpu(images, bits, colour.numpy())
    relief = torch.from_numpy(np.stack([drops(plane) for plane in bits])).to(images.device)
    return truncate((relief.unsqueeze(1) * colour.view(1, 3, 1, 1)).add_(images))


def _water_on_cpu(images: Tensor, bits: np.ndarray, colour: np.ndarray) -> Tensor:
    """`water` plane by plane in the caches, with a layer of 8 bits."""
    result = np.empty(images.shape, dtype=np.uint8)
    values = np.empty(images.shape[-2:], dtype=np.float32)
    for image, layer, target in zip(images.numpy(), bits, result, strict=True):
        relief = drops(layer)
        for plane, weight, out in zip(image, colour, target, strict=True):
            np.multiply(relief, weight, out=values)
            cv2.accumulate(plane, values)
            values += np.float32(LIFT)
            cv2.threshold(values, 255.0, 255.0, cv2.THRESH_TRUNC, values)
            np.copyto(out, values, casting="unsafe")  # no part is negative
    return torch.from_numpy(result)


def mud(images: Tensor, layer: Tensor, threshold: float, sigma: float) -> Tensor:
    """x (1 - m) + m (63, 42, 20) / 255, m the smoothed mask of the layer, cut below 0.8."""
    mask = smooth((layer > threshold).to(torch.float32), sigma)
    mask = torch.threshold_(mask, 0.8, 0.0)
    colour = torch.tensor(MUD, device=images.device)
    if images.device.type == "cpu":
        return _mud_on_cpu(images, mask.numpy(), colour.numpy())
    mask = mask.unsqueeze(1)
    return truncate((1.0 - mask) * images + mask * colour.view(1, 3, 1, 1))


def _mud_on_cpu(images: Tensor, masks: np.ndarray, colour: np.ndarray) -> Tensor:
    """`mud` plane by plane in the caches."""
    result = np.empty(images.shape, dtype=np.uint8)
    values, splash = (np.empty(images.shape[-2:], dtype=np.float32) for _ in range(2))
    for image, mask, target in zip(images.numpy(), masks, result, strict=True):
        rest = np.float32(1.0) - mask
        for plane, weight, out in zip(image, colour, target, strict=True):
            np.copyto(values, plane)
            values *= rest
            np.multiply(mask, weight, out=splash)
            values += splash
            values += np.float32(LIFT)
            np.copyto(out, values, casting="unsafe")  # a mean of 0..255, but for rounding far below a level
    return torch.from_numpy(result)


_224 = (
    (0.65, 0.3, 4, 0.69, 0.6, 0),
    (0.65, 0.3, 3, 0.68, 0.6, 0),
    (0.65, 0.3, 2, 0.68, 0.5, 0),
    (0.65, 0.3, 1, 0.65, 1.5, 1),
    (0.67, 0.4, 1, 0.65, 1.5, 1),
)
_299 = (
    (0.65, 0.3, 4, 0.69, 0.9, 0),
    (0.65, 0.3, 3.5, 0.68, 0.9, 0),
    (0.65, 0.3, 3, 0.68, 0.8, 0),
    (0.65, 0.3, 1.2, 0.65, 1.8, 1),
    (0.67, 0.4, 1.2, 0.65, 1.8, 1),
)
_64 = (
    (0.62, 0.1, 0.7, 0.7, 0.6, 0),
    (0.65, 0.1, 0.8, 0.7, 0.6, 0),
    (0.65, 0.3, 1, 0.69, 0.6, 0),
    (0.65, 0.1, 0.7, 0.68, 0.6, 1),
    (0.65, 0.1, 0.5, 0.67, 0.6, 1),
)
_32 = (
    (0.62, 0.1, 0.7, 0.7, 0.5, 0),
    (0.65, 0.1, 0.8, 0.7, 0.5, 0),
    (0.65, 0.3, 1, 0.69, 0.5, 0),
    (0.65, 0.1, 0.7, 0.69, 0.6, 1),
    (0.65, 0.1, 0.5, 0.68, 0.6, 1),
)


@corruption(
    "spatter",
    category="weather",
    rows={
        224: _224,
        299: _299,
        64: _64,
        32: _32,
    },
    piece=8,
)
def spatter(images: Tensor, draws: RandomSource, parameters: tuple[float, float, float, float, float, int]) -> Tensor:
    """Water (mode 0) or mud (mode 1) where a smoothed normal field passes a threshold."""
    mean, sd, sigma, threshold, strength, mode = parameters
    height, width = images.shape[-2:]
    layer = liquid(draws, height, width, mean, sd, sigma, threshold)
    return mud(images, layer, threshold, strength) if mode else water(images, layer, strength)
