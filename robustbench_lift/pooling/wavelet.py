"""Wavelet pooling: the low-low band of a discrete wavelet transform."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import PoolingLayer, Source
from .errors import PoolingError, unknown
from .registry import pooling
from .tensors import even, mean, pad


@pooling("wavelet")
class WaveletPool(PoolingLayer):
    """The LL band of one level of a two-dimensional wavelet transform with periodic borders.

    The paper transforms two levels, drops the first level's details and inverts the second; by perfect reconstruction
    that is the first level's LL. With orthonormal Haar, y = 2 * mean of every 2 x 2 window, exactly: before a batch
    norm, Haar wavelet pooling and average pooling are the same network up to a factor.

    Args:
        channels: C.
        wavelet: "haar", or any discrete wavelet of PyWavelets such as "db2" or "bior3.3" (needs PyWavelets).

    >>> WaveletPool(1)(torch.tensor([[[[1.0, 2.0, 5.0], [3.0, 4.0, 5.0]]]])).tolist()
    [[[[5.0, 10.0]]]]
    """

    idea = "Keep the low-low band of a wavelet transform; Haar is twice the mean."
    source = Source("Williams, Li", "Wavelet pooling for convolutional neural networks", "ICLR", 2018)
    options: ClassVar[Mapping[str, str]] = {"wavelet": "haar, or any discrete wavelet of PyWavelets"}

    def __init__(self, channels: int, *, wavelet: str = "haar") -> None:
        super().__init__(channels)
        self.wavelet = wavelet
        self.taps = tuple(reversed(low_pass(wavelet)))  # a transform convolves, torch correlates
        self.kernel: Tensor
        self.register_buffer("kernel", self.filter(torch.get_default_dtype()), persistent=False)

    def filter(self, dtype: torch.dtype, device: torch.device | None = None) -> Tensor:
        """The low-pass filter of both directions [C, 1, L, L]."""
        taps = torch.tensor(self.taps, dtype=torch.float64, device=device)
        return torch.outer(taps, taps).to(dtype).expand(self.channels, 1, -1, -1).contiguous()

    def pool(self, x: Tensor) -> Tensor:
        if self.wavelet == "haar":
            return 2 * mean(x)
        length = self.kernel.shape[-1]
        before, after = length // 2 - 1, length // 2 - 1
        x = pad(even(x), before, after, before, after, mode="circular")
        # `module.double()` would only widen the rounded taps of the buffer
        kernel = self.filter(x.dtype, x.device) if x.dtype == torch.float64 else self.kernel.to(x.dtype)
        return F.conv2d(x, kernel, stride=2, groups=self.channels)


def low_pass(wavelet: str) -> list[float]:
    """The analysis low-pass filter of a wavelet, in PyWavelets' order."""
    if wavelet == "haar":
        return [0.5**0.5, 0.5**0.5]
    try:
        import pywt
    except ImportError:
        raise PoolingError(
            f"wavelet={wavelet!r} is computed with PyWavelets, which is not installed: `pip install PyWavelets`, "
            "or use wavelet='haar'."
        ) from None
    known = pywt.wavelist(kind="discrete")
    if wavelet not in known:
        raise unknown("wavelet", wavelet, known)
    filters: list[float] = pywt.Wavelet(wavelet).dec_lo
    return filters
