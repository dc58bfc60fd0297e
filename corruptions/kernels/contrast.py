"""Contrast: the distance from the channel's mean scaled down. Rows: the factor.

Source: Hendrycks and Dietterich, ICLR 2019, section 4.1 and `make_imagenet_c.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from corruptions.channel import LEVELS, to_levels
from corruptions.randomness import RandomSource
from corruptions.registry import corruption


@corruption(
    "contrast",
    category="digital",
    rows={
        224: (0.4, 0.3, 0.2, 0.1, 0.05),
        299: (0.4, 0.3, 0.2, 0.1, 0.05),
        64: (0.4, 0.3, 0.2, 0.1, 0.05),
        32: (0.75, 0.5, 0.4, 0.3, 0.15),
    },
)
def contrast(images: Tensor, draws: RandomSource, factor: float) -> Tensor:
    """(x - m) factor + m with m the mean of the channel over the image; a table of 256 levels a channel."""
    flat = images.reshape(len(images) * 3, -1)
    mean = flat.sum(1, dtype=torch.int64).double().div_(flat.shape[1] * 255.0).view(-1, 1)
    levels = torch.arange(LEVELS, device=images.device, dtype=torch.float64).div_(255.0)
    table = to_levels((levels - mean) * factor + mean)
    start = torch.arange(0, len(flat) * LEVELS, LEVELS, device=images.device, dtype=torch.int32).view(-1, 1)
    return table.view(-1).index_select(0, (flat + start).view(-1)).view(images.shape)
