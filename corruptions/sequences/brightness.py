"""Brightness that rises. Rows: step of the value of HSV between frames.

Source: Hendrycks and Dietterich, ICLR 2019, section 4.2, and the four generator scripts (see `corruptions.sequences`).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from corruptions.channel import to_levels
from corruptions.hsv import from_hsv, to_hsv
from corruptions.randomness import RandomSource
from corruptions.registry import perturbation


@perturbation("brightness", category="weather", rows={224: 0.02, 299: 0.02, 64: 0.02, 32: 0.015})
def brightness(images: Tensor, draws: RandomSource, step: float, count: int) -> Iterator[Tensor]:
    """Frame i adds (i - 15) step to the value of HSV.

    Hue and saturation stay, so every channel keeps its share of the value: with shares r = hsv_to_rgb(h, s, 1) a frame
    is clip(v + c) r, and the conversion is done once a sequence.
    """
    hue, saturation, value = to_hsv(images)
    shares = from_hsv(hue, saturation, torch.ones_like(value))
    value = value.unsqueeze(1)
    for i in range(count):
        yield to_levels((value + (i - 15) * step).clamp_(0, 1) * shares)
