"""Saturation: the saturation of HSV scaled and raised. Rows: (factor, addend).

Source: Hendrycks and Dietterich, ICLR 2019, section 4.1 and `make_imagenet_c.py`.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from corruptions.channel import LEVELS, to_levels, without_fraction
from corruptions.hsv import literally, middle_literally
from corruptions.positions import positions
from corruptions.randomness import RandomSource
from corruptions.registry import corruption
from corruptions.smoothing import LIFT


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
    moved.view(-1)[doubtful] = middle_literally(
        images, doubtful, lambda s, v: (s.mul_(factor).add_(addend).clamp_(0.0, 1.0), v)
    )
    result = _pick(images == least.unsqueeze(1), lowered.unsqueeze(1), moved.unsqueeze(1))
    result = _pick(images == value.unsqueeze(1), images, result)
    if not addend:
        return result
    greys = positions(value == least)  # they take on a colour: the original gives them the hue of red
    return literally(images, result, greys, lambda h, s, v: (h, (s * factor + addend).clamp_(0.0, 1.0), v))


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
