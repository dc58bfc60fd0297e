"""Brightness: the value of HSV raised. Rows: what is added to it, on the 0..1 scale.

Source: Hendrycks and Dietterich, ICLR 2019, section 4.1 and `make_imagenet_c.py`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from corruptions.channel import LEVELS, to_levels, without_fraction
from corruptions.hsv import CLOSE, middle_literally, owners
from corruptions.opencv import cv2
from corruptions.positions import few, negative
from corruptions.randomness import RandomSource
from corruptions.registry import corruption
from corruptions.words import look_up, paired


@corruption(
    "brightness",
    category="weather",
    rows={
        224: (0.1, 0.2, 0.3, 0.4, 0.5),
        299: (0.1, 0.2, 0.3, 0.4, 0.5),
        64: (0.1, 0.2, 0.3, 0.4, 0.5),
        32: (0.05, 0.1, 0.15, 0.2, 0.3),
    },
    piece=8,
)
def brightness(images: Tensor, draws: RandomSource, amount: float) -> Tensor:
    """Value of HSV plus `amount`, clipped to [0, 1]."""
    if images.device.type == "cpu":
        return _on_cpu(images.contiguous(), amount)
    value, least = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    index = images + value.to(torch.int32).mul_(LEVELS)
    index.add_(images == least, alpha=LEVELS * LEVELS)
    result = _brightness_table(amount, images.device).index_select(0, index.view(-1))
    undecided = negative(result)
    result = without_fraction(result)
    area = images.shape[-2] * images.shape[-1]
    plane = owners(undecided, area)
    pixels = undecided - (plane - owners(plane, 3)).mul_(area)
    result[undecided] = _middle(images, pixels, amount)
    return result.view(images.shape)


def _middle(images: Tensor, pixels: Tensor, amount: float) -> Tensor:
    """The middle channel of some pixels by the path through the hue."""
    return middle_literally(images, pixels, lambda s, v: (s, v.add_(amount).clamp_(0.0, 1.0)))


def _on_cpu(images: Tensor, amount: float) -> Tensor:
    """`brightness` plane by plane in the caches."""
    height, width = images.shape[-2:]
    middle, smallest = _brightness_table(amount, images.device).view(2, -1).numpy().view(np.uint16)
    result = np.empty(images.shape, np.uint8)
    found, darkest = (np.empty((height, width), np.uint16) for _ in range(2))
    places, pixels = [], []
    for number, (image, target) in enumerate(zip(images.numpy(), result, strict=True)):
        red, green, blue = image
        value, least = (choice(choice(red, green), blue) for choice in (cv2.max, cv2.min))
        look_up(paired(least, value), smallest, darkest)
        for channel, (plane, out) in enumerate(zip(image, target, strict=True)):
            look_up(paired(plane, value), middle, found)
            cv2.copyTo(darkest, cv2.compare(plane, least, cv2.CMP_EQ), found)
            np.copyto(out, found, casting="unsafe")
            undecided = few((found == _UNDECIDED).ravel())
            places.append(undecided + (3 * number + channel) * plane.size)
            pixels.append(undecided + number * plane.size)
    literal = _middle(images, torch.from_numpy(np.concatenate(pixels)), amount)
    result.reshape(-1)[np.concatenate(places)] = literal.numpy()
    return torch.from_numpy(result)


_UNDECIDED = 0xFFFF
"""-1 of the table, read without a sign."""


@lru_cache(maxsize=64)
def _brightness_table(amount: float, device: torch.device) -> Tensor:
    """The result for every (value, level), and again for levels that are the pixel's smallest: int16 [2 * 256 * 256].

    -1 where a whole number makes the middle channel depend on the hue, which decides on which side of it float64 falls.
    """
    levels = torch.arange(LEVELS, dtype=torch.float64)
    value = levels / 255.0
    brighter = (value + amount).clamp_(0.0, 1.0)
    exact = 255.0 * brighter.view(-1, 1) * (levels / levels.view(-1, 1).clamp(min=1.0))
    middle = exact.clamp(0.0, 255.0).to(torch.int16)
    middle[(exact - exact.round()).abs() < CLOSE] = -1
    # The largest channel is the new value itself, whatever the hue; a black pixel has no hue and follows it.
    middle.diagonal().copy_(to_levels(brighter).to(torch.int16))
    saturation = ((value.view(-1, 1) - value) / value.view(-1, 1)).nan_to_num_(0.0)
    smallest = to_levels(brighter.view(-1, 1) * (1.0 - saturation)).to(torch.int16)
    return torch.stack([middle, smallest]).view(-1).to(device)
