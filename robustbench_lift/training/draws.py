"""Random numbers of training as a function of (seed, epoch, sample, stream): no state, so nothing to restore.

A hash of integers (the finaliser of SplitMix64; Steele, Lea, Flood, OOPSLA 2014) is computed on the device where the
images live; integer arithmetic wraps alike everywhere, so CPU and CUDA draw the same crops.
"""

from __future__ import annotations

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
_ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
"""Shift and multiplier of each round of the finaliser."""
_LAST_SHIFT = 31


def key(*parts: int) -> int:
    """One 64-bit number from several integers; another order or another count gives another number.

    >>> key(0, 1) == key(1, 0), key(3) == key(3)
    (False, True)
    """
    value = len(parts)
    for part in parts:
        value = _mix((value + (part & _MASK) + _GOLDEN) & _MASK)
    return value


def _mix(value: int) -> int:
    for shift, multiplier in _ROUNDS:
        value = ((value ^ (value >> shift)) * multiplier) & _MASK
    return value ^ (value >> _LAST_SHIFT)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _shift_right(values: Tensor, shift: int) -> Tensor:
    return (values >> shift) & ((1 << (64 - shift)) - 1)  # int64 shifts keep the sign; a hash needs zeros


def uniform(indices: Tensor, *, seed: int, epoch: int, stream: int) -> Tensor:
    """One number in [0, 1) for each sample.

    Args:
        indices: int64 [n], sample numbers, on any device.
        seed: seed of the training.
        epoch: 0-based epoch.
        stream: which draw of the sample this is.

    Returns:
        float64 [n] on the device of `indices`, 53 random bits.

    Example:
        >>> some = uniform(torch.tensor([4, 7, 4]), seed=0, epoch=2, stream=0)
        >>> bool(some[0] == some[2]), bool(some[0] == some[1])
        (True, False)
    """
    values = indices * _signed(_GOLDEN) + _signed(key(seed, epoch, stream))
    for shift, multiplier in _ROUNDS:
        values = (values ^ _shift_right(values, shift)) * _signed(multiplier)
    values = values ^ _shift_right(values, _LAST_SHIFT)
    return _shift_right(values, 11).to(torch.float64) * 2.0**-53


def integers(indices: Tensor, high: int | Tensor, *, seed: int, epoch: int, stream: int) -> Tensor:
    """One integer in [0, high) for each sample; `high` is one number or int64 [n].

    >>> drawn = integers(torch.arange(1000), 9, seed=0, epoch=0, stream=0)
    >>> int(drawn.min()), int(drawn.max())
    (0, 8)
    """
    return (uniform(indices, seed=seed, epoch=epoch, stream=stream) * high).to(torch.int64)


def generator(*parts: int) -> torch.Generator:
    """A CPU generator for these integers, where a permutation or a beta variate is needed."""
    return torch.Generator().manual_seed(key(*parts) >> 1)
