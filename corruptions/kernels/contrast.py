"""Contrast: the distance from the channel's mean scaled down. Rows: the factor.

Source: Hendrycks and Dietterich, ICLR 2019, section 4.1 and `make_imagenet_c.py`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from corruptions.channel import LEVELS, to_levels
from corruptions.opencv import cv2
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
    area = images.shape[-2] * images.shape[-1]
    if images.device.type == "cpu":
        planes = images.contiguous().view(-1, *images.shape[-2:]).numpy()
        result = np.empty_like(planes)
        table = _table(torch.tensor([cv2.sumElems(plane)[0] for plane in planes], dtype=torch.float64), area, factor)
        for plane, levels, target in zip(planes, table.numpy(), result, strict=True):
            cv2.LUT(plane, levels, target)
        return torch.from_numpy(result).view(images.shape)
    flat = images.reshape(len(images) * 3, -1)
    table = _table(flat.sum(1, dtype=torch.int64).double(), area, factor)
    start = torch.arange(0, len(flat) * LEVELS, LEVELS, device=images.device, dtype=torch.int32).view(-1, 1)
    return table.view(-1).index_select(0, (flat + start).view(-1)).view(images.shape)


def _table(sums: Tensor, area: int, factor: float) -> Tensor:
    """The result for every level, uint8 [P, 256], from the sum of the levels of each plane, float64 [P]."""
    mean = sums.div_(area * 255.0).view(-1, 1)
    levels = torch.arange(LEVELS, device=sums.device, dtype=torch.float64).div_(255.0)
    return to_levels((levels - mean) * factor + mean)
