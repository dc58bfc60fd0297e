"""Random numbers that depend on the image and on nothing else.

Production: `Draws`, the counter-based generator Philox-4x64-10. Its key is a hash of (seed, condition, severity,
image id) and its counter is (position, sub-stream), so a draw never depends on batch size, order, workers or device.
Golden comparison: `LegacyDraws`, the same methods on a `numpy.random.RandomState` in the order of the original code.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (Philox, Table 2 and section 4.3).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

_MASK_32 = 0xFFFFFFFF
_MASK_64 = 0xFFFFFFFFFFFFFFFF
# Multipliers and key increments of Philox-4x64 (Salmon et al. 2011, section 4.3; Random123 philox.h).
_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_ROUNDS = 10


class RandomSource(Protocol):
    """What a kernel may ask of its randomness; every result has the batch as first axis."""

    device: torch.device
    dtype: torch.dtype
    """Type of the real numbers: float32 in production, float64 for comparison with the original."""

    def uniform(self, shape: Sequence[int], low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform on [low, high): [N, *shape]."""
        ...

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Standard normal: [N, *shape]."""
        ...

    def integers(self, low: int, high: int, shape: Sequence[int]) -> Tensor:
        """Uniform integers in low..high-1: int64 [N, *shape]."""
        ...

    def ranges(self, sizes: Sequence[int]) -> list[int]:
        """One uniform integer in 0..size-1 an image, each with a size of its own."""
        ...

    def offsets(self, reach: int, count: int) -> Tensor:
        """Pairs of integers (a, b), each uniform in -reach..reach-1, as (b + reach) 2 reach + a + reach: [N, count]."""
        ...

    def poisson(self, rate: Tensor) -> Tensor:
        """Poisson counts with the given rates: [N, ...]."""
        ...


class Draws:
    """Batched draws keyed by (seed, condition, severity, image id); equal integer streams on CPU and CUDA.

    Every call takes a sub-stream of its own, numbered from 0, so the order of calls in a kernel fixes what it gets.

    Args:
        seed: any integer.
        condition: name of the corruption or perturbation.
        severity: severity or difficulty.
        ids: one str or int an image; 5 and "5" are the same image.
        device: where the numbers are made and live.

    Example:
        >>> one = Draws(0, "snow", 3, ["a", "b"]).uniform((2,))
        >>> other = Draws(0, "snow", 3, ["b"]).uniform((2,))
        >>> bool((one[1] == other[0]).all())
        True
    """

    def __init__(
        self,
        seed: int,
        condition: str,
        severity: int,
        ids: Sequence[str | int],
        device: torch.device | str = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.dtype = torch.float32
        self.keys = image_keys(seed, condition, severity, ids)
        self._stream = 0
        self._philox = np.random.Philox(key=0)

    def words(self, count: int) -> Tensor:
        """The first `count` 64-bit words of the next sub-stream: int64 bit patterns [N, count]."""
        if self.device.type == "cpu":
            return torch.from_numpy(_words_cpu(self.keys, self.by_image(), count))
        stream = self._stream
        self._stream += 1
        keys = torch.from_numpy(self.keys.view(np.int64)).to(self.device)
        return philox_words(keys, stream, count)

    def by_image(self) -> Callable[[int, int], np.ndarray]:
        """The next sub-stream on a CPU, an image at a time: a function of image and count that gives the first words.

        What is made of one image's words while they are in the processor's caches costs half of what a batch costs.
        """
        stream = self._stream
        self._stream += 1
        return _generator(self._philox, self.keys, stream)

    def words_32(self, count: int) -> Tensor:
        """`count` 32-bit words of the next sub-stream, low half of each 64-bit word first: int32 bits [N, count]."""
        return self.words(-(-count // 2)).view(torch.int32)[:, :count]

    def words_16(self, count: int) -> Tensor:
        """`count` 16-bit words of the next sub-stream, lowest quarter first: int16 bits [N, count]."""
        return self.words(-(-count // 4)).view(torch.int16)[:, :count]

    def uniform(self, shape: Sequence[int], low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform on [low, high): float32 [N, *shape], multiples of 2^-24 scaled."""
        if low == -high and math.frexp(high)[0] == 0.5:  # the steps below are all exact, and are one
            return self._signed(shape, high * 2.0**-31)
        unit = self._signed(shape, 2.0**-32).add_(0.5)
        return unit if (low, high) == (0.0, 1.0) else unit.mul_(high - low).add_(low)

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Standard normal: float32 [N, *shape], inverse distribution function of the odd multiples of 2^-24 in (-1, 1).

        These are exact in float32 and symmetric; the distribution function is met to 2^-24 and |z| stays below 5.5.
        """
        # A one below the upper 24 bits: an odd multiple of 2^7.
        return self._signed(shape, 2.0**-31, below=128).erfinv_().mul_(math.sqrt(2.0))

    def _signed(self, shape: Sequence[int], unit: float, below: int = 0) -> Tensor:
        """The upper 24 bits of the next 32-bit words, signed, and the bits `below` them, exact in float32, by `unit`.

        On a CPU an image at a time, in the caches.
        """
        count = math.prod(shape)
        if self.device.type != "cpu":
            bits = self.words_32(count).bitwise_and(-256).add_(below)
            return bits.to(torch.float32).mul_(unit).reshape(-1, *shape)
        result = np.empty((len(self.keys), count), dtype=np.float32)
        words = self.by_image()
        for image, row in enumerate(result):
            part = words(image, -(-count // 2)).view(np.int32)[:count]
            part &= -256
            if below:
                part |= below
            np.copyto(row, part, casting="unsafe")
            row *= np.float32(unit)
        return torch.from_numpy(result).view(-1, *shape)

    def integers(self, low: int, high: int, shape: Sequence[int]) -> Tensor:
        """Uniform integers in low..high-1: int64 [N, *shape]; the bias is below (high - low) / 2^32."""
        words = self.words_32(math.prod(shape)).to(torch.int64).bitwise_and_(_MASK_32)
        return words.mul_(high - low).bitwise_right_shift_(32).add_(low).reshape(-1, *shape)

    def ranges(self, sizes: Sequence[int]) -> list[int]:
        """One uniform integer in 0..size-1 an image, each with a size of its own."""
        words = self.words(1)[:, 0].tolist()
        return [((word & _MASK_64) * size) >> 64 for word, size in zip(words, sizes, strict=True)]

    def offsets(self, reach: int, count: int) -> Tensor:
        """Pairs of integers (a, b), each uniform in -reach..reach-1, as (b + reach) 2 reach + a + reach.

        int32 [N, count]. The bias is below 2^-25, and there is none when `reach` is a power of two.
        """
        number = 4 * reach * reach
        if number & (number - 1) == 0:
            return self.words_16(count).to(torch.int32).bitwise_and_(number - 1)
        unit = self.words_32(count).to(torch.float64).mul_(2.0**-32).add_(0.5)
        return unit.mul_(number).to(torch.int32)

    def poisson(self, rate: Tensor) -> Tensor:
        """Poisson counts with the given rates [N, ...]: float32, by inversion of 24-bit uniforms (rates up to 1000).

        Images of 256 levels have a faster and exact way: `corruptions.channel.send` with `Shot`.
        """
        uniform = self.uniform(rate.shape[1:]).double().add_(2.0**-25)
        rates = rate.double()
        probability = torch.exp(-rates)
        cumulative = probability.clone()
        count = torch.zeros_like(rates)
        limit = int(rates.max() + 12 * rates.max().sqrt() + 24) if rates.numel() else 0
        for k in range(1, limit + 1):
            above = uniform > cumulative
            if not bool(above.any()):
                break
            count.add_(above)
            probability.mul_(rates).div_(k)
            cumulative.add_(probability)
        return count.to(torch.float32)


class LegacyDraws:
    """The same methods on a `numpy.random.RandomState`, for one image, consuming it as the original code does.

    Example:
        >>> source = LegacyDraws(np.random.RandomState(1))
        >>> bool(source.normal((2,))[0, 0] == np.random.RandomState(1).standard_normal())
        True
    """

    def __init__(self, random_state: np.random.RandomState) -> None:
        self.device = torch.device("cpu")
        self.dtype = torch.float64
        self.random_state = random_state

    def uniform(self, shape: Sequence[int], low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform on [low, high): float64 [1, *shape]."""
        return torch.from_numpy(low + (high - low) * self.random_state.random_sample((1, *shape)))

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Standard normal: float64 [1, *shape]."""
        return torch.from_numpy(self.random_state.standard_normal((1, *shape)))

    def integers(self, low: int, high: int, shape: Sequence[int]) -> Tensor:
        """Uniform integers in low..high-1: int64 [1, *shape]."""
        return torch.from_numpy(np.asarray(self.random_state.randint(low, high, size=(1, *shape)), dtype=np.int64))

    def ranges(self, sizes: Sequence[int]) -> list[int]:
        """One uniform integer in 0..size-1."""
        return [int(self.random_state.randint(0, size)) for size in sizes]

    def offsets(self, reach: int, count: int) -> Tensor:
        """Pairs of integers in -reach..reach-1, first of a pair drawn first, coded as in `Draws`: int32 [1, count]."""
        pairs = self.integers(0, 2 * reach, (count, 2)).to(torch.int32)
        return pairs[..., 1] * (2 * reach) + pairs[..., 0]

    def poisson(self, rate: Tensor) -> Tensor:
        """Poisson counts with the given rates [1, ...]: float64."""
        return torch.from_numpy(self.random_state.poisson(rate.double().numpy()).astype(np.float64))


def image_keys(seed: int, condition: str, severity: int, ids: Sequence[str | int]) -> np.ndarray:
    """The 128-bit Philox key of each image: uint64 [N, 2], BLAKE2b of (seed, condition, severity, id).

    Example:
        >>> image_keys(0, "fog", 1, ["a", 7]).shape
        (2, 2)
    """
    # The id comes last and the other three cannot hold the separator, so no two tuples give the same bytes.
    prefix = hashlib.blake2b(f"{int(seed)}\x1f{condition}\x1f{int(severity)}\x1f".encode(), digest_size=16)
    keys = bytearray()
    for image_id in ids:
        digest = prefix.copy()
        # a file name that is no UTF-8 reaches here with surrogates; all others encode as ever
        digest.update(str(image_id).encode("utf-8", "surrogateescape"))
        keys += digest.digest()
    return np.frombuffer(bytes(keys), dtype="<u8").reshape(-1, 2)


def _words_cpu(keys: np.ndarray, words: Callable[[int, int], np.ndarray], count: int) -> np.ndarray:
    """Philox words of all images, int64 [N, count], from those of one."""
    if len(keys) == 1:  # nothing to copy
        return words(0, count).view(np.int64)[None]
    result = np.empty((len(keys), count), dtype=np.uint64)
    for image, row in enumerate(result):
        row[:] = words(image, count)
    return result.view(np.int64)


def _generator(philox: np.random.Philox, keys: np.ndarray, stream: int) -> Callable[[int, int], np.ndarray]:
    """A function of image and count: the first `count` words of the image's sub-stream, uint64 [count].

    numpy's compiled generator is 30 times faster than tensor arithmetic on a CPU. It is set anew for every image, so
    that one, which takes longer to make than a small image's words, serves all.
    """
    counter = np.array([0, stream, 0, 0], dtype=np.uint64)
    state = philox.state

    def words(image: int, count: int) -> np.ndarray:
        state["state"] = {"counter": counter, "key": keys[image]}
        state["buffer_pos"] = 4
        philox.state = state
        return np.asarray(philox.random_raw(count), dtype=np.uint64)

    return words


def philox_words(keys: Tensor, stream: int, count: int) -> Tensor:
    """Philox words by tensor arithmetic, the same bits as numpy's generator: int64 [N, count] on the keys' device.

    Args:
        keys: int64 bit patterns [N, 2].
        stream: second word of the counter.
        count: words an image.
    """
    blocks = -(-count // 4)
    # numpy steps the counter before it makes a block, hence blocks are numbered from 1.
    counter = torch.arange(1, blocks + 1, dtype=torch.int64, device=keys.device).expand(len(keys), blocks)
    x0, x1 = counter, torch.full_like(counter, stream)
    x2 = torch.zeros_like(counter)
    x3 = x2
    k0, k1 = keys[:, :1], keys[:, 1:]
    for turn in range(_ROUNDS):
        if turn:
            k0, k1 = k0 + _signed(_WEYL[0]), k1 + _signed(_WEYL[1])
        high0, low0 = _multiply(_MULTIPLIERS[0], x0)
        high1, low1 = _multiply(_MULTIPLIERS[1], x2)
        x0, x1, x2, x3 = high1 ^ x1 ^ k0, low1, high0 ^ x3 ^ k1, low0
    return torch.stack([x0, x1, x2, x3], dim=-1).reshape(len(keys), -1)[:, :count].contiguous()


def _signed(value: int) -> int:
    """An unsigned 64-bit constant as the signed one with the same bits."""
    return value - (1 << 64) if value >> 63 else value


def _multiply(constant: int, value: Tensor) -> tuple[Tensor, Tensor]:
    """High and low 64 bits of the unsigned product, from signed 64-bit arithmetic that wraps around."""
    a_low, a_high = constant & _MASK_32, constant >> 32
    b_low, b_high = value & _MASK_32, (value >> 32) & _MASK_32
    middle = ((a_low * b_low) >> 32 & _MASK_32) + a_low * b_high
    cross = (middle & _MASK_32) + a_high * b_low
    high = a_high * b_high + (middle >> 32 & _MASK_32) + (cross >> 32 & _MASK_32)
    return high, value * _signed(constant)
