"""ImageNet-P: sequences of frames in which a perturbation grows or moves a little from frame to frame.

Source: Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
ICLR 2019, section 4.2, and the generator scripts in hendrycks/robustness, `ImageNet-P/create_p`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import torch
from torch import Tensor

from corruptions.api import MINIMUM, as_batch, check_ids, check_integer, check_seed, choose_table
from corruptions.errors import CorruptionError
from corruptions.layout import Pixels, channels_last
from corruptions.randomness import Draws, RandomSource
from corruptions.registry import find_sequence, frame_count
from corruptions.sequences.warps import centre_window, shown

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
        name: one of `PERTURBATIONS` (benchmark), `EXTRA_PERTURBATIONS` (validation), or a plug-in's
            (`SEQUENCES` has all).
        difficulty: 1, 2 or 3. A noise sequence has its own parameter for each. For every other sequence difficulty is
            the stride at which a metric compares frames, so the frames are the same at 1, 2 and 3.
        seed: any whole number.
        ids: one str or int an image; 0..N-1 unless given.
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

    >>> import numpy as np
    >>> frames = perturb(np.full((64, 64, 3), 128, np.uint8), "brightness", seed=1)
    >>> frames.shape, frames[0, 0, 0, 0], frames[15, 0, 0, 0], frames[30, 0, 0, 0]
    ((31, 64, 64, 3), np.uint8(51), np.uint8(128), np.uint8(204))
    """
    noise = find_sequence(name).noise
    difficulty = check_integer(difficulty, "difficulty")
    if difficulty not in DIFFICULTIES:
        raise CorruptionError(f"difficulty {difficulty} does not exist: difficulties are 1, 2 and 3.")
    batch = as_batch(images)
    height, width = _frame_size(batch, crop)
    size = choose_table(height, width, table, "imagenet-c")
    names = check_ids(ids, len(batch))
    result = torch.empty(
        (len(batch), frame_count(name, size), 3, height, width), dtype=torch.uint8, device=batch.device
    )
    draws = Draws(check_seed(seed), name, difficulty if noise else 1, names, batch.device)
    if len(batch):
        for i, frame in enumerate(frames(batch, name, size, draws, difficulty=difficulty, crop=crop)):
            result[:, i] = frame
    if isinstance(images, Tensor):
        return result
    arrays = channels_last(result)
    return arrays if images.ndim == 4 else arrays[0]


def frames(
    images: Tensor, name: str, table: int, draws: RandomSource, *, difficulty: int = 1, crop: int | None = None
) -> Iterator[Tensor]:
    """The frames of a sequence, in order, each uint8 [N, 3, h, w]; one frame of the batch in memory at a time.

    Args:
        images: uint8 [N, 3, H, W], the base images.
        name: of the perturbation.
        table: 32, 64, 224 or 299.
        draws: randomness of these images.
        difficulty: 1..3; parameter of the noise sequences, of no effect on the others.
        crop: side of the centre window that the frames show; the whole image without one.
    """
    entry, count = find_sequence(name), frame_count(name, table)
    parameters = entry.rows[table][difficulty - 1] if entry.noise else entry.rows[table]
    window = centre_window(images.shape[-2], images.shape[-1], crop)
    if entry.whole_image:
        return entry.frames(images, draws, parameters, count, window=window)
    return entry.frames(shown(images, window).contiguous(), draws, parameters, count)


def _frame_size(batch: Tensor, crop: int | None) -> tuple[int, int]:
    height, width = batch.shape[-2:]
    if crop is None:
        return height, width
    crop = check_integer(crop, "crop")
    if not MINIMUM <= crop <= min(height, width):
        raise CorruptionError(
            f"crop {crop} does not fit images of {height}x{width} pixels: choose {MINIMUM}..{min(height, width)}."
        )
    return crop, crop
