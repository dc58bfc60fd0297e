"""Brightness: the value of HSV raised. Rows: what is added to it, on the 0..1 scale.

Source: Hendrycks and Dietterich, ICLR 2019, section 4.1 and `make_imagenet_c.py`.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from corruptions.channel import LEVELS, positions, to_levels, without_fraction
from corruptions.hsv import CLOSE, literally
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
)
def brightness(images: Tensor, draws: RandomSource, amount: float) -> Tensor:
    """Value of HSV plus `amount`, clipped to [0, 1]."""
    value = images.amax(1).to(torch.int32).mul_(LEVELS)
    pairs = images + value.unsqueeze(1)
    result = _brightness_table(amount, images.device).index_select(0, pairs.view(-1)).view(images.shape)
    undecided = positions(result.amin(1) < 0)
    result = without_fraction(result)
    return literally(images, result, undecided, lambda h, s, v: (h, s, (v + amount).clamp_(0.0, 1.0)))


@lru_cache(maxsize=64)
def _brightness_table(amount: float, device: torch.device) -> Tensor:
    """The result for every (value, level), -1 where a whole number makes it depend on the hue: int16 [256 * 256]."""
    levels = torch.arange(LEVELS, dtype=torch.float64)
    value = levels / 255.0
    brighter = (value + amount).clamp_(0.0, 1.0)
    exact = 255.0 * brighter.view(-1, 1) * (levels / levels.view(-1, 1).clamp(min=1.0))
    table = exact.clamp(0.0, 255.0).to(torch.int16)
    table[(exact - exact.round()).abs() < CLOSE] = -1
    # The largest channel is the new value itself, whatever the hue; a black pixel has no hue and follows it.
    table.diagonal().copy_(to_levels(brighter).to(torch.int16))
    return table.view(-1).to(device)
