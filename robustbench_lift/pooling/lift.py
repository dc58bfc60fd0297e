"""LiftPool: down-pooling by a learned lifting scheme, and its exact inverse.

A line x is split into even and odd samples; the odd ones are predicted from the even ones, what the prediction
misses is the detail d, and the even ones are updated with it to the smooth part s:

    d = x_o - P(x_e)        s = x_e + U(d)        P, U = Tanh . gain . ReLU . taps

A map is transformed along its rows first, then s and d along their columns, which gives four bands; the first letter
is the horizontal band: LL and LH from s, HL and HH from d.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import PoolingLayer, Source
from .errors import PoolingError, choose, unknown
from .tensors import even, pad

BANDS = ("LL", "LH", "HL", "HH")
PADDINGS = ("zeros", "reflect", "replicate")


class Bands(NamedTuple):
    """The four bands of a map, each [N, C, h, w], and the size it had."""

    LL: Tensor
    LH: Tensor
    HL: Tensor
    HH: Tensor
    size: tuple[int, int]
    """(H, W) of the map; an odd side was made even by repeating its last row or column."""


class LiftOperator(nn.Module):
    """P or U on a line: Tanh(gain * ReLU(taps * x)), a filter and a gain of its own for every channel, no bias.

    The same taps filter rows and columns. Values lie in [-1, 1].
    """

    def __init__(self, channels: int, kernel_size: int, *, padding: str, init: str) -> None:
        super().__init__()
        self.padding = padding
        self.taps = nn.Parameter(torch.empty(channels, kernel_size))
        self.gain = nn.Parameter(torch.empty(channels))
        self.init = init
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw as torch draws convolutions (uniform within 1 / sqrt(fan in)); "zero" makes the operator 0 at first."""
        bound = self.taps.shape[1] ** -0.5
        nn.init.uniform_(self.taps, -bound, bound)
        if self.init == "zero":
            nn.init.zeros_(self.gain)
        else:
            nn.init.uniform_(self.gain, -1.0, 1.0)

    def forward(self, x: Tensor, *, dim: int) -> Tensor:
        """x [N, C, H, W] -> the same shape; `dim` -1 works along rows, -2 along columns."""
        reach = self.taps.shape[1] // 2
        horizontal = dim == -1
        across, along = (reach, 0) if horizontal else (0, reach)
        x = pad(x, across, across, along, along, mode=self.padding)
        taps = self.taps[:, None, None, :] if horizontal else self.taps[:, None, :, None]
        x = F.conv2d(x, taps, groups=x.shape[1])
        return torch.tanh(self.gain[:, None, None] * torch.relu(x))


class Lifting(PoolingLayer):
    """The pair P, U and the transforms made of it; LiftDownPool and LiftUpPool are its two directions."""

    def __init__(self, channels: int, *, kernel_size: int = 5, padding: str = "zeros", init: str = "default") -> None:
        super().__init__(channels)
        if not isinstance(kernel_size, int) or kernel_size < 1 or kernel_size % 2 == 0:
            raise PoolingError(f"{type(self).__name__}: kernel_size must be odd and positive, not {kernel_size!r}.")
        self.kernel_size = kernel_size
        self.padding = choose("padding", padding, PADDINGS)
        self.init = choose("init", init, ("default", "zero"))
        self.predict = LiftOperator(channels, kernel_size, padding=padding, init=init)
        self.update = LiftOperator(channels, kernel_size, padding=padding, init=init)

    def split(self, x: Tensor, *, dim: int) -> tuple[Tensor, Tensor, Tensor]:
        """A line of even length -> (s, d, x_o)."""
        x_e, x_o = (x[..., 0::2], x[..., 1::2]) if dim == -1 else (x[..., 0::2, :], x[..., 1::2, :])
        d = x_o - self.predict(x_e, dim=dim)
        return x_e + self.update(d, dim=dim), d, x_o

    def merge(self, s: Tensor, d: Tensor, *, dim: int) -> Tensor:
        """The inverse of `split`: x_e = s - U(d), x_o = d + P(x_e), interleaved."""
        x_e = s - self.update(d, dim=dim)
        x_o = d + self.predict(x_e, dim=dim)
        return (
            torch.stack([x_e, x_o], dim=dim).flatten(-2) if dim == -1 else torch.stack([x_e, x_o], -2).flatten(-3, -2)
        )


class LiftDownPool(Lifting):
    """Down-pool by lifting; the sum of the four bands, or of some of them.

    Args:
        channels: C; the layer has 2 C (kernel_size + 1) parameters.
        kernel_size: K, odd; 5 in the paper, which finds no gain above.
        bands: "sum", one band, or several joined by "+", such as "LL+HH"; their plain sum is the output.
        constraint: how c_u and c_p measure distance: "mse" (mean of squares, independent of the size), "l2"
            (Frobenius norm) or "none". Each is summed over the three transforms of a map.
        padding: of the K taps at the border: "zeros", "reflect" or "replicate".
        init: "default", or "zero" gains, with which the layer starts as a 2 x 2 sum.

    >>> pool = LiftDownPool(8)
    >>> pool(torch.rand(2, 8, 7, 6)).shape, sum(p.numel() for p in pool.parameters())
    (torch.Size([2, 8, 4, 3]), 96)
    """

    idea = "Predict odd samples from even ones, update; sum the smooth and detail bands. Invertible."
    source = Source("Zhao, Snoek", "LiftPool: bidirectional ConvNet pooling", "ICLR", 2021)
    options: ClassVar[Mapping[str, str]] = {
        "kernel_size": "taps of P and U, odd",
        "bands": "sum, or LL, LH, HL, HH joined by +",
        "constraint": "c_u and c_p as mse, l2 or none",
        "padding": "zeros, reflect or replicate",
        "init": "default or zero (gain)",
    }
    has_losses = True

    def __init__(
        self,
        channels: int,
        *,
        kernel_size: int = 5,
        bands: str = "sum",
        constraint: str = "mse",
        padding: str = "zeros",
        init: str = "default",
    ) -> None:
        super().__init__(channels, kernel_size=kernel_size, padding=padding, init=init)
        self.bands = "+".join(parse_bands(bands)) if bands != "sum" else "sum"
        self.constraint = choose("constraint", constraint, ("mse", "l2", "none"))

    def pool(self, x: Tensor) -> Tensor:
        names = BANDS if self.bands == "sum" else self.bands.split("+")
        four = self.transform(x)[:4]
        first, *others = (four[BANDS.index(name)] for name in names)
        for band in others:
            first = first + band
        return first

    def analysis(self, x: Tensor) -> Bands:
        """All four bands of x [N, C, H, W]; LiftUpPool gives x back from them."""
        self.check(x)
        return self.transform(x)

    def record(self, x: Tensor) -> tuple[Tensor, Bands]:
        """LL as the pooled map, and the bands that LiftUpPool needs beside it."""
        bands = self.analysis(x)
        return bands.LL, bands

    def transform(self, x: Tensor) -> Bands:
        """`analysis` of an input that was checked; notes c_u and c_p while training."""
        images, size = x.shape[0], (x.shape[2], x.shape[3])
        s, d, x_o = self.split(even(x), dim=-1)
        stacked = torch.cat([s, d])
        low, high, odd = self.split(stacked, dim=-2)
        self._losses = {}
        if self.training and self.constraint != "none":
            calls = [(s, d, x_o)] + [(low[i], high[i], odd[i]) for i in (slice(images), slice(images, None))]
            c_u = [_distance(a - b, self.constraint) for a, _, b in calls]
            c_p = [_distance(b, self.constraint) for _, b, _ in calls]
            self._losses = {"c_u": torch.stack(c_u).sum(), "c_p": torch.stack(c_p).sum()}
        return Bands(low[:images], high[:images], low[images:], high[images:], size)


class LiftUpPool(Lifting):
    """The inverse of LiftDownPool: the map back from its four bands.

    In an encoder-decoder the decoder's map takes the place of LL and the recorded details come from the encoder.
    `sharing(down)` uses the P and U of a LiftDownPool, which makes it the exact inverse and adds no parameters.

    >>> down = LiftDownPool(8)
    >>> up = LiftUpPool.sharing(down)
    >>> x = torch.rand(2, 8, 7, 6)
    >>> low, bands = down.record(x)
    >>> torch.allclose(up(low, bands), x, atol=1e-5)
    True
    """

    idea = "Invert LiftDownPool: the decoder's map as LL, the encoder's details beside it."
    source = LiftDownPool.source
    options: ClassVar[Mapping[str, str]] = {
        key: LiftDownPool.options[key] for key in ("kernel_size", "padding", "init")
    }

    @classmethod
    def sharing(cls, down: LiftDownPool) -> LiftUpPool:
        """The exact inverse of `down`, made of the very same parameters."""
        up = cls(down.channels, kernel_size=down.kernel_size, padding=down.padding)
        up.predict, up.update = down.predict, down.update
        return up

    def forward(self, x: Tensor, memory: Bands) -> Tensor:  # type: ignore[override]
        """x [N, C, h, w] in place of `memory.LL` -> [N, C, H, W]."""
        self.check(x)
        if x.shape != memory.LH.shape:
            raise PoolingError(f"LiftUpPool: the map is {tuple(x.shape)}, the details are {tuple(memory.LH.shape)}.")
        images = x.shape[0]
        both = self.merge(torch.cat([x, memory.HL]), torch.cat([memory.LH, memory.HH]), dim=-2)
        return self.merge(both[:images], both[images:], dim=-1)[..., : memory.size[0], : memory.size[1]]


def parse_bands(bands: str) -> list[str]:
    """Names of the bands in "LL+HH", in the order of BANDS; a repeated or unknown name is an error."""
    names = bands.split("+") if isinstance(bands, str) else [repr(bands)]
    for name in names:
        if name not in BANDS:
            raise unknown("band", name, ("sum", *BANDS))
    if len(set(names)) < len(names):
        raise PoolingError(f"bands={bands!r} names a band twice.")
    return sorted(names, key=BANDS.index)


def _distance(difference: Tensor, constraint: str) -> Tensor:
    return difference.square().mean() if constraint == "mse" else torch.linalg.vector_norm(difference)
