"""Mixed and gated pooling: between the mean and the maximum, by a learned share or by a learned look at the window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import PoolingLayer, Source
from .errors import choose
from .registry import pooling
from .tensors import even, mean, phases

SOURCE = Source(
    "Lee, Gallagher, Tu",
    "Generalizing pooling functions in convolutional neural networks: mixed, gated, and tree",
    "AISTATS",
    2016,
)
GRANULARITIES = ("layer", "channel")


@pooling("mixed")
class MixedPool(PoolingLayer):
    """A learned share of the maximum, the rest of the mean of every 2 x 2 window.

    y = a max + (1 - a) mean, a = sigmoid(share), 0.5 at first.

    Args:
        channels: C.
        granularity: one share for the "layer" (1 parameter, the paper's default) or for each "channel" (C).

    >>> MixedPool(1)(torch.tensor([[[[0.0, 1.0], [2.0, 5.0]]]])).item()
    3.5
    """

    idea = "A learned share of the maximum, the rest of the mean."
    source = SOURCE
    options: ClassVar[Mapping[str, str]] = {"granularity": "one share a layer or a channel"}

    def __init__(self, channels: int, *, granularity: str = "layer") -> None:
        super().__init__(channels)
        self.granularity = choose("granularity", granularity, GRANULARITIES)
        self.share = nn.Parameter(torch.zeros(channels if granularity == "channel" else 1))

    def pool(self, x: Tensor) -> Tensor:
        average, largest = _mean_and_max(x)
        return average + self.share.sigmoid().view(-1, 1, 1).to(x.dtype) * (largest - average)


@pooling("gated")
class GatedPool(PoolingLayer):
    """As much of the maximum as a learned 2 x 2 mask, laid over the window, asks for.

    y = g max + (1 - g) mean, g = sigmoid(<mask, window>); a mask of zeros gives (max + mean) / 2.

    Args:
        channels: C.
        granularity: one mask for the "layer" (4 parameters, the paper's default) or for each "channel" (4 C).

    >>> GatedPool(1)(torch.tensor([[[[0.0, 1.0], [2.0, 5.0]]]])).item()
    3.5
    """

    idea = "A learned mask over the window decides between maximum and mean."
    source = SOURCE
    options: ClassVar[Mapping[str, str]] = {"granularity": "one mask a layer or a channel"}

    def __init__(self, channels: int, *, granularity: str = "layer") -> None:
        super().__init__(channels)
        self.granularity = choose("granularity", granularity, GRANULARITIES)
        self.mask = nn.Parameter(torch.zeros(channels if granularity == "channel" else 1, 2, 2))

    def pool(self, x: Tensor) -> Tensor:
        average, largest = _mean_and_max(x)
        weights = self.mask.to(x.dtype).flatten(1).unbind(1)
        first, *others = (w.view(-1, 1, 1) * part for w, part in zip(weights, phases(even(x)), strict=True))
        gate = torch.sigmoid(first + others[0] + others[1] + others[2])
        return average + gate * (largest - average)


def _mean_and_max(x: Tensor) -> tuple[Tensor, Tensor]:
    return mean(x), F.max_pool2d(x, 2, 2, ceil_mode=True)
