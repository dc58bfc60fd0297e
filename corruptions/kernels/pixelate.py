"""Pixelation: shrunk and enlarged again. Rows: the side of the small image as a fraction.

Shapes: N images, H x W pixels; images are uint8 [N, 3, H, W].
Source: Hendrycks and Dietterich, ICLR 2019, section 4.1 and `make_imagenet_c.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from corruptions.opencv import cv2
from corruptions.randomness import RandomSource
from corruptions.registry import corruption


@lru_cache(maxsize=64)
def _box_windows(source: int, target: int, device: torch.device) -> tuple[Tensor, ...]:
    """For each k, the k-th sample of every target of Pillow's box resize, int64 [target]; then 1 / count, float32.

    Targets with fewer samples than others point to the zero that follows the samples.
    """
    scale = max(source / target, 1.0)
    centres = (np.arange(target) + 0.5) * (source / target)
    # Pillow counts the samples with -0.5 < offset / scale <= 0.5 within its rounded support.
    samples = np.arange(source)[None, :]
    first = np.maximum((centres - 0.5 * scale + 0.5).astype(np.int64), 0)[:, None]
    last = np.minimum((centres + 0.5 * scale + 0.5).astype(np.int64), source)[:, None]
    offset = (samples - centres[:, None] + 0.5) / scale
    counted = (offset > -0.5) & (offset <= 0.5) & (samples >= first) & (samples < last)
    start, number = counted.argmax(1), counted.sum(1)
    picks = [np.where(k < number, start + k, source) for k in range(number.max())]
    return tuple(torch.from_numpy(part).to(device) for part in (*picks, (1.0 / number).astype(np.float32)))


def _box(values: Tensor, target: int, dim: int) -> Tensor:
    """Pillow's box resize of whole float32 numbers along axis 2 or 3, rounded to whole numbers."""
    *picks, share = _box_windows(values.shape[dim], target, values.device)
    if len(picks) == 1:
        return values.index_select(dim, picks[0])
    values = functional.pad(values, (0, 1) if dim == 3 else (0, 0, 0, 1))
    total = values.index_select(dim, picks[0])
    for pick in picks[1:]:
        total += values.index_select(dim, pick)
    # Sums of at most 25 levels and halves are exact in float32, and other fractions stay clear of a half.
    return total.mul_(share if dim == 3 else share.view(-1, 1)).add_(0.5).floor_()


@corruption(
    "pixelate",
    category="digital",
    rows={
        224: (0.6, 0.5, 0.4, 0.3, 0.25),
        299: (0.5, 0.4, 0.3, 0.25, 0.2),
        64: (0.9, 0.8, 0.7, 0.6, 0.5),
        32: (0.95, 0.9, 0.85, 0.75, 0.65),
    },
    piece=4,
)
def pixelate(images: Tensor, draws: RandomSource, scale: float, *, variant: str = "imagenet-c") -> Tensor:
    """Box shrinking to int(scale side), each pass rounded to 8 bits, and box (imagecorruptions: nearest) enlarging."""
    height, width = images.shape[-2:]
    rows, columns = int(height * scale), int(width * scale)
    if images.device.type == "cpu":
        return _on_cpu(images, rows, columns, nearest=variant == "imagecorruptions")
    small = _box(_box(images.float(), columns, 3), rows, 2)
    if variant == "imagecorruptions":
        down, across = _nearest(rows, height, images.device), _nearest(columns, width, images.device)
    else:
        (down, *more_down), (across, *more_across) = (
            _box_windows(source, target, images.device)[:-1] for source, target in ((rows, height), (columns, width))
        )
        if more_down or more_across:  # some results are the mean of two samples
            return _box(_box(small, width, 3), height, 2).to(torch.uint8)
    return small.to(torch.uint8).index_select(3, across).index_select(2, down)


def _on_cpu(images: Tensor, rows: int, columns: int, *, nearest: bool) -> Tensor:
    """`pixelate` on whole rows of numpy: the columns' turn comes on the transposed images, where a sample is a row."""
    height, width = images.shape[-2:]
    cpu = images.device
    across = cv2.transpose(images.contiguous().view(-1, width).numpy())  # [W, 3 N H]
    small = cv2.transpose(_box_rows(across[None], columns)[0])
    small = _box_rows(small.reshape(-1, height, columns), rows)
    wide = cv2.transpose(small.reshape(-1, columns))[None]  # [1, columns, 3 N rows]
    wide = wide.take(_nearest(columns, width, cpu).numpy(), axis=1) if nearest else _box_rows(wide, width)
    wide = cv2.transpose(wide[0]).reshape(-1, rows, width)
    tall = wide.take(_nearest(rows, height, cpu).numpy(), axis=1) if nearest else _box_rows(wide, height)
    return torch.from_numpy(tall).view(images.shape)


def _box_rows(values: np.ndarray, target: int) -> np.ndarray:
    """Pillow's box resize of uint8 [P, S, M] along the second axis: uint8 [P, target, M]."""
    size = values.shape[1]
    *picks, share = (part.numpy() for part in _box_windows(size, target, torch.device("cpu")))
    if len(picks) == 1:
        return values.take(picks[0], axis=1)
    step, rest = divmod(size, target)
    parts: Iterable[np.ndarray]
    if rest == 0:  # windows lie side by side
        parts = (values[:, k::step] for k in range(step))
    elif len(picks) == 2:  # the mean of one sample is that of it and itself
        parts = (values.take(pick, axis=1) for pick in (picks[0], np.where(picks[1] < size, picks[1], picks[0])))
    else:
        wide = np.concatenate([values, np.zeros_like(values[:, :1])], axis=1)
        parts = (wide.take(pick, axis=1) for pick in picks)
    if len(picks) == 2:
        first, second = parts
        # (a + b + 1) / 2 without its fraction, in 8 bits
        mean = first ^ second
        mean >>= 1
        return np.asarray((first | second) - mean)
    total = np.zeros((len(values), target, values.shape[2]), dtype=np.uint16)
    for part in parts:
        total += part
    means = total.astype(np.float32)
    means *= share[:, None]
    means += np.float32(0.5)
    return means.astype(np.uint8)


@lru_cache(maxsize=64)
def _nearest(source: int, target: int, device: torch.device) -> Tensor:
    """Which sample Pillow's nearest-neighbour resize takes: int64 [target]."""
    step = source / target
    # Pillow adds the step from sample to sample, which decides where a place falls on a whole number.
    places = np.add.accumulate(np.concatenate([[0.5 * step], np.full(target - 1, step)])).astype(np.int64)
    return torch.from_numpy(np.minimum(places, source - 1)).to(device)
