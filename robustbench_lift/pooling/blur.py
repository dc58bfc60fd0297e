"""BlurPool: low-pass with a fixed binomial filter before subsampling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import PoolingLayer, Source
from .errors import PoolingError, choose
from .registry import pooling
from .tensors import PADDINGS, pad

FILTERS: dict[str, tuple[int, ...]] = {
    "rect-2": (1, 1),
    "tri-3": (1, 2, 1),
    "tri-4": (1, 3, 3, 1),
    "bin-5": (1, 4, 6, 4, 1),
    "bin-6": (1, 5, 10, 10, 5, 1),
    "bin-7": (1, 6, 15, 20, 15, 6, 1),
}
"""Rows of Pascal's triangle under the names of Zhang (2019), section 4; divided by their sum before use."""


@pooling("blur")
class BlurPool(PoolingLayer):
    """Convolve every channel with a fixed separable filter of sum 1, keep every second sample.

    y[i, j] = sum over a, b of f[a] f[b] x[2i + a - p, 2j + b - p] with p = floor((len(f) - 1) / 2).

    Only the subsampling half of MaxBlurPool and ConvBlurPool: put the dense maximum or the convolution of stride 1
    before it. With "rect-2" and even sides it is AveragePool exactly.

    Args:
        channels: C.
        filter: one of FILTERS; "bin-5" is the strongest of the paper.
        padding: "reflect" (as published), "zeros", "replicate" or "circular"; ceil((len(f) - 1) / 2) on the far side.
        stride: 2, or 1 to blur only.

    >>> BlurPool(3, filter="tri-3")(torch.ones(2, 3, 7, 5)).shape
    torch.Size([2, 3, 4, 3])
    """

    idea = "Blur with a fixed binomial filter, then keep every second sample."
    source = Source("Zhang", "Making convolutional networks shift-invariant again", "ICML", 2019)
    options: ClassVar[Mapping[str, str]] = {
        "filter": "rect-2, tri-3, tri-4, bin-5, bin-6 or bin-7",
        "padding": "reflect, zeros, replicate or circular",
        "stride": "2, or 1 to blur without subsampling",
    }

    def __init__(self, channels: int, *, filter: str = "bin-5", padding: str = "reflect", stride: int = 2) -> None:
        super().__init__(channels)
        self.filter = choose("filter", filter, FILTERS)
        self.padding = choose("padding", padding, PADDINGS)
        if stride not in (1, 2):
            raise PoolingError(f"BlurPool: stride must be 1 or 2, not {stride!r}.")
        self.stride = stride
        taps = torch.tensor(FILTERS[filter], dtype=torch.float64)
        kernel = torch.outer(taps, taps) / taps.sum() ** 2  # dyadic fractions: exact in every floating point type
        self.kernel: Tensor
        kernel = kernel.to(torch.get_default_dtype()).expand(channels, 1, -1, -1).contiguous()
        self.register_buffer("kernel", kernel, persistent=False)

    def pool(self, x: Tensor) -> Tensor:
        before, after = (self.kernel.shape[-1] - 1) // 2, self.kernel.shape[-1] // 2
        x = pad(x, before, after, before, after, mode=self.padding)
        return F.conv2d(x, self.kernel.to(x.dtype), stride=self.stride, groups=self.channels)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # Public checkpoints of Zhang's networks store the fixed filter as `filt`; it is compared, never loaded.
        stored = state_dict.pop(prefix + "filt", None)
        errors: list[str] = rest[-1]
        if stored is not None:
            if stored.shape != self.kernel.shape:
                side = stored.shape[-1]
                names = [name for name, taps in FILTERS.items() if len(taps) == side]
                errors.append(
                    f"{prefix}filt has shape {tuple(stored.shape)}, BlurPool({self.extra_repr()}) has "
                    f"{tuple(self.kernel.shape)}: use filter={' or '.join(names) or 'of that size'} "
                    f"and {stored.shape[0]} channels."
                )
            elif not torch.allclose(stored.to(self.kernel), self.kernel, rtol=0, atol=1e-6):
                errors.append(f"{prefix}filt is not the {self.filter} filter that this BlurPool blurs with.")
        super()._load_from_state_dict(state_dict, prefix, *rest)
