"""Where a mask is true: flat positions, found faster than by numpy or torch alone where few are."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def few(mask: np.ndarray) -> np.ndarray:
    """Positions of the true values of a flat mask, int64: several times faster than numpy alone where some are true.

    >>> few(np.arange(100) % 30 == 7)
    array([ 7, 37, 67, 97])
    """
    whole = len(mask) // 8 * 8
    words = mask[:whole].view(np.uint64)
    (blocks,) = (words != 0).nonzero()  # eight values at a time
    (inside,) = words[blocks].view(np.bool_).nonzero()
    blocks <<= 3
    places = blocks.take(inside >> 3)
    inside &= 7
    places += inside
    if whole == len(mask):
        return np.asarray(places)
    return np.concatenate([places, whole + np.flatnonzero(mask[whole:])])


def differing(one: Tensor, other: Tensor) -> Tensor:
    """Flat positions where two tensors differ, int64."""
    if one.device.type == "cpu":
        return torch.from_numpy(few((one.numpy() != other.numpy()).ravel()))
    return positions(one != other)


def negative(values: Tensor) -> Tensor:
    """Flat positions of the values below zero, int64; numpy compares 16-bit numbers eight times faster than torch."""
    if values.device.type == "cpu":
        return torch.from_numpy(few((values.numpy() < 0).ravel()))
    return positions(values < 0)


def positions(mask: Tensor) -> Tensor:
    """Flat positions of the true values of a boolean tensor, int64; numpy finds sparse ones much faster on a CPU."""
    if mask.device.type == "cpu":
        return torch.from_numpy(few(mask.numpy().ravel()))
    return mask.view(-1).nonzero().view(-1)
