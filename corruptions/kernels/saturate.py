"""Saturation: the saturation of HSV scaled and raised. Rows: (factor, addend).

Source: Hendrycks and Dietterich, ICLR 2019, section 4.1 and `make_imagenet_c.py`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from corruptions.channel import LEVELS, to_levels, without_fraction
from corruptions.hsv import literally, middle_literally
from corruptions.opencv import cv2
from corruptions.positions import few, positions
from corruptions.randomness import RandomSource
from corruptions.registry import corruption
from corruptions.smoothing import LIFT
from corruptions.words import look_up, paired


@corruption(
    "saturate",
    category="digital",
    rows={
        224: ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
        299: ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
        64: ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
        32: ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    },
)
def saturate(images: Tensor, draws: RandomSource, parameters: tuple[float, float]) -> Tensor:
    """Saturation of HSV times a factor plus an addend, clipped to [0, 1].

        x' = V - (V - x) S' V / (V - min),   S' = clip(S factor + addend, 0, 1)

    The largest channel stays, the smallest follows from (V, min) by a table, the middle one is computed.
    """
    factor, addend = parameters
    result, greys = (_on_cpu if images.device.type == "cpu" else _by_tensors)(images.contiguous(), factor, addend)
    if not addend:
        return result
    # greys take on a colour: the original gives them the hue of red
    return literally(images, result, greys, lambda h, s, v: (h, (s * factor + addend).clamp_(0.0, 1.0), v))


def _by_tensors(images: Tensor, factor: float, addend: float) -> tuple[Tensor, Tensor]:
    """`saturate`, but for greys; where they are, flat positions in [N, H, W]."""
    value, least = images.amax(1), images.amin(1)
    middle = (images.sum(1, dtype=torch.int16) - value).sub_(least)
    pairs = value.to(torch.int32).mul_(LEVELS).add_(least).view(-1)
    stretch, lowest = _stretch(factor, addend, images.device)
    distance = (value - middle).to(torch.float32).mul_(stretch.index_select(0, pairs).view(value.shape))
    lowered = lowest.index_select(0, pairs).view(value.shape)
    upper = (value + LIFT).sub_(distance)
    lower = without_fraction(upper.sub(2 * LIFT).clamp_(0.0, 255.0))
    moved = without_fraction(upper.clamp_(0.0, 255.0))
    # Where the middle channel equals another there is nothing to decide.
    doubtful = positions((moved != lower) & (middle > least) & (middle < value))
    moved.view(-1)[doubtful] = _middle(images, doubtful, factor, addend)
    result = _pick(images == least.unsqueeze(1), lowered.unsqueeze(1), moved.unsqueeze(1))
    return _pick(images == value.unsqueeze(1), images, result), positions(value == least)


def _middle(images: Tensor, pixels: Tensor, factor: float, addend: float) -> Tensor:
    """The middle channel of some pixels by the path through the hue."""
    return middle_literally(images, pixels, lambda s, v: (s.mul_(factor).add_(addend).clamp_(0.0, 1.0), v))


def _on_cpu(images: Tensor, factor: float, addend: float) -> tuple[Tensor, Tensor]:
    """`_by_tensors` plane by plane in the caches."""
    stretch, lowest = (table.numpy() for table in _stretch(factor, addend, images.device))
    result = np.empty(images.shape, np.uint8)
    distance, upper = (np.empty(images.shape[-2:], np.float32) for _ in range(2))
    lowered, moved, lower = (np.empty(images.shape[-2:], np.uint8) for _ in range(3))
    places, pixels, greys = [], [], []
    for number, (image, target) in enumerate(zip(images.numpy(), result, strict=True)):
        red, green, blue = image
        most, fewer = cv2.max(red, green), cv2.min(red, green)
        value, least = cv2.max(most, blue), cv2.min(fewer, blue)
        middle = cv2.max(fewer, cv2.min(most, blue))
        pairs = paired(least, value)
        look_up(pairs, lowest, lowered)
        look_up(pairs, stretch, distance)
        distance *= cv2.subtract(value, middle)
        np.copyto(upper, value)
        upper += np.float32(LIFT)
        upper -= distance
        # what is above -1 and below 256 needs no clipping
        np.copyto(moved, upper, casting="unsafe")
        upper -= np.float32(2 * LIFT)
        np.copyto(lower, upper, casting="unsafe")
        doubtful = few(((moved != lower) & (middle > least) & (middle < value)).ravel())
        pixels.append(doubtful + number * middle.size)
        greys.append(few((value == least).ravel()) + number * middle.size)
        found = middle.ravel().take(doubtful)
        is_red, is_green = (found == plane.ravel().take(doubtful) for plane in (red, green))
        channel = np.where(is_red, 0, 2 - is_green)
        places.append(doubtful + (3 * number + channel) * middle.size)
        for plane, out in zip(image, target, strict=True):
            np.copyto(out, moved)
            cv2.copyTo(lowered, cv2.compare(plane, least, cv2.CMP_EQ), out)
            cv2.copyTo(plane, cv2.compare(plane, value, cv2.CMP_EQ), out)
    literal = _middle(images, torch.from_numpy(np.concatenate(pixels)), factor, addend)
    result.reshape(-1)[np.concatenate(places)] = literal.numpy()
    return torch.from_numpy(result), torch.from_numpy(np.concatenate(greys))


def _pick(mask: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """`torch.where` for uint8, by arithmetic modulo 256: without a branch a value, which a CPU often guesses wrong."""
    return (yes - no).mul(mask.view(torch.uint8)).add_(no)


@lru_cache(maxsize=16)
def _stretch(factor: float, addend: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """For every (V, min): S' V / (V - min), float32 [256 * 256], and what the smallest channel becomes, uint8."""
    levels = torch.arange(LEVELS, dtype=torch.float64) / 255.0
    value, spread = levels.view(-1, 1), levels.view(-1, 1) - levels
    saturation = (spread / value).mul_(factor).add_(addend).clamp_(0.0, 1.0)
    table = saturation * value / spread
    table[spread == 0] = 0.0
    lowest = to_levels((value * (1.0 - saturation)).nan_to_num_(0.0))
    return table.to(torch.float32).view(-1).to(device), lowest.view(-1).to(device)
