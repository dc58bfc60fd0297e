"""Detail-preserving pooling: samples weigh more the further they are from a smooth guide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import PoolingLayer, Source
from .errors import choose
from .registry import pooling
from .tensors import even, total, windows

EPSILON = 1e-3  # of the published Torch code; keeps the distance to the guide positive
ALPHA_CAP = 10.0  # exp(alpha) above e^10 is the mean to float32 anyway; the published code caps it there


@pooling("dpp")
class DetailPreservingPool(PoolingLayer):
    """A weighted mean of every 2 x 2 window that favours what differs from the window's guide.

    y = sum(w x) / sum(w),  w = (r / mean(r))^(exp(lam) / 2) + exp(alpha),  r = rho(x - guide)^2 + 0.001

    with rho(v) = v ("symmetric") or max(v, 0) ("asymmetric": only what is brighter counts). Learned per channel:
    lam from the mean (-inf) to the extremes, alpha towards the mean. The fused public CUDA kernel divides r by the
    window's sum, a factor 4 that alpha absorbs; this follows the formula of the paper's own network, the mean.
    Train lam and alpha without weight decay.

    Args:
        channels: C; 2 C parameters with the lite guide, 12 C with the full one.
        variant: "symmetric" or "asymmetric".
        guide: "lite" (mean of the window) or "full" (learned 3 x 3 filter of stride 2 with bias, per channel).

    >>> DetailPreservingPool(3)(torch.ones(1, 3, 5, 4)).unique().tolist()
    [1.0]
    """

    idea = "Weigh samples by their distance to a smooth guide, with a learned exponent."
    source = Source("Saeedan et al.", "Detail-preserving pooling in deep networks", "CVPR", 2018)
    options: ClassVar[Mapping[str, str]] = {
        "variant": "symmetric or asymmetric (only brighter than the guide counts)",
        "guide": "lite (window mean) or full (learned 3 x 3 filter)",
    }

    def __init__(self, channels: int, *, variant: str = "symmetric", guide: str = "lite") -> None:
        super().__init__(channels)
        self.variant = choose("variant", variant, ("symmetric", "asymmetric"))
        self.guide = choose("guide", guide, ("lite", "full"))
        bound = channels**-0.5
        self.lam = nn.Parameter(torch.empty(channels).uniform_(-bound, bound))
        self.alpha = nn.Parameter(torch.empty(channels).uniform_(-bound, bound))
        self.smooth = nn.Conv2d(channels, channels, 3, 2, 1, groups=channels) if guide == "full" else None

    def no_weight_decay(self) -> tuple[str, ...]:
        """Names of the parameters that an optimizer should not decay: decay would pull the exponents to 1."""
        return ("lam", "alpha")

    def pool(self, x: Tensor) -> Tensor:
        x = even(x)
        guide = F.avg_pool2d(x, 2) if self.smooth is None else self.smooth(x)
        window = windows(x)
        distance = window - guide
        if self.variant == "asymmetric":
            distance = distance.relu()
        reward = distance.square() + EPSILON
        exponent = 0.5 * self.lam.to(x.dtype).exp().view(-1, 1, 1)
        power = exponent * (4 * reward / total(reward)).log()
        # w / max(w), because a power of up to 4^(exp(lam) / 2) leaves the range of floats
        floor = self.alpha.to(x.dtype).clamp(max=ALPHA_CAP).view(-1, 1, 1)
        a, b, c, d = power.detach().unbind(0)
        top = torch.maximum(torch.maximum(torch.maximum(a, b), torch.maximum(c, d)), floor.detach())
        weights = (power - top).exp() + (floor - top).exp()
        return total(weights * window) / total(weights)
