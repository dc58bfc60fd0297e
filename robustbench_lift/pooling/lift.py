"""LiftPool: down-pooling by a learned lifting scheme, and its exact inverse.

A line x is split into even and odd samples; the odd ones are predicted from the even ones, what the prediction
misses is the detail d, and the even ones are updated with it to the smooth part s:

    d = x_o - P(x_e)        s = x_e + U(d)        P, U = Tanh . gain . ReLU . taps

A map is transformed along its rows first, then s and d along their columns, which gives four bands; the first letter
is the horizontal band: LL and LH from s, HL and HH from d.

Lines are [B, L, R, C]: B bundles of R lines of L samples, channels last. Rows of images [N, H, W, C] are the lines
[N * H, W, 1, C], columns are [N, H, W, C] itself, so that one transform along the second axis serves both without a
copy, and a filter of K x 1 always runs over vectors of channels: several times as fast on a CPU as 1 x K or NCHW.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import split
from .base import PoolingLayer, Source
from .errors import PoolingError, choose, unknown
from .kernels import tanh, to_map, to_pixels
from .registry import pooling, up_pooling
from .tensors import even, memory_format, pad

BANDS = ("LL", "LH", "HL", "HH")
PADDINGS = ("zeros", "reflect", "replicate")
CONSTRAINTS = ("mse", "l2", "relative")
GRADIENTS = ("features", "filters")
FLOOR = 1e-6
"""Energy added to that of x_o in the relative distance, so that a map of zeros has one."""
LONGEST = 255
"""Taps of P and U that a spec may ask for: more than any map of a network is wide."""


class Bands(NamedTuple):
    """The four bands of a map, each [N, C, h, w], and the size it had."""

    LL: Tensor
    LH: Tensor
    HL: Tensor
    HH: Tensor
    size: tuple[int, int]
    """(H, W) of the map; an odd side was made even by repeating its last row or column."""


Split = tuple[Tensor, Tensor, Tensor]
"""(s, d, x_o) of lines [B, L, R, C], each [B, L/2, R, C]."""


class LiftOperator(nn.Module):
    """P or U on a line: Tanh(gain * ReLU(taps * x)), a filter and a gain of its own for every channel, no bias.

    Values lie in [-1, 1]. The same taps filter rows and columns.
    """

    def __init__(self, channels: int, kernel_size: int, *, padding: str, init: str) -> None:
        super().__init__()
        self.padding = padding
        self.init = init
        self.taps = nn.Parameter(torch.empty(channels, kernel_size))
        self.gain = nn.Parameter(torch.empty(channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw as torch draws convolutions (uniform within 1 / sqrt(fan in)); "zero" makes the operator 0 at first."""
        bound = self.taps.shape[1] ** -0.5
        nn.init.uniform_(self.taps, -bound, bound)
        if self.init == "zero":
            nn.init.zeros_(self.gain)
        else:
            nn.init.uniform_(self.gain, -1.0, 1.0)

    def forward(self, x: Tensor, base: Tensor, sign: int) -> Tensor:
        """base + sign * Tanh(gain * ReLU(taps * x)) on lines [B, L, R, C], filtered along L."""
        z = self.filter(x)
        gain = sign * self.gain.to(z.dtype)  # Tanh is odd
        if torch.compiler.is_compiling() or z.device.type != "cpu" or z.dtype != torch.float32:
            return base + torch.tanh(gain * torch.relu(z))
        if torch.is_grad_enabled():
            return base + tanh(gain * z.relu_())
        return z.relu_().mul_(2 * gain).sigmoid_().mul_(2).sub_(1).add_(base)  # the same, in one buffer

    def filter(self, x: Tensor) -> Tensor:
        """Correlate lines [B, L, R, C] with the taps along L."""
        channels, size = self.taps.shape
        taps, reach = self.taps.to(x.dtype), size // 2
        map_ = x.permute(0, 3, 1, 2)
        if torch.compiler.is_compiling():  # a compiler fuses shifted products with what follows, not a convolution
            padded = pad(map_, 0, 0, reach, reach, mode=self.padding).permute(0, 2, 3, 1)
            products = (padded[:, k : k + x.shape[1]] * taps[:, k] for k in range(size))
            return sum(products, start=torch.zeros((), dtype=x.dtype, device=x.device))
        if self.padding == "zeros":
            y = F.conv2d(map_, taps[:, None, :, None], padding=(reach, 0), groups=channels)
        else:
            map_ = pad(map_, 0, 0, reach, reach, mode=self.padding)
            y = F.conv2d(map_, taps[:, None, :, None], groups=channels)
        return y.permute(0, 2, 3, 1)


class Lifting(PoolingLayer):
    """The pair P, U and the transforms made of it; LiftDownPool and LiftUpPool are its two directions."""

    def __init__(self, channels: int, *, kernel_size: int = 5, padding: str = "zeros", init: str = "default") -> None:
        super().__init__(channels)
        if type(kernel_size) is not int or kernel_size < 1 or kernel_size % 2 == 0 or kernel_size > LONGEST:
            raise PoolingError(
                f"{type(self).__name__}: kernel_size must be odd and positive, not {kernel_size!r}; at most {LONGEST}."
            )
        self.kernel_size = kernel_size
        self.padding = choose("padding", padding, PADDINGS)
        self.init = choose("init", init, ("default", "zero"))
        self.predict = LiftOperator(channels, kernel_size, padding=padding, init=init)
        self.update = LiftOperator(channels, kernel_size, padding=padding, init=init)

    def filters(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Taps and gain of P, then of U."""
        return self.predict.taps, self.predict.gain, self.update.taps, self.update.gain

    def split(self, lines: Tensor) -> Split:
        """Lines [B, L, R, C] of even L -> (s, d, x_o), each [B, L/2, R, C]: d = x_o - P(x_e), s = x_e + U(d)."""
        if split.applies(lines, self.padding):
            s, d = split.step(lines.contiguous(), *self.filters())
            return s, d, lines[:, 1::2]
        bundles, length, beside, channels = lines.shape
        x_e, x_o = lines.reshape(bundles, length // 2, 2, beside, channels).unbind(2)
        x_e = x_e.contiguous()  # once, or each convolution and its gradient would
        d = self.predict(x_e, x_o, -1)
        return self.update(d, x_e, +1), d, x_o

    def merge(self, s: Tensor, d: Tensor) -> Tensor:
        """The inverse of `split`: x_e = s - U(d), x_o = d + P(x_e), interleaved."""
        x_e = self.update(d, s, -1)
        x_o = self.predict(x_e, d, +1)
        return torch.stack([x_e, x_o], dim=2).flatten(1, 2)


@pooling("lift")
class LiftDownPool(Lifting):
    """Down-pool by lifting; the sum of the four bands, or of some of them.

    Args:
        channels: C; the layer has 2 C (kernel_size + 1) parameters.
        kernel_size: K, odd; 5 in the paper, which finds no gain above.
        bands: "sum", one band, or several joined by "+", such as "LL+HH"; their plain sum is the output.
        constraint: how c_u = |s - x_o| and c_p = |d| measure distance: "mse" (mean of squares, independent of the
            size), "l2" (Frobenius norm of the whole batch), "relative" (mean of squares over the mean of squares of
            x_o, independent of the scale of the map too) or None, without them. Each is summed over the three
            transforms of a map. The paper trains with both, most plainly read as "mse"; None is the default because
            they raised errors, flips or both on the data on which they were tried (docs/results.md).
        gradient: what c_u and c_p train: "features", every layer before the pooling as well as P and U, or
            "filters", P and U alone, to which they give the same gradient; the map gets none of it.
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
        "constraint": "c_u and c_p as mse, l2, relative or none at all",
        "gradient": "of c_u and c_p: features (into the network) or filters (P and U alone)",
        "padding": "zeros, reflect or replicate",
        "init": "default or zero (gain)",
    }
    loss_names = ("c_u", "c_p")

    def __init__(
        self,
        channels: int,
        *,
        kernel_size: int = 5,
        bands: str = "sum",
        constraint: str | None = None,
        gradient: str = "features",
        padding: str = "zeros",
        init: str = "default",
    ) -> None:
        super().__init__(channels, kernel_size=kernel_size, padding=padding, init=init)
        self.bands = "+".join(parse_bands(bands)) if bands != "sum" else "sum"
        self.constraint = None if constraint is None else choose("constraint", constraint, CONSTRAINTS)
        self.gradient = choose("gradient", gradient, GRADIENTS)

    def pool(self, x: Tensor) -> Tensor:
        if self.bands == "sum" and not self.constrained:
            if split.applies(x, self.padding):
                self._losses = {}
                return split.summed(even(x), *self.filters())  # block by block, which no band leaves
            if split.compiles(x, self.padding):
                y: Tensor = torch.ops.robustbench_lift.lift_sum(even(x), *self.filters())
                return y.contiguous(memory_format=memory_format(x))
        names = BANDS if self.bands == "sum" else self.bands.split("+")
        four = self.transform(x)
        first, *others = (four[BANDS.index(name)] for name in names)
        for band in others:
            first = first + band
        return to_map(first, memory_format(x))

    @property
    def constrained(self) -> bool:
        """Whether a call notes c_u and c_p."""
        return self.training and self.constraint is not None

    def analysis(self, x: Tensor) -> Bands:
        """All four bands of x [N, C, H, W]; LiftUpPool gives x back from them."""
        self.check(x)
        ll, lh, hl, hh = (to_map(band, memory_format(x)) for band in self.transform(x))
        return Bands(ll, lh, hl, hh, (x.shape[2], x.shape[3]))

    def record(self, x: Tensor) -> tuple[Tensor, Bands]:
        """LL as the pooled map, and the bands that LiftUpPool needs beside it."""
        bands = self.analysis(x)
        return bands.LL, bands

    def transform(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """LL, LH, HL, HH as [N, h, w, C]; notes c_u and c_p while training."""
        pixels = to_pixels(even(x))
        calls = self.three(pixels)
        if self.constrained:
            # a second graph that ends at the map: its gradient must differ from that of the output, not only vanish
            alone = self.gradient == "filters" and torch.is_grad_enabled()
            self._losses = self._constraints(self.three(pixels.detach()) if alone else calls)
        elif self._losses:  # otherwise left alone: torch.export refuses a layer that sets an attribute
            self._losses = {}
        _, columns_s, columns_d = calls
        return (*columns_s[:2], *columns_d[:2])

    def three(self, pixels: Tensor) -> tuple[Split, Split, Split]:
        """The transforms of pixels [N, H, W, C]: of the rows, then of the columns of s and of d."""
        images, height, width, _ = pixels.shape
        rows = self.split(pixels.flatten(0, 1).unsqueeze(2))
        s, d = (part.view(images, height, width // 2, self.channels) for part in rows[:2])
        return rows, self.split(s), self.split(d)

    def _constraints(self, calls: tuple[Split, Split, Split]) -> dict[str, Tensor]:
        c_u = [self._distance(smooth, odd, scale=odd) for smooth, _, odd in calls]
        c_p = [self._distance(detail, None, scale=odd) for _, detail, odd in calls]
        return {"c_u": c_u[0] + c_u[1] + c_u[2], "c_p": c_p[0] + c_p[1] + c_p[2]}

    def _distance(self, part: Tensor, other: Tensor | None, *, scale: Tensor) -> Tensor:
        if self.constraint == "l2":
            norm: Tensor = torch.linalg.vector_norm(part if other is None else part - other)
            return norm
        squares: Tensor = part.square().mean() if other is None else F.mse_loss(part, other)
        return squares / (scale.square().mean() + FLOOR) if self.constraint == "relative" else squares


@up_pooling("lift-up")
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
        with torch.device("meta"):  # its own parameters are dropped at once: nothing is drawn
            up = cls(down.channels, kernel_size=down.kernel_size, padding=down.padding, init=down.init)
        up.predict, up.update = down.predict, down.update
        return up

    def forward(self, x: Tensor, memory: Bands) -> Tensor:  # type: ignore[override]
        """x [N, C, h, w] in place of `memory.LL` -> [N, C, H, W]."""
        self.check(x)
        if x.shape != memory.LH.shape:
            raise PoolingError(f"LiftUpPool: the map is {tuple(x.shape)}, the details are {tuple(memory.LH.shape)}.")
        ll, lh, hl, hh = (to_pixels(band) for band in (x, *memory[1:4]))
        s, d = self.merge(ll, lh), self.merge(hl, hh)
        images, height = s.shape[:2]
        s, d = (part.flatten(0, 1).unsqueeze(2) for part in (s, d))
        pixels = self.merge(s, d).view(images, height, 2 * ll.shape[2], self.channels)
        return to_map(pixels[:, : memory.size[0], : memory.size[1]], memory_format(x))


def parse_bands(bands: str) -> list[str]:
    """Names of the bands in "LL+HH", in the order of BANDS; a repeated or unknown name is an error."""
    names = bands.split("+") if isinstance(bands, str) else [repr(bands)]
    for name in names:
        if name not in BANDS:
            raise unknown("band", name, ("sum", *BANDS))
    if len(set(names)) < len(names):
        raise PoolingError(f"bands={bands!r} names a band twice.")
    return sorted(names, key=BANDS.index)
