"""Pooling in the frequency domain: keep the low frequencies, drop the rest.

Cropping a spectrum is linear and separable, so it is done by one small matrix a side instead of Fourier transforms:
exact, faster at the sizes of feature maps, and fit for compilers and exporters. With N samples in and n out,

    A[i, t] = 1/N * sum over kept k of g(k) exp(2 pi j k (i/n - t/N)),     y = Re(A_rows x A_columns^T)

which is DFT ("forward" norm: a constant stays itself), crop around frequency 0, gain g, inverse DFT.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from .base import PoolingLayer, Source
from .errors import PoolingError, choose
from .registry import pooling
from .tensors import memory_format


def crop_matrix(
    size: int, *, keep_nyquist: bool, hamming: bool = False, highest: int | None = None, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of A [ceil(size/2), size] in float64; the imaginary one is 0 without a Nyquist bin.

    An even number of outputs has one frequency, -n/2, without a partner: dropped, or kept and made real by `y = Re`.
    """
    out = (size + 1) // 2
    lowest = -(out // 2) if keep_nyquist else -((out - 1) // 2)
    k = torch.arange(lowest, (out - 1) // 2 + 1, dtype=torch.float64, device=device)
    if highest is not None:
        k = k[k.abs() <= highest]
    gain = (0.54 + 0.46 * torch.cos(2 * torch.pi * k / size)).sqrt() if hamming else torch.ones_like(k)
    after = 2 * torch.pi / out * torch.arange(out, dtype=torch.float64, device=device)[:, None] * k
    before = 2 * torch.pi / size * torch.arange(size, dtype=torch.float64, device=device)[:, None] * k
    cosine, sine = gain * after.cos() / size, gain * after.sin() / size
    real = cosine @ before.cos().T + sine @ before.sin().T
    return real, sine @ before.cos().T - cosine @ before.sin().T


def sandwich(rows: Tensor, x: Tensor, columns: Tensor) -> Tensor:
    """rows x columns^T for every channel, in the memory format of x."""
    rows, columns = rows.to(x.dtype), columns.to(x.dtype)
    if memory_format(x) is torch.contiguous_format:
        return rows @ x @ columns.T
    images, channels, height, width = x.shape
    pixels = rows @ x.permute(0, 2, 3, 1).reshape(images, height, width * channels)
    pixels = columns @ pixels.view(images * len(rows), width, channels)
    return pixels.view(images, len(rows), len(columns), channels).permute(0, 3, 1, 2)


class SpectralLayer(PoolingLayer):
    """Poolings that crop the spectrum of a map to half."""

    hamming: ClassVar[bool] = False
    keep_nyquist: bool = True

    def pool(self, x: Tensor) -> Tensor:
        return self.crop(x)

    def crop(self, x: Tensor, *, highest: tuple[int | None, int | None] = (None, None)) -> Tensor:
        """y = Re(A_rows x A_columns^T); `highest` drops frequencies above it, along rows and columns."""
        (rows, rows_imaginary), (columns, columns_imaginary) = (
            crop_matrix(side, keep_nyquist=self.keep_nyquist, hamming=self.hamming, highest=top, device=x.device)
            for side, top in zip(x.shape[-2:], highest, strict=True)
        )
        y = sandwich(rows, x, columns)
        return y - sandwich(rows_imaginary, x, columns_imaginary) if self.keep_nyquist else y


@pooling("spectral")
class SpectralPool(SpectralLayer):
    """Crop the spectrum of a map to its lower half.

    A constant stays itself, the mean is kept, and a map rolled by 2 gives the output rolled by 1 (even sizes).

    Args:
        channels: C.
        nyquist: "zero" drops the frequency without a partner that an even output has, "keep" keeps its real part.
        dropout: 0 to below 1: while training, frequencies above a random radius are dropped too, drawn for each
            batch uniformly from (1 - dropout) of the kept ones to all.

    >>> SpectralPool(1)(torch.ones(1, 1, 6, 7)).round(decimals=5).unique().tolist()
    [1.0]
    """

    idea = "Keep the low half of the frequencies."
    source = Source("Rippel, Snoek, Adams", "Spectral representations for convolutional neural networks", "NIPS", 2015)
    options: ClassVar[Mapping[str, str]] = {
        "nyquist": "zero or keep the frequency of an even output that has no partner",
        "dropout": "share of the kept frequencies that training may drop from above, 0 to below 1",
    }
    stochastic = True

    def __init__(self, channels: int, *, nyquist: str = "zero", dropout: float = 0.0) -> None:
        super().__init__(channels)
        self.nyquist = choose("nyquist", nyquist, ("zero", "keep"))
        self.keep_nyquist = nyquist == "keep"
        if not 0 <= dropout < 1:
            raise PoolingError(f"SpectralPool: dropout must be from 0 to below 1, not {dropout!r}.")
        self.dropout = float(dropout)

    def pool(self, x: Tensor) -> Tensor:
        if not (self.training and self.dropout):
            return self.crop(x)
        device = torch.device("cpu") if self.generator is None else self.generator.device
        share = 1 - self.dropout * float(torch.rand((), generator=self.generator, device=device))
        height, width = (round(share * ((side + 1) // 2 // 2)) for side in x.shape[-2:])
        return self.crop(x, highest=(height, width))


@pooling("flc")
class FLCPool(SpectralLayer):
    """FrequencyLowCut pooling: the lower half of the spectrum with the Nyquist bin kept, real part.

    The public code crops [N/4, 3N/4) without regard to where frequency 0 falls when N/2 is odd (14 -> 7 in a ResNet at
    224 px), and returns a constant image of ones with errors up to 1.9. Here frequency 0 is found for every N.

    >>> FLCPool(1)(torch.ones(1, 1, 14, 14)).round(decimals=5).unique().tolist()
    [1.0]
    """

    idea = "Crop the spectrum around frequency 0: no aliasing, for every size."
    source = Source(
        "Grabinski et al.", "FrequencyLowCut pooling: plug & play against catastrophic overfitting", "ECCV", 2022
    )


@pooling("asap")
class ASAPool(SpectralLayer):
    """FLC pooling with a Hamming window over the spectrum against ringing.

    Frequencies are scaled by sqrt(h(k_rows) h(k_columns)), h(k) = 0.54 + 0.46 cos(2 pi k / N). The window is centred on
    frequency 0, where it is 1, so that a constant stays itself; the public code's symmetric window is half a bin off
    when N is even, and has the bug of FLC's crop.

    >>> ASAPool(1)(torch.ones(1, 1, 14, 14)).round(decimals=5).unique().tolist()
    [1.0]
    """

    idea = "Crop the spectrum under a Hamming window: no aliasing, less ringing."
    source = Source(
        "Grabinski, Keuper, Keuper",
        "Fix your downsampling ASAP! Be natively more robust via aliasing and spectral artifact free pooling",
        "arXiv 2307.09804",
        2023,
    )
    hamming = True
