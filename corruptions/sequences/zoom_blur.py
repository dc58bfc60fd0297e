"""Zoom blur that grows: the mean of more and more enlargements. Rows: zoom between frames.

Source: Hendrycks and Dietterich, ICLR 2019, section 4.2, and the four generator scripts (see `corruptions.sequences`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from corruptions.channel import without_fraction
from corruptions.opencv import cv2
from corruptions.randomness import RandomSource
from corruptions.registry import perturbation
from corruptions.sequences.warps import Window, affine_frames, inverse_affine, shown


@perturbation("zoom_blur", category="blur", rows=0.004)
def zoom_blur(images: Tensor, draws: RandomSource, step: float, count: int, *, window: Window) -> Iterator[Tensor]:
    """Frame i is the mean of the zooms by 1 + step j, j = 0..i, of the base image; frame 0 is clean.

    The running sum is float32 in the order of the frames, as the reference keeps it, so that flat areas fall on the
    same side of a level.
    """
    height, width = images.shape[-2:]
    matrices = [inverse_affine(height, width, scale=1 + step * j) for j in range(1, count)]
    clean = shown(images, window)
    yield clean
    frames = affine_frames(images, matrices, window)
    if images.device.type == "cpu":
        yield from _means_on_cpu(clean, frames)
        return
    # divisors as tensors: CUDA would multiply by the reciprocal of a Python number and round otherwise
    counts = torch.arange(2.0, 2.0 + len(matrices), device=images.device)
    full = torch.full((1,), 255.0, device=images.device)
    total = clean / full
    for number, frame in zip(counts, frames, strict=True):
        total += frame / full
        yield without_fraction(total / number.view(1) * 255)


def _means_on_cpu(clean: Tensor, frames: Iterator[Tensor]) -> Iterator[Tensor]:
    """The running means, uint8 [N, 3, h, w] each, plane by plane in the caches."""
    shape = clean.shape[-2:]
    unit = np.arange(256, dtype=np.float32) / np.float32(255)
    totals = [unit[plane] for plane in clean.reshape(-1, *shape).numpy()]
    part = np.empty(shape, dtype=np.float32)
    for number, frame in enumerate(frames, start=2):
        result = np.empty(clean.shape, dtype=np.uint8)
        planes = frame.reshape(-1, *shape).numpy(), result.reshape(-1, *shape)
        for plane, target, total in zip(*planes, totals, strict=True):
            cv2.LUT(plane, unit, part)
            total += part
            np.divide(total, np.float32(number), out=part)
            part *= np.float32(255)
            np.copyto(target, part, casting="unsafe")
        yield torch.from_numpy(result)
