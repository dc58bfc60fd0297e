"""ImageNet-P: sequences of frames in which a perturbation grows or moves a little from frame to frame.

Source: Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
ICLR 2019, section 4.2, and the generator scripts in hendrycks/robustness, `ImageNet-P/create_p`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from corruptions.api import MINIMUM, as_batch, check_ids, check_seed, choose_table
from corruptions.errors import CorruptionError, unknown
from corruptions.randomness import Draws
from corruptions.sequences import EXTRA_PERTURBATIONS, NOISE, PERTURBATIONS, TABLES, frames

__all__ = ["DIFFICULTIES", "EXTRA_PERTURBATIONS", "NOISE", "PERTURBATIONS", "frame_count", "perturb"]

Pixels = npt.NDArray[np.uint8]

DIFFICULTIES: tuple[int, ...] = (1, 2, 3)
"""Noise sequences get stronger; for the others a difficulty is the stride between the frames that are compared."""


@overload
def perturb(
    images: Tensor,
    name: str,
    *,
    difficulty: int = 1,
    seed: int = 0,
    ids: Sequence[str | int] | str | int | None = None,
    table: int | str | None = None,
    crop: int | None = None,
) -> Tensor: ...
@overload
def perturb(
    images: Pixels,
    name: str,
    *,
    difficulty: int = 1,
    seed: int = 0,
    ids: Sequence[str | int] | str | int | None = None,
    table: int | str | None = None,
    crop: int | None = None,
) -> Pixels: ...
def perturb(
    images: Tensor | Pixels,
    name: str,
    *,
    difficulty: int = 1,
    seed: int = 0,
    ids: Sequence[str | int] | str | int | None = None,
    table: int | str | None = None,
    crop: int | None = None,
) -> Tensor | Pixels:
    """Turn each image into a perturbation sequence.

    Randomness comes from (seed, name, difficulty, id) alone: results do not depend on batches, order or device.

    Args:
        images: uint8, RGB, at least 32 pixels a side: torch [N, 3, H, W] on any device, or numpy [N, H, W, 3] or
            [H, W, 3].
        name: one of `PERTURBATIONS` (benchmark) or `EXTRA_PERTURBATIONS` (validation).
        difficulty: 1, 2 or 3. A noise sequence has its own parameter for each. For every other sequence difficulty is
            the stride at which a metric compares frames, so the frames are the same at 1, 2 and 3.
        seed: any whole number.
        ids: one str or int an image; 0..N-1 unless told.
        table: parameters of 32 (CIFAR-10-P), 64 (Tiny-ImageNet-P), 224 or 299 pixels, or "nearest" to the shorter side
            of the frames. Without it the frames must have one of these sizes.
        crop: side of the centre crop that the frames show, for base images with a margin: ImageNet-P warps 256-pixel
            images and shows 224. Without it the whole image is shown and warps bring in black at once.

    Returns:
        uint8 frames, same kind and device: torch [N, T, 3, h, w], numpy [N, T, h, w, 3], or [T, h, w, 3] for one image.
        T is 31, save translate at 224 and 299 pixels (41), and motion_blur (21) and translate (16) at 32 pixels.

    Raises:
        CorruptionError: an unknown name, difficulty or table, images of another type, shape or size, or a number of
            ids other than N.

    >>> frames = perturb(np.full((64, 64, 3), 128, np.uint8), "brightness", seed=1)
    >>> frames.shape, frames[0, 0, 0, 0], frames[15, 0, 0, 0], frames[30, 0, 0, 0]
    ((31, 64, 64, 3), np.uint8(51), np.uint8(128), np.uint8(204))
    """
    known = (*PERTURBATIONS, *EXTRA_PERTURBATIONS)
    if name not in known:
        raise unknown("perturbation", name, known)
    if difficulty not in DIFFICULTIES:
        raise CorruptionError(f"difficulty {difficulty} does not exist: difficulties are 1, 2 and 3.")
    batch = as_batch(images)
    height, width = _frame_size(batch, crop)
    parameters = TABLES[choose_table(height, width, table, "imagenet-c")]
    names = check_ids(ids, len(batch))
    count = parameters.count(name)
    result = torch.empty((len(batch), count, 3, height, width), dtype=torch.uint8, device=batch.device)
    draws = Draws(check_seed(seed), name, difficulty if name in NOISE else 1, names, batch.device)
    if len(batch):
        for i, frame in enumerate(frames(batch, name, parameters, draws, difficulty=difficulty, crop=crop)):
            result[:, i] = frame
    if isinstance(images, Tensor):
        return result
    channels_last: Pixels = np.ascontiguousarray(result.movedim(2, -1).numpy())
    return channels_last if images.ndim == 4 else channels_last[0]


def frame_count(name: str, table: int) -> int:
    """Frames of a sequence.

    Args:
        name: one of the 14.
        table: 32, 64, 224 or 299.

    >>> frame_count("translate", 224), frame_count("translate", 64), frame_count("tilt", 32)
    (41, 31, 31)
    """
    return TABLES[table].count(name)


def _frame_size(batch: Tensor, crop: int | None) -> tuple[int, int]:
    height, width = batch.shape[-2:]
    if crop is None:
        return height, width
    if not MINIMUM <= crop <= min(height, width):
        raise CorruptionError(
            f"crop {crop} does not fit images of {height}x{width} pixels: choose {MINIMUM}..{min(height, width)}."
        )
    return crop, crop
