"""Brightness: the value of HSV raised. Rows: what is added to it, on the 0..1 scale.

Source: Hendrycks and Dietterich, ICLR 2019, section 4.1 and `make_imagenet_c.py`.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from corruptions.channel import LEVELS, to_levels, without_fraction
from corruptions.hsv import CLOSE, middle_literally, owners
from corruptions.positions import negative
from corruptions.randomness import RandomSource
from corruptions.registry import corruption


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
    value, least = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    index = images + value.to(torch.int32).mul_(LEVELS)
    index.add_(images == least, alpha=LEVELS * LEVELS)
    result = _brightness_table(amount, images.device).index_select(0, index.view(-1))
    undecided = negative(result)
    result = without_fraction(result)
    area = images.shape[-2] * images.shape[-1]
    plane = owners(undecided, area)
    pixels = undecided - (plane - owners(plane, 3)).mul_(area)
    result[undecided] = middle_literally(images, pixels, lambda s, v: (s, v.add_(amount).clamp_(0.0, 1.0)))
    return result.view(images.shape)


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
