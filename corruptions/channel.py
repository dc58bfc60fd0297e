"""Noise on 8-bit images as a memoryless channel, sampled with table look-ups.

A noise corruption sends every value of an 8-bit image, one of 256 levels, to one of 256 levels, independently of all
others. So it draws one of finitely many symbols, by a distribution F[x, k] = P(symbol <= k | level x) that depends on
the level (256 rows: the symbol is the resulting level) or not (1 row: the symbol is what happens to the level). A draw
inverts one row: the symbol is the number of k with F[x, k] <= u. The first 12 bits of u (16 for one row) settle that
for most values with one look-up in a guide table; where a step of F lies inside the bucket, 36 (32) further bits are
drawn, so that every probability is met to 2^-48.

Source of the sampling method: Devroye, "Non-Uniform Random Variate Generation", 1986, section III.2.4 (guide tables).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from scipy import special
from torch import Tensor

from corruptions.opencv import cv2
from corruptions.positions import few, positions
from corruptions.randomness import Draws, LegacyDraws, RandomSource
from corruptions.words import look_up

LEVELS = 256
_BITS = 48
_ROW = _BITS + 1  # rows of the exact table are kept apart by the bits from here on, so that all of it is sorted
_STEPS = np.arange(1, LEVELS, dtype=np.float64)  # out <= k exactly when the value before truncation is below k + 1
_INPUTS = np.arange(LEVELS, dtype=np.float64)[:, None]


class Law(Protocol):
    """A channel: the distribution of its symbols, what they do, and its formula applied to draws."""

    def distribution(self) -> np.ndarray:
        """F[x, k], float64 [256 or 1, symbols - 1]; the last symbol's F is 1."""
        ...

    def effects(self, symbols: int) -> np.ndarray:
        """What each symbol adds to a level, or the level that it stands for: int16 [symbols]."""
        ...

    @property
    def adds(self) -> bool:
        """Whether an effect is added to the level, and the sum kept within 0..255, or replaces it."""
        ...

    def __hash__(self) -> int: ...

    def literal(self, levels: Tensor, draws: RandomSource) -> Tensor:
        """The formula itself on uint8 levels [N, ...], with the draws in the original order."""
        ...


@dataclass(frozen=True)
class Gaussian:
    """x + N(0, sd) on the 0..1 scale."""

    sd: float
    adds: ClassVar[bool] = True

    def distribution(self) -> np.ndarray:
        # The symbol is floor(255 sd z) + 255: what is added to the level, and 255 either way suffices.
        return np.asarray(special.ndtr(np.arange(-254.0, 256.0)[None] / (255.0 * self.sd)))

    def effects(self, symbols: int) -> np.ndarray:
        return np.arange(-255, symbols - 255, dtype=np.int16)

    def literal(self, levels: Tensor, draws: RandomSource) -> Tensor:
        return to_levels(levels / 255.0 + self.sd * draws.normal(levels.shape[1:]))


@dataclass(frozen=True)
class Speckle:
    """x + x N(0, sd) on the 0..1 scale."""

    sd: float
    adds: ClassVar[bool] = False

    def distribution(self) -> np.ndarray:
        scale = np.maximum(_INPUTS, 1e-9) * self.sd  # level 0 stays 0: every step is then infinitely far away
        return np.asarray(special.ndtr((_STEPS - _INPUTS) / scale))

    def effects(self, symbols: int) -> np.ndarray:
        return np.arange(symbols, dtype=np.int16)

    def literal(self, levels: Tensor, draws: RandomSource) -> Tensor:
        image = levels.double() / 255.0
        return to_levels(image + image * (self.sd * draws.normal(levels.shape[1:])))


@dataclass(frozen=True)
class Shot:
    """Poisson(photons x) / photons on the 0..1 scale."""

    photons: float
    adds: ClassVar[bool] = False

    def distribution(self) -> np.ndarray:
        reached = self._reached()
        above = np.unique(reached)[1:]
        most = np.searchsorted(reached, above, side="left") - 1.0  # the largest count that stays below a level
        return np.asarray(special.pdtr(most, _INPUTS / 255.0 * self.photons))

    def effects(self, symbols: int) -> np.ndarray:
        return np.unique(self._reached()).astype(np.int16)

    def _reached(self) -> np.ndarray:
        """The level of every count; few photons do not reach all levels, and a level is a symbol where they do."""
        counts = np.arange(int(np.ceil(self.photons)) + 1, dtype=np.float64)
        return np.asarray(np.floor(np.minimum(counts / self.photons, 1.0) * 255.0))

    def literal(self, levels: Tensor, draws: RandomSource) -> Tensor:
        return to_levels(draws.poisson(levels.double() / 255.0 * self.photons) / self.photons)


@dataclass(frozen=True)
class Impulse:
    """Each value with probability `amount` replaced, by 255 or by 0 with even chances."""

    amount: float
    adds: ClassVar[bool] = True

    def distribution(self) -> np.ndarray:
        return np.array([[self.amount / 2.0, 1.0 - self.amount / 2.0]])

    def effects(self, symbols: int) -> np.ndarray:
        return np.array([-255, 0, 255], dtype=np.int16)  # pepper, the level as it is, salt

    def literal(self, levels: Tensor, draws: RandomSource) -> Tensor:
        flipped = draws.uniform(levels.shape[1:]) < self.amount
        salted = draws.uniform(levels.shape[1:]) < 0.5
        return torch.where(flipped, torch.where(salted, 255, 0).to(torch.uint8), levels)


def without_fraction(values: Tensor) -> Tensor:
    """Numbers of 0..255 as uint8, the fraction dropped; numpy does it eight times faster than torch on a CPU.

    >>> without_fraction(torch.tensor([0.0, 99.9, 255.0])).tolist()
    [0, 99, 255]
    """
    if values.device.type == "cpu":
        return torch.from_numpy(values.numpy().astype(np.uint8))
    return values.to(torch.uint8)


def to_levels(image: Tensor) -> Tensor:
    """Clip to [0, 1], times 255, fraction dropped, uint8: how the original code stores its results."""
    return without_fraction(image.clamp(0.0, 1.0).mul_(255.0))


_STEPPED = 1 << 13
"""Added to the symbol at the lower end of a bucket that holds a step: more than any effect."""


class Guide(NamedTuple):
    """Look-up tables of one law on one device."""

    entries: Tensor
    """int16 [rows * 2^bits]: the effect when the bucket holds no step, else 2^13 + symbol at the bucket's lower end."""
    exact: Tensor
    """The distribution as 48-bit integers plus row * 2^49: int64 [rows * symbols], sorted."""
    effects: Tensor
    """int16 [symbols]."""
    bits: int
    """Leading bits that choose the bucket."""


@lru_cache(maxsize=32)
def guide(law: Law, device: torch.device) -> Guide:
    """Build the tables of a law."""
    steps = law.distribution()
    rows, symbols = len(steps), steps.shape[1] + 1
    exact = np.full((rows, symbols), 1 << _BITS, dtype=np.int64)
    exact[:, :-1] = np.round(steps * 2.0**_BITS)
    bits = 16 if rows == 1 else 12
    size, width = 1 << bits, _BITS - bits
    row = np.arange(rows)[:, None] * (size + 1)

    def count(buckets: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        total = np.bincount((row + buckets).ravel(), weights, rows * (size + 1))
        return total.reshape(rows, size + 1)

    # Symbol at the lower end of bucket j: how many F are <= j 2^width, that is ceil(F / 2^width) <= j.
    lower = np.cumsum(count(-(-exact >> width)), axis=1)[:, :size]
    # The bucket holds a step when some F lies strictly inside it.
    stepped = count(exact >> width, ((exact & ((1 << width) - 1)) != 0).ravel())[:, :size] > 0
    effects = law.effects(symbols)
    entries = np.where(stepped, lower + _STEPPED, effects[lower]).astype(np.int16)
    exact += np.arange(rows)[:, None] << _ROW
    first, second, third = (torch.from_numpy(part.ravel()).to(device) for part in (entries, exact, effects))
    return Guide(first, second, third, bits)


def send(levels: Tensor, law: Law, draws: RandomSource) -> Tensor:
    """Send uint8 images [N, C, H, W] through a channel: uint8 [N, C, H, W]; takes two sub-streams of the draws.

    With `LegacyDraws` the law's formula is applied literally, and draws in the original's order, [H, W, C].

    Example:
        >>> image = torch.full((1, 3, 32, 32), 100, dtype=torch.uint8)
        >>> sorted(send(image, Impulse(0.5), Draws(0, "example", 1, ["a"])).unique().tolist())
        [0, 100, 255]
    """
    if isinstance(draws, LegacyDraws):
        return law.literal(levels.movedim(1, -1), draws).movedim(-1, 1)
    assert isinstance(draws, Draws)
    return (_sample_on_cpu if levels.device.type == "cpu" else _sample)(levels, law, draws)


def _sample(levels: Tensor, law: Law, draws: Draws) -> Tensor:
    """`send` by table look-ups, on levels of any shape [N, ...] and any device."""
    table = guide(law, levels.device)
    flat = levels.reshape(len(levels), -1)
    index = draws.words_16(flat.shape[1]).to(torch.int32).bitwise_and_((1 << table.bits) - 1)
    if table.bits < 16:
        index += flat.to(torch.int32).mul_(1 << table.bits)
    found = table.entries.index_select(0, index.view(-1))
    places = positions(found >= _STEPPED)
    if len(places):
        image = torch.div(places, flat.shape[1], rounding_mode="floor")
        number = torch.bincount(image, minlength=len(flat))
        extra = draws.words_32(int(number.max()))
        # the n-th value of an image that needs further bits takes its word n
        start = torch.arange(len(flat), device=found.device).mul_(extra.shape[1]).sub_(number.cumsum(0) - number)
        word = torch.arange(len(places), device=found.device).add_(start.index_select(0, image))
        settled = _settle(index.view(-1).index_select(0, places), extra.reshape(-1).index_select(0, word), table)
        found.index_copy_(0, places, settled)
    else:
        draws.words_32(1)  # the sub-stream is taken all the same: what follows must not depend on the batch
    found = found.view(flat.shape)
    return (found.add_(flat).clamp_(0, 255) if law.adds else found).to(torch.uint8).view(levels.shape)


def _settle(index: Tensor, finer: Tensor, table: Guide) -> Tensor:
    """Effects of the values whose bucket holds a step, int16 [P], from bucket and 32 further bits of each."""
    bucket = index.to(torch.int64)
    row = bucket >> table.bits
    # rows are 2^49 apart and their buckets fill 2^48
    point = row.bitwise_left_shift(table.bits).add_(bucket).bitwise_left_shift_(32)
    point += finer.to(torch.int64).bitwise_and_(0xFFFFFFFF)
    place = torch.searchsorted(table.exact, point.bitwise_left_shift_(_BITS - table.bits - 32), right=True)
    return table.effects.index_select(0, place.sub_(row.mul_(len(table.effects))))


def _sample_on_cpu(levels: Tensor, law: Law, draws: Draws) -> Tensor:
    """`_sample` an image at a time, in the caches; what needs further bits is settled for all of them together."""
    table = _table_on_cpu(law)
    flat = levels.reshape(len(levels), -1).numpy()
    size = flat.shape[1]
    sent = (_Sums if table.bits == 16 else _Codes)(law, size)
    result = np.empty_like(flat)
    words, finer = draws.by_image(), draws.by_image()
    steps: list[tuple[np.ndarray, ...]] = []
    for image, (source, target) in enumerate(zip(flat, result, strict=True)):
        index, unsettled = sent(source, words(image, -(-size // 4)).view(np.uint16)[:size], target)
        places = few(unsettled)
        buckets = index.take(places)
        entries = table.entries.take(buckets)
        stepped = entries >= _STEPPED
        if not stepped.all():  # a mark may be a result
            places, buckets, entries = places[stepped], buckets[stepped], entries[stepped]
        if len(places):
            more = finer(image, -(-len(places) // 2)).view(np.uint32)[: len(places)]
            steps.append((places + image * size, buckets, entries, more))
    if steps:
        places, buckets, entries, more = (np.concatenate(part) for part in zip(*steps, strict=True))
        settled = _settle_on_cpu(buckets, entries, more, table)
        if law.adds:
            settled = np.clip(settled + flat.reshape(-1).take(places), 0, 255)
        result.reshape(-1)[places] = settled
    return torch.from_numpy(result).view(levels.shape)


class _GuideOnCpu(NamedTuple):
    """`Guide` for numpy, whose operations start several times faster than torch's: few values need them."""

    entries: np.ndarray
    exact: np.ndarray
    effects: np.ndarray
    bits: int


@lru_cache(maxsize=32)
def _table_on_cpu(law: Law) -> _GuideOnCpu:
    entries, exact, effects, bits = guide(law, torch.device("cpu"))
    return _GuideOnCpu(entries.numpy(), exact.numpy(), effects.numpy(), bits)


def _settle_on_cpu(index: np.ndarray, entries: np.ndarray, finer: np.ndarray, table: _GuideOnCpu) -> np.ndarray:
    """`_settle` by the entries, which tell the first step in a bucket; most hold one."""
    bucket = index.astype(np.int64)
    row = bucket >> table.bits
    point = row << table.bits
    point += bucket
    point <<= 32
    point += finer
    point <<= _BITS - table.bits - 32
    row *= len(table.effects)
    place = entries - (_STEPPED - row)
    place += table.exact.take(place) <= point
    rest = few(table.exact.take(place) <= point)
    place[rest] = np.searchsorted(table.exact, point.take(rest), side="right")
    place -= row
    return np.asarray(table.effects.take(place))


class _Sums:
    """On a CPU, values sent by a law of one row: called with an image's levels and bits, [V], and where results go.

    Gives the bucket of each value, and marks those whose bucket holds a step; their results are worth nothing.
    """

    def __init__(self, law: Law, size: int) -> None:
        self._halves = _halves(law)
        self._found = np.empty((1, size), np.uint16)
        self._up, self._down = (np.empty((1, size), np.uint8) for _ in range(2))

    def __call__(self, source: np.ndarray, bits: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        row = (1, len(source))
        look_up(bits.reshape(row), self._halves, self._found)
        cv2.split(self._found.view(np.uint8).reshape(*row, 2), [self._up, self._down])
        cv2.add(source.reshape(row), self._up, target.reshape(row))  # OpenCV keeps sums within 0..255
        cv2.subtract(target.reshape(row), self._down, target.reshape(row))
        return bits, self._found.ravel() == _MARK_16


class _Codes:
    """On a CPU, values sent by a law of 256 rows that replaces levels; called as `_Sums` is."""

    def __init__(self, law: Law, size: int) -> None:
        self._codes = torch.from_numpy(_codes(law))
        self._shift = _table_on_cpu(law).bits
        self._index = np.empty(size, np.int32)

    def __call__(self, source: np.ndarray, bits: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        index = self._index
        np.copyto(index, source)
        index <<= self._shift
        bits &= (1 << self._shift) - 1
        index += bits
        torch.index_select(self._codes, 0, torch.from_numpy(index), out=torch.from_numpy(target))
        unsettled = target == _MARK_8
        target += source
        return index, unsettled


_MARK_16, _MARK_8 = 0xFFFF, 128
"""What stands in the tables for a bucket that holds a step."""


@lru_cache(maxsize=32)
def _halves(law: Law) -> np.ndarray:
    """What every bucket adds to a level and takes off it, in two bytes of which one is 0: uint16 [2^16]."""
    entries = _table_on_cpu(law).entries
    up_down = np.stack([entries, -entries], axis=-1).clip(0, 255).astype(np.uint8)
    return np.where(entries >= _STEPPED, np.uint16(_MARK_16), up_down.view(np.uint16)[:, 0])


@lru_cache(maxsize=32)
def _codes(law: Law) -> np.ndarray:
    """What every bucket adds to a level modulo 256: uint8 [256 * 2^bits], half of the entries' bytes.

    A difference of 128 is marked too, though it holds no step.
    """
    entries = _table_on_cpu(law).entries.reshape(LEVELS, -1)
    return np.where(entries >= _STEPPED, _MARK_8, entries - _INPUTS.astype(np.int16)).astype(np.uint8).ravel()
