"""Up-pooling by remembered maxima."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from .base import PoolingLayer, Source
from .blur import BlurPool
from .classic import MaxMemory
from .errors import PoolingError
from .registry import up_pooling


@up_pooling("max-up")
class MaxUpPool(PoolingLayer):
    """Put every value where its maximum was, zeros elsewhere: the decoder of SegNet.

    >>> from robustbench_lift.pooling import MaxPool
    >>> import torch
    >>> y, memory = MaxPool(1).record(torch.tensor([[[[0.0, 1.0], [2.0, 5.0]]]]))
    >>> MaxUpPool(1)(y, memory).tolist()
    [[[[0.0, 0.0], [0.0, 5.0]]]]
    """

    idea = "Put values back where the maxima were; zeros elsewhere."
    source = Source(
        "Badrinarayanan, Kendall, Cipolla", "SegNet: a deep convolutional encoder-decoder architecture", "TPAMI", 2017
    )

    def forward(self, x: Tensor, memory: MaxMemory) -> Tensor:  # type: ignore[override]
        """x [N, C, h, w] and what MaxPool.record remembered -> [N, C, H, W]."""
        self.check(x)
        if x.shape != memory.indices.shape:
            raise PoolingError(
                f"{type(self).__name__}: the map is {tuple(x.shape)}, the remembered maxima are "
                f"{tuple(memory.indices.shape)}; they must come from the same level."
            )
        images, channels = x.shape[:2]
        height, width = memory.size
        flat = x.new_zeros(images, channels, height * width).scatter(2, memory.indices.flatten(2), x.flatten(2))
        return flat.view(images, channels, height, width)


@up_pooling("max-up-blur")
class MaxUpPoolBlur(MaxUpPool):
    """MaxUpPool followed by a BlurPool of stride 1, which fills the zeros from their neighbours.

    Args:
        channels: C.
        filter: of BlurPool.
        padding: of BlurPool.
    """

    idea = "MaxUpPool, then a blur that fills the zeros."
    source = BlurPool.source
    options: ClassVar[Mapping[str, str]] = {key: BlurPool.options[key] for key in ("filter", "padding")}

    def __init__(self, channels: int, *, filter: str = "bin-5", padding: str = "reflect") -> None:
        super().__init__(channels)
        self.blur = BlurPool(channels, filter=filter, padding=padding, stride=1)

    def forward(self, x: Tensor, memory: MaxMemory) -> Tensor:  # type: ignore[override]
        y: Tensor = self.blur(super().forward(x, memory))
        return y
