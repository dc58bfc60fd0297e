"""Noise on 8-bit images as a memoryless channel, sampled with table look-ups.

A noise corruption sends every value of an 8-bit image, one of 256 levels, to one of 256 levels, independently of all
others. So its law is a 256 x 256 matrix of distribution functions, F[x, k] = P(out <= k | in = x), and a draw is the
inversion of one row: `out` is the number of k with F[x, k] <= u. The first 12 bits of u settle that for most values
with one look-up in a guide table; where a step of F lies inside the bucket, 36 further bits are drawn, so that every
probability is met to 2^-48.

Source of the sampling method: Devroye, "Non-Uniform Random Variate Generation", 1986, section III.2.4 (guide tables).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from scipy import special
from torch import Tensor

if TYPE_CHECKING:
    from corruptions.randomness import Draws, Source

LEVELS = 256
_GUIDE_BITS = 12
_BITS = 48
_STEPS = np.arange(1, LEVELS, dtype=np.float64)  # out <= k exactly when the value before truncation is below k + 1
_INPUTS = np.arange(LEVELS, dtype=np.float64)[:, None]


class Law(Protocol):
    """A channel: its matrix of distribution functions, and its formula applied to draws."""

    def distribution(self) -> np.ndarray:
        """F[x, k] for k = 0..254, float64 [256, 255]; F[x, 255] is 1."""
        ...

    def __hash__(self) -> int: ...

    def literal(self, levels: Tensor, draws: Source) -> Tensor:
        """The formula itself on uint8 levels [N, ...], with the draws in the original order."""
        ...


@dataclass(frozen=True)
class Gaussian:
    """x + N(0, sd) on the 0..1 scale."""

    sd: float

    def distribution(self) -> np.ndarray:
        return np.asarray(special.ndtr((_STEPS - _INPUTS) / (255.0 * self.sd)))

    def literal(self, levels: Tensor, draws: Source) -> Tensor:
        return to_levels(levels / 255.0 + self.sd * draws.normal(levels.shape[1:]))


@dataclass(frozen=True)
class Speckle:
    """x + x N(0, sd) on the 0..1 scale."""

    sd: float

    def distribution(self) -> np.ndarray:
        scale = np.maximum(_INPUTS, 1e-9) * self.sd  # level 0 stays 0: every step is then infinitely far away
        return np.asarray(special.ndtr((_STEPS - _INPUTS) / scale))

    def literal(self, levels: Tensor, draws: Source) -> Tensor:
        image = levels.double() / 255.0
        return to_levels(image + image * (self.sd * draws.normal(levels.shape[1:])))


@dataclass(frozen=True)
class Shot:
    """Poisson(photons x) / photons on the 0..1 scale."""

    photons: float

    def distribution(self) -> np.ndarray:
        counts = np.arange(int(np.ceil(self.photons)) + 1, dtype=np.float64)
        reached = np.floor(np.minimum(counts / self.photons, 1.0) * 255.0)
        most = np.searchsorted(reached, _STEPS, side="left") - 1.0  # the largest count that gives a level <= k
        return np.asarray(special.pdtr(most, _INPUTS / 255.0 * self.photons))

    def literal(self, levels: Tensor, draws: Source) -> Tensor:
        return to_levels(draws.poisson(levels.double() / 255.0 * self.photons) / self.photons)


@dataclass(frozen=True)
class Impulse:
    """Each value with probability `amount` replaced, by 255 or by 0 with even chances."""

    amount: float

    def distribution(self) -> np.ndarray:
        reached = _INPUTS <= _STEPS - 1.0
        return np.where(reached, 1.0 - self.amount / 2.0, self.amount / 2.0)

    def literal(self, levels: Tensor, draws: Source) -> Tensor:
        flipped = draws.uniform(levels.shape[1:]) < self.amount
        salted = draws.uniform(levels.shape[1:]) < 0.5
        return torch.where(flipped, torch.where(salted, 255, 0).to(torch.uint8), levels)


def to_levels(image: Tensor) -> Tensor:
    """Clip to [0, 1], times 255, fraction dropped, uint8: how the original code stores its results."""
    return image.clamp(0.0, 1.0).mul_(255.0).to(torch.uint8)


@lru_cache(maxsize=32)
def _tables(law: Law, device: torch.device) -> tuple[Tensor, Tensor]:
    """Guide table int16 [256 * 4096] and the distribution as 48-bit integers, int64 [256 * 256].

    A guide entry is the level when the bucket holds no step, else ~level with the level at the bucket's lower end.
    """
    distribution = np.ones((LEVELS, LEVELS))
    distribution[:, :-1] = law.distribution()
    exact = np.round(distribution * 2.0**_BITS).astype(np.int64)
    size = 1 << _GUIDE_BITS
    width = _BITS - _GUIDE_BITS
    # Level at the lower end of bucket j: how many F are <= j 2^width, that is ceil(F / 2^width) <= j.
    first = np.minimum(-(-exact >> width), size)
    rows = np.arange(LEVELS)[:, None] * (size + 1)
    starts = np.bincount((rows + first).ravel(), minlength=LEVELS * (size + 1)).reshape(LEVELS, size + 1)
    lower = np.cumsum(starts, axis=1)[:, :size]
    # The bucket holds a step when some F lies strictly inside it.
    between = (exact & ((1 << width) - 1) != 0).ravel()
    inside = np.bincount((rows + (exact >> width)).ravel(), between, LEVELS * (size + 1))
    stepped = inside.reshape(LEVELS, size + 1)[:, :size] > 0
    guide = np.where(stepped, ~lower, lower).astype(np.int16)
    return torch.from_numpy(guide.ravel()).to(device), torch.from_numpy(exact.ravel()).to(device)


def sample(levels: Tensor, law: Law, draws: Draws) -> Tensor:
    """Send uint8 levels [N, ...] through the channel: uint8 [N, ...]; takes two sub-streams of the draws."""
    guide, exact = _tables(law, levels.device)
    flat = levels.reshape(len(levels), -1)
    words = draws.words_16(flat.shape[1]).to(torch.int32)
    bucket = (words >> 4).bitwise_and_((1 << _GUIDE_BITS) - 1)
    bucket += flat.to(torch.int32) << _GUIDE_BITS
    found = guide.index_select(0, bucket.view(-1))
    open_at = (found < 0).nonzero().view(-1)
    image = torch.div(open_at, max(flat.shape[1], 1), rounding_mode="floor")
    per_image = torch.bincount(image, minlength=len(flat))
    most = int(per_image.max()) if len(flat) else 0
    extra = draws.words_32(most)
    if most:
        rank = torch.arange(len(open_at), device=levels.device) - (per_image.cumsum(0) - per_image)[image]
        low = extra[image, rank].to(torch.int64) & 0xFFFFFFFF
        point = (words.reshape(-1)[open_at].to(torch.int64) & 0xFFFF) << 32 | low
        result = ~found[open_at].to(torch.int64)
        row = flat.reshape(-1)[open_at].to(torch.int64) * LEVELS
        while True:
            beyond = exact[row + result] <= point
            if not bool(beyond.any()):
                break
            result += beyond
        found[open_at] = result.to(torch.int16)
    return found.to(torch.uint8).reshape(levels.shape)
