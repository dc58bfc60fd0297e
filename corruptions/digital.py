"""Digital damage: pixelation and JPEG compression.

Shapes: N images, H x W pixels; images are uint8 [N, 3, H, W].
Source: Hendrycks and Dietterich, ICLR 2019, section 4.1 and `make_imagenet_c.py`.
"""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from corruptions.randomness import Source


@lru_cache(maxsize=64)
def _box_windows(source: int, target: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """First sample and number of samples of each target of Pillow's box resize: int64 [target] each."""
    scale = source / target
    support = 0.5 * max(scale, 1.0)
    centres = (np.arange(target) + 0.5) * scale
    first = np.maximum((centres - support + 0.5).astype(np.int64), 0)
    last = np.minimum((centres + support + 0.5).astype(np.int64), source)
    # Pillow leaves out a sample whose centre lies on the open side of the box: it counts -0.5 < offset <= 0.5.
    positions = np.arange(source)
    offset = (positions[None, :] - centres[:, None] + 0.5) / max(scale, 1.0)
    counted = (offset > -0.5) & (offset <= 0.5) & (positions >= first[:, None]) & (positions < last[:, None])
    start = counted.argmax(1)
    number = counted.sum(1)
    return torch.from_numpy(start).to(device), torch.from_numpy(number).to(device)


def _box(values: Tensor, target: int, dim: int) -> Tensor:
    """Pillow's box resize of integers along one axis, rounded to whole levels."""
    start, number = _box_windows(values.shape[dim], target, values.device)
    total = values.index_select(dim, start)
    for k in range(1, int(number.max())):
        inside = (k < number).to(values.dtype)
        shape = [1] * values.ndim
        shape[dim] = -1
        total += values.index_select(dim, (start + k).clamp_(max=values.shape[dim] - 1)) * inside.view(shape)
    shape = [1] * values.ndim
    shape[dim] = -1
    count = number.to(values.dtype).view(shape)
    return torch.div(2 * total + count, 2 * count, rounding_mode="floor")


def pixelate(images: Tensor, draws: Source, scale: float, *, variant: str = "imagenet-c") -> Tensor:
    """Box shrinking to int(scale side), each pass rounded to 8 bits, and box (imagecorruptions: nearest) enlarging."""
    height, width = images.shape[-2:]
    small = _box(images.to(torch.int32), int(width * scale), 3)
    small = _box(small, int(height * scale), 2)
    if variant == "imagecorruptions":
        across = _nearest(int(width * scale), width, images.device)
        down = _nearest(int(height * scale), height, images.device)
        large = small.to(torch.uint8).index_select(2, down).index_select(3, across)
    else:
        large = _box(_box(small, width, 3), height, 2).to(torch.uint8)
    return large


@lru_cache(maxsize=64)
def _nearest(source: int, target: int, device: torch.device) -> Tensor:
    """Which sample Pillow's nearest-neighbour resize takes: int64 [target]."""
    step = source / target
    # Pillow adds the step from sample to sample, which decides where a place falls on a whole number.
    places = np.add.accumulate(np.concatenate([[0.5 * step], np.full(target - 1, step)])).astype(np.int64)
    return torch.from_numpy(np.minimum(places, source - 1)).to(device)


def jpeg_compression(images: Tensor, draws: Source, quality: int) -> Tensor:
    """Encode and decode as baseline JPEG with Pillow's defaults (4:2:0, standard tables).

    The result is what libjpeg computes, so libjpeg does it, image by image.
    """
    arrays = images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    result = np.empty_like(arrays)
    for source, target in zip(arrays, result, strict=True):
        stream = io.BytesIO()
        Image.fromarray(source).save(stream, "JPEG", quality=quality)
        target[:] = np.asarray(Image.open(stream))
    return torch.from_numpy(result).permute(0, 3, 1, 2).contiguous().to(images.device)
