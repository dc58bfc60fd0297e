"""Means weighted by exponentials: SoftPool, AdaPool, LIP and GFGP differ in what stands in the exponent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import PoolingLayer, Source
from .errors import PoolingError, choose
from .gauss import ChannelContext, Head
from .registry import pooling
from .tensors import total, windows


def weigh(window: Tensor, logits: Tensor) -> Tensor:
    """sum(x exp(l)) / sum(exp(l)) over the first axis of `window` [4, N, C, h, w], safe for logits of any size."""
    a, b, c, d = logits.detach().unbind(0)
    top = torch.maximum(torch.maximum(a, b), torch.maximum(c, d))
    weights = (logits - top).exp()
    return total(weights * window) / total(weights)


@pooling("soft")
class SoftPool(PoolingLayer):
    """The softmax-weighted mean of every 2 x 2 window: y = sum(x exp(x)) / sum(exp(x)), per channel.

    Lies between the mean and the maximum, and f(x + c) = f(x) + c. The public CPU code sums the exponentials over the
    channels and clips the result at 0; the paper and the CUDA kernel, which this follows, do neither.

    >>> round(SoftPool(1)(torch.tensor([[[[0.0, 1.0], [2.0, 5.0]]]])).item(), 4)
    4.7615
    """

    idea = "Weigh the samples of a window by their own exponentials."
    source = Source("Stergiou, Poppe, Kalliatakis", "Refining activation downsampling with SoftPool", "ICCV", 2021)

    def pool(self, x: Tensor) -> Tensor:
        window = windows(x)
        return weigh(window, window)


@pooling("ada")
class AdaPool(PoolingLayer):
    """A learned mixture, at every output position, of SoftPool and of a mean weighted by likeness to the window's mean.

    y = b e_sim + (1 - b) e_soft; e_sim weighs by softmax of Dice's coefficient 2 |x m| / (x^2 + m^2) with the mean m
    (0 where both are 0); b in [0, 1], one for every output position, shared by channels, 0.5 at first.

    Args:
        channels: C.
        size: side, or (H, W), of the maps that will come: the layer is tied to it.

    >>> AdaPool(1, size=(2, 4))(torch.ones(1, 1, 2, 4)).tolist()
    [[[[1.0, 1.0]]]]
    """

    idea = "Mix SoftPool with a mean weighted by likeness, learned at every position."
    source = Source("Stergiou, Poppe", "AdaPool: exponential adaptive pooling", "arXiv 2111.00772", 2021)
    options: ClassVar[Mapping[str, str]] = {"size": "side or (H, W) of the input map"}
    needs_size = True

    def __init__(self, channels: int, *, size: int | tuple[int, int]) -> None:
        super().__init__(channels)
        sides = (size, size) if isinstance(size, int) else tuple(size)
        if len(sides) != 2 or any(not isinstance(side, int) or side < 1 for side in sides):
            raise PoolingError(f"AdaPool: size must be a positive integer or a pair of them, not {size!r}.")
        self.size = (sides[0], sides[1])
        self.mixture = nn.Parameter(torch.full(((sides[0] + 1) // 2, (sides[1] + 1) // 2), 0.5))

    def pool(self, x: Tensor) -> Tensor:
        if x.shape[-2:] != self.size:
            raise PoolingError(
                f"AdaPool: built for maps of {self.size[0]} x {self.size[1]}, found {x.shape[2]} x {x.shape[3]}: "
                f"its mixture is learned for each position. Build it with size={tuple(x.shape[2:])}."
            )
        window = windows(x)
        mean = total(window) / 4
        energy = window.square() + mean.square()
        likeness = 2 * (window * mean).abs() / torch.where(energy > 0, energy, torch.ones_like(energy))
        soft = weigh(window, window)
        return soft + self.mixture.to(x.dtype).clamp(0, 1) * (weigh(window, likeness) - soft)


@pooling("gfgp")
class GFGP(PoolingLayer):
    """Global feature guided pooling: a softmax-weighted mean whose sharpness the whole map sets for each channel.

    y = sum(x exp(l x)) / sum(exp(l x)) over 2 x 2 windows, l [N, C] = sigmoid(BN(W2 ReLU(BN(W1 GAP(x))))).
    l = 0 is the mean, l to infinity the maximum.

    Args:
        channels: C, at least 2; the layer has C^2 + 4.5 C parameters.
    """

    idea = "Softmax-weighted mean whose sharpness the whole map sets for each channel."
    source = Source("Kobayashi", "Global feature guided local pooling", "ICCV", 2019)

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.context = ChannelContext(channels, "GFGP")
        self.sharpness = Head(channels)

    def pool(self, x: Tensor) -> Tensor:
        sharpness = torch.sigmoid(self.sharpness(self.context(x)))[:, :, None, None]
        window = windows(x)
        return weigh(window, sharpness.to(x.dtype) * window)


class InstanceNorm(nn.Module):
    """Instance normalisation with learned scale and shift that takes maps of one pixel too."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return torch.group_norm(x, len(self.weight), self.weight, self.bias)


@pooling("lip")
class LIP(PoolingLayer):
    """Local importance-based pooling: a small network says how much each position counts.

    y = sum(x exp(G(x))) / sum(exp(G(x))) over 3 x 3 windows centred on [2i, 2j], G = 12 sigmoid(logits(x)).

    Args:
        channels: C.
        logits: "simplified" (3 x 3 convolution, instance norm; zero at first, which is the mean of each window;
            9 C^2 + 2 C parameters) or "bottleneck" (1 x 1 to `width`, 3 x 3, 1 x 1 back, instance norms between).
        width: channels inside the bottleneck; 128 in the paper.

    >>> LIP(2)(torch.ones(1, 2, 5, 4)).shape
    torch.Size([1, 2, 3, 2])
    """

    idea = "A small network predicts how much each position counts."
    source = Source("Gao, Wang, Wu", "LIP: local importance-based pooling", "ICCV", 2019)
    options: ClassVar[Mapping[str, str]] = {
        "logits": "simplified or bottleneck network for the importance",
        "width": "channels inside the bottleneck",
    }

    def __init__(self, channels: int, *, logits: str = "simplified", width: int = 128) -> None:
        super().__init__(channels)
        self.logits = choose("logits", logits, ("simplified", "bottleneck"))
        if not isinstance(width, int) or width < 1:
            raise PoolingError(f"LIP: width must be a positive integer, not {width!r}.")
        self.width = width
        if logits == "simplified":
            convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
            nn.init.zeros_(convolution.weight)
            self.importance = nn.Sequential(convolution, InstanceNorm(channels))
        else:
            self.importance = nn.Sequential(
                nn.Conv2d(channels, width, 1, bias=False),
                InstanceNorm(width),
                nn.ReLU(),
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                InstanceNorm(width),
                nn.ReLU(),
                nn.Conv2d(width, channels, 1, bias=False),
                InstanceNorm(channels),
            )

    def pool(self, x: Tensor) -> Tensor:
        return importance_pool(x, 12 * torch.sigmoid(self.importance(x)))


def importance_pool(x: Tensor, logits: Tensor) -> Tensor:
    """sum(x exp(l)) / sum(exp(l)) over 3 x 3 windows of stride 2, cut at the border."""
    logits = logits - logits.amax((2, 3), keepdim=True).detach()  # of a map's maximum: e^12 is beyond float16
    wide = logits.float() if x.dtype in (torch.float16, torch.bfloat16) else logits
    weights = wide.exp()
    return (F.avg_pool2d(weights * x, 3, 2, 1) / F.avg_pool2d(weights, 3, 2, 1)).to(x.dtype)
