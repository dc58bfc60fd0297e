"""TIPS: a learned convex mixture of the four phases, channel by channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import PoolingLayer, Source
from .errors import choose
from .registry import pooling
from .tensors import pad, phases

MAX_SHIFT = 2  # pixels; of the published code


@pooling("tips")
class TIPSPool(PoolingLayer):
    """Translation invariant polyphase sampling: mix the four phases of a channel by weights that its map asks for.

    weights [N, C, 4] = softmax over the phases of gain * mean of ReLU(filter * x) over each quadrant of the map; the
    quadrant of row i and column j decides on the phase of row j and column i, as in the authors' code. An odd side is
    reflected at the top or left. Equal weights are average pooling. Not exactly shift-equivariant.

    While training, losses()["undo_shift"] is the mean squared difference between the features ReLU(filter * x) and the
    input moved by up to two pixels (zeros come in); the paper adds it late in training with weight 0.35, and 0.65 on
    the task. The moved input carries no gradient.

    Args:
        channels: C; the layer has 10 C parameters.
        constraint: "undo-shift" or None.

    >>> TIPSPool(2).eval()(torch.ones(1, 2, 5, 4)).round(decimals=5).unique().tolist()
    [1.0]
    """

    idea = "Mix the four phases of every channel by weights that its map asks for."
    source = Source(
        "Saha, Gokhale",
        "Improving shift invariance in convolutional neural networks with translation invariant polyphase sampling",
        "WACV",
        2025,
    )
    options: ClassVar[Mapping[str, str]] = {"constraint": "undo-shift (auxiliary loss while training) or none"}
    stochastic = True
    loss_names = ("undo_shift",)

    def __init__(self, channels: int, *, constraint: str | None = "undo-shift") -> None:
        super().__init__(channels)
        self.constraint = None if constraint is None else choose("constraint", constraint, ("undo-shift",))
        self.filter = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.gain = nn.Parameter(torch.empty(channels).uniform_(-1, 1))

    def weights(self, features: Tensor) -> Tensor:
        """Features [N, C, H, W] -> share of each phase [N, C, 4], in the order of `phases`."""
        # As in the authors' code: the quadrant of row i and column j decides on the phase of row j and column i.
        quadrants = F.adaptive_avg_pool2d(features, 2).transpose(2, 3).flatten(2)
        return torch.softmax(self.gain.to(features.dtype)[:, None] * quadrants, dim=2)

    def pool(self, x: Tensor) -> Tensor:
        x = pad(x, x.shape[-1] % 2, 0, x.shape[-2] % 2, 0, mode="reflect")
        features = F.relu(self.filter(x))
        if self.training and self.constraint is not None:
            self._losses = {"undo_shift": F.mse_loss(features, self.shifted(x))}
        elif self._losses:  # otherwise left alone: torch.export refuses a layer that sets an attribute
            self._losses = {}
        shares = self.weights(features).unbind(2)
        first, *others = (share[:, :, None, None] * part for share, part in zip(shares, phases(x), strict=True))
        return first + others[0] + others[1] + others[2]

    def shifted(self, x: Tensor) -> Tensor:
        """x without its graph, moved by up to two pixels each way; one draw a batch."""
        device = x.device if self.generator is None else self.generator.device
        draw = torch.randint(-MAX_SHIFT, MAX_SHIFT + 1, (2,), generator=self.generator, device=device)
        down, right = draw.to(x.device).unbind(0)
        rows = torch.arange(x.shape[2], device=x.device) + MAX_SHIFT - down
        columns = torch.arange(x.shape[3], device=x.device) + MAX_SHIFT - right
        return F.pad(x.detach(), (MAX_SHIFT,) * 4).index_select(2, rows).index_select(3, columns)
