"""Max, average and skip: the three poolings without an idea to learn, against which all others are measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch.nn.functional as F
from torch import Tensor

from .base import PoolingLayer, Source
from .errors import PoolingError
from .registry import pooling
from .tensors import mean, memory_format


class MaxMemory(NamedTuple):
    """What MaxPool remembers for MaxUpPool."""

    indices: Tensor
    """[N, C, h, w] int64: where in the flattened H x W map each maximum was."""
    size: tuple[int, int]
    """(H, W) of the map that was pooled."""


@pooling("max")
class MaxPool(PoolingLayer):
    """The largest value of every window, stride 2.

    y[i, j] = max over the window of x. Kernel 2: the 2 x 2 windows tile the map, a window at an odd border is cut.
    Kernel 3: windows of 3 x 3 centred on [2i, 2j], as in the stem of a ResNet.

    Args:
        channels: C.
        kernel: 2 or 3.

    >>> import torch
    >>> MaxPool(1)(torch.tensor([[[[1.0, 2.0, 5.0], [3.0, 4.0, 6.0]]]])).tolist()
    [[[[4.0, 6.0]]]]
    """

    idea = "The largest value of every window."
    source = Source(
        "Boureau, Ponce, LeCun", "A theoretical analysis of feature pooling in visual recognition", "ICML", 2010
    )
    options: ClassVar[Mapping[str, str]] = {"kernel": "window side, 2 or 3 (3 pads by 1)"}

    def __init__(self, channels: int, *, kernel: int = 2) -> None:
        super().__init__(channels)
        if kernel not in (2, 3):
            raise PoolingError(f"MaxPool: kernel must be 2 or 3, not {kernel!r}.")
        self.kernel = kernel

    def pool(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, self.kernel, 2, padding=self.kernel // 3, ceil_mode=self.kernel == 2)

    def record(self, x: Tensor) -> tuple[Tensor, MaxMemory]:
        """Pool and remember where the maxima were; MaxUpPool takes both."""
        self.check(x)
        y, indices = F.max_pool2d(
            x, self.kernel, 2, padding=self.kernel // 3, ceil_mode=self.kernel == 2, return_indices=True
        )
        return y, MaxMemory(indices, (x.shape[2], x.shape[3]))


@pooling("average")
class AveragePool(PoolingLayer):
    """The mean of every 2 x 2 window; at an odd border the mean of the samples that are there.

    >>> import torch
    >>> AveragePool(1)(torch.tensor([[[[1.0, 2.0, 5.0], [3.0, 4.0, 6.0]]]])).tolist()
    [[[[2.5, 5.5]]]]
    """

    idea = "The mean of every window."
    source = Source("LeCun et al.", "Handwritten digit recognition with a back-propagation network", "NIPS", 1989)

    def pool(self, x: Tensor) -> Tensor:
        return mean(x)


@pooling("skip")
class Skip(PoolingLayer):
    """Every second sample of every second row: what a convolution of stride 2 does to one of stride 1.

    y[i, j] = x[2i, 2j].

    >>> import torch
    >>> Skip(1)(torch.tensor([[[[1.0, 2.0, 5.0], [3.0, 4.0, 6.0]]]])).tolist()
    [[[[1.0, 5.0]]]]
    """

    idea = "Every second sample, as a strided convolution does."
    source = Source("Springenberg et al.", "Striving for simplicity: the all convolutional net", "ICLR workshop", 2015)

    def pool(self, x: Tensor) -> Tensor:
        return x[..., ::2, ::2].contiguous(memory_format=memory_format(x))
