"""Pixelation: shrunk and enlarged again. Rows: the side of the small image as a fraction.

Shapes: N images, H x W pixels; images are uint8 [N, 3, H, W].
Source: Hendrycks and Dietterich, ICLR 2019, section 4.1 and `make_imagenet_c.py`.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

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
)
def pixelate(images: Tensor, draws: RandomSource, scale: float, *, variant: str = "imagenet-c") -> Tensor:
    """Box shrinking to int(scale side), each pass rounded to 8 bits, and box (imagecorruptions: nearest) enlarging."""
    height, width = images.shape[-2:]
    rows, columns = int(height * scale), int(width * scale)
    on_cpu = images.device.type == "cpu"
    small = _shrunk_on_cpu(images, rows, columns) if on_cpu else _box(_box(images.float(), columns, 3), rows, 2)
    if variant == "imagecorruptions":
        down, across = _nearest(rows, height, images.device), _nearest(columns, width, images.device)
    else:
        (down, *more_down), (across, *more_across) = (
            _box_windows(source, target, images.device)[:-1] for source, target in ((rows, height), (columns, width))
        )
        if more_down or more_across:  # some results are the mean of two samples
            return _box(_box(small.float(), width, 3), height, 2).to(torch.uint8)
    small = small.to(torch.uint8)
    if not on_cpu:
        return small.index_select(3, across).index_select(2, down)
    # numpy picks columns faster than torch, and whole rows are copied as they lie
    wide = torch.from_numpy(np.take(small.numpy(), across.numpy(), axis=3))
    return wide.view(-1, rows, width).index_select(1, down).view(images.shape)


def _shrunk_on_cpu(images: Tensor, rows: int, columns: int) -> Tensor:
    """Pillow's own box resize of every image: uint8 [N, 3, rows, columns]."""
    result = np.empty((len(images), 3, rows, columns), dtype=np.uint8)
    for source, target in zip(images.numpy(), result, strict=True):
        picture = Image.fromarray(cv2.merge(source)).resize((columns, rows), Image.Resampling.BOX)
        cv2.split(np.asarray(picture), list(target))
    return torch.from_numpy(result)


@lru_cache(maxsize=64)
def _nearest(source: int, target: int, device: torch.device) -> Tensor:
    """Which sample Pillow's nearest-neighbour resize takes: int64 [target]."""
    step = source / target
    # Pillow adds the step from sample to sample, which decides where a place falls on a whole number.
    places = np.add.accumulate(np.concatenate([[0.5 * step], np.full(target - 1, step)])).astype(np.int64)
    return torch.from_numpy(np.minimum(places, source - 1)).to(device)
