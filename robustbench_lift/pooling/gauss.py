"""GaussPool, and the network over channel means that it shares with GFGP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import PoolingLayer, Source
from .errors import PoolingError, choose
from .registry import pooling
from .tensors import total, windows

VARIANCE_FLOOR = 1e-6  # of the published code: a constant window has the deviation 0.001


class ChannelContext(nn.Module):
    """x [N, C, H, W] -> ReLU(BN(W GAP(x))) [N, C/2]: what the whole map says."""

    def __init__(self, channels: int, owner: str) -> None:
        super().__init__()
        if channels < 2:
            raise PoolingError(f"{owner}: needs at least 2 channels, its hidden layer has half of them.")
        self.owner = owner
        self.linear = nn.Linear(channels, channels // 2)
        self.norm = nn.BatchNorm1d(channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.shape[0] == 1:
            raise PoolingError(
                f"{self.owner}: training normalises over the batch and needs at least 2 images, found 1."
            )
        hidden: Tensor = self.norm(self.linear(x.mean((2, 3))))
        return F.relu(hidden)


class Head(nn.Module):
    """[N, C/2] -> BN(W .) [N, C]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels // 2, channels)
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, hidden: Tensor) -> Tensor:
        y: Tensor = self.norm(self.linear(hidden))
        return y


@pooling("gauss")
class GaussPool(PoolingLayer):
    """The mean of a window plus a positive, in training random, multiple of its standard deviation.

    y = mu + softplus(m + s e) sigma; mu and sigma of the 2 x 2 window (sigma at least 0.001), m and s = sigmoid(.)
    [N, C] from the whole map through two linear heads, e ~ N(0, 1) while training and 0 in eval mode.

    Args:
        channels: C, at least 2; the layer has 1.5 C^2 + 7.5 C parameters.
        noise: one e for each image and channel ("image", as in the published ImageNet training) or "pixel".
    """

    idea = "Mean plus a learned, in training random, multiple of the window's deviation."
    source = Source("Kobayashi", "Gaussian-based pooling for convolutional neural networks", "NeurIPS", 2019)
    options: ClassVar[Mapping[str, str]] = {"noise": "drawn for each image and channel (image) or position (pixel)"}
    stochastic = True

    def __init__(self, channels: int, *, noise: str = "image") -> None:
        super().__init__(channels)
        self.noise = choose("noise", noise, ("image", "pixel"))
        self.context = ChannelContext(channels, "GaussPool")
        self.location = Head(channels)
        self.scale = Head(channels)

    def pool(self, x: Tensor) -> Tensor:
        hidden = self.context(x)
        weight = self.location(hidden)[:, :, None, None]
        window = windows(x)
        mean = total(window) / 4
        deviation = (total((window - mean).square()) / 4).clamp(min=VARIANCE_FLOOR).sqrt()
        if self.training:
            weight = weight + torch.sigmoid(self.scale(hidden))[:, :, None, None] * self.draw(mean)
        return mean + F.softplus(weight).to(x.dtype) * deviation

    def draw(self, mean: Tensor) -> Tensor:
        """e ~ N(0, 1) [N, C, 1, 1] or [N, C, h, w]."""
        shape = mean.shape if self.noise == "pixel" else (*mean.shape[:2], 1, 1)
        device = mean.device if self.generator is None else self.generator.device
        return torch.randn(shape, generator=self.generator, device=device, dtype=mean.dtype).to(mean.device)
