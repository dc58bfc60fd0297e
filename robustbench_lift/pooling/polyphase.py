"""Poolings that keep one of the four 2 x 2 phases of each image, so that a circular shift changes nothing.

A residual block's shortcut must keep the phase that its main branch keeps: `select` once, `take` on both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import PoolingLayer, Source
from .blur import FILTERS
from .errors import PoolingError, choose
from .registry import pooling
from .tensors import pad, windows


class PolyphasePooling(PoolingLayer):
    """Base of the poolings that choose a phase: forward(x) = take(x, select(x)).

    Phases are numbered 2 * row + column. An odd side is made even by wrapping around.
    """

    polyphase = True
    circular = True

    def pool(self, x: Tensor) -> Tensor:
        return self.take(x, self.select(x))

    def select(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> which phase each image keeps [N] int64, or how much of each [N, 4]."""
        raise NotImplementedError

    def take(self, x: Tensor, phase: Tensor) -> Tensor:
        """Phase `phase` of x [N, any channels, H, W], or the mixture that [N, 4] weights ask for."""
        parts = windows(wrap(x))
        if phase.is_floating_point():
            return (phase.T.to(x.dtype)[:, :, None, None, None] * parts).sum(0)
        return parts[phase, torch.arange(len(x), device=x.device)]

    def put(self, y: Tensor, phase: Tensor, size: tuple[int, int]) -> Tensor:
        """The up-pooling to `take`: y [N, C, h, w] back on its phase of a map of zeros [N, C, H, W]."""
        weights = phase if phase.is_floating_point() else F.one_hot(phase, 4)
        spread = weights.to(y.dtype)[:, None, :, None, None] * y[:, :, None]  # [N, C, 4, h, w]
        images, channels, height, width = y.shape
        grid = spread.view(images, channels, 2, 2, height, width).permute(0, 1, 4, 2, 5, 3)
        return grid.reshape(images, channels, 2 * height, 2 * width)[..., : size[0], : size[1]]


@pooling("aps")
class APSPool(PolyphasePooling):
    """Adaptive polyphase sampling: of the four phases of an image keep the one of largest norm.

    With circular padding in every convolution and a global mean at the end, logits do not change under any circular
    shift of an image of even sides, trained or not.

    Args:
        channels: C.
        norm: "l2" (as published), "l1" or "linf", over all channels and positions.
        filter: None, or a filter of BlurPool that blurs (circularly) before subsampling. The phase is chosen on the
            map before the blur; the authors' public code chooses on the blurred map, which keeps another phase of about
            half of all random maps, so weights of theirs with a filter do not give their numbers here.

    >>> x = torch.rand(2, 3, 4, 4)
    >>> a, b = APSPool(3)(x), APSPool(3)(x.roll((1, 2), (2, 3)))
    >>> torch.equal(a.flatten(2).sort().values, b.flatten(2).sort().values)
    True
    """

    idea = "Keep the phase of largest norm: equivariant to circular shifts."
    source = Source("Chaman, Dokmanic", "Truly shift-invariant convolutional neural networks", "CVPR", 2021)
    options: ClassVar[Mapping[str, str]] = {
        "norm": "l2, l1 or linf decides between the phases",
        "filter": "none, or a BlurPool filter applied before subsampling",
    }

    def __init__(self, channels: int, *, norm: str = "l2", filter: str | None = None) -> None:
        super().__init__(channels)
        self.norm = choose("norm", norm, ("l2", "l1", "linf"))
        self.filter = None if filter is None else choose("filter", filter, FILTERS)

    def select(self, x: Tensor) -> Tensor:
        order = {"l1": 1.0, "l2": 2.0, "linf": torch.inf}[self.norm]
        parts = windows(wrap(x.detach()))
        norms: Tensor = torch.linalg.vector_norm(parts, order, dim=(2, 3, 4), dtype=_wide(x.dtype))
        return norms.argmax(0)

    def take(self, x: Tensor, phase: Tensor) -> Tensor:
        if self.filter is not None:
            taps = torch.tensor(FILTERS[self.filter], dtype=x.dtype, device=x.device)
            kernel = (torch.outer(taps, taps) / taps.sum() ** 2).expand(x.shape[1], 1, -1, -1)
            before, after = (len(taps) - 1) // 2, len(taps) // 2
            x = F.conv2d(pad(wrap(x), before, after, before, after, mode="circular"), kernel, groups=x.shape[1])
        return super().take(x, phase)


@pooling("lps")
class LPSPool(PolyphasePooling):
    """Learnable polyphase sampling: a small network scores the four phases, the best is kept.

    Scores: 3 x 3 convolution to `hidden`, ReLU, 3 x 3 convolution, mean over channels and positions, the same network
    for each phase, circular padding. Training mixes the phases by Gumbel-softmax weights at `temperature`, an
    attribute that a recipe may lower; eval keeps the phase of the highest score.

    Args:
        channels: C; the layer has 9 C h + 9 h^2 + 2 h parameters with h = hidden.
        hidden: h; None is max(8, C // 8), which makes 8, 16, 32, 64 in a ResNet-18.
        temperature: of the Gumbel-softmax.
    """

    idea = "A small network chooses the phase to keep: equivariant to circular shifts."
    source = Source(
        "Rojas-Gomez et al.",
        "Learnable polyphase sampling for shift invariant and equivariant convolutional networks",
        "NeurIPS",
        2022,
    )
    options: ClassVar[Mapping[str, str]] = {
        "hidden": "channels inside the scoring network, none for max(8, C // 8)",
        "temperature": "of the Gumbel-softmax while training",
    }
    stochastic = True

    def __init__(self, channels: int, *, hidden: int | None = None, temperature: float = 1.0) -> None:
        super().__init__(channels)
        if hidden is not None and (not isinstance(hidden, int) or hidden < 1):
            raise PoolingError(f"LPSPool: hidden must be a positive integer or None, not {hidden!r}.")
        if not temperature > 0:
            raise PoolingError(f"LPSPool: temperature must be above 0, not {temperature!r}.")
        self.hidden = hidden or max(8, channels // 8)
        self.temperature = float(temperature)
        self.first = nn.Conv2d(channels, self.hidden, 3)
        self.second = nn.Conv2d(self.hidden, self.hidden, 3)

    def score(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> scores of the four phases [N, 4]."""
        parts = windows(wrap(x)).flatten(0, 1)
        hidden = F.relu(self.first(pad(parts, 1, 1, 1, 1, mode="circular")))
        scores: Tensor = self.second(pad(hidden, 1, 1, 1, 1, mode="circular"))
        return scores.mean((1, 2, 3)).view(4, -1).T

    def select(self, x: Tensor) -> Tensor:
        scores = self.score(x)
        if not self.training:
            return scores.argmax(1)
        device = x.device if self.generator is None else self.generator.device
        uniform = torch.rand(scores.shape, generator=self.generator, device=device, dtype=torch.float64)
        tiny = torch.finfo(torch.float64).tiny
        gumbel = -torch.log(-torch.log(uniform.clamp(min=tiny))).to(x.device, scores.dtype)
        return torch.softmax((scores + gumbel) / self.temperature, dim=1)


def wrap(x: Tensor) -> Tensor:
    """Make odd sides even by repeating the first row and column at the end."""
    return pad(x, 0, x.shape[-1] % 2, 0, x.shape[-2] % 2, mode="circular")


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype
