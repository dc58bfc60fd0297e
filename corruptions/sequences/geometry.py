"""translate, rotate, scale, shear, tilt and zoom_blur: one warp a frame, shared by all images of the batch.

Shapes: N images, C channels, H x W pixels; `images` is uint8 [N, C, H, W].
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from corruptions.sequences.tables import SequenceTable
from corruptions.sequences.warps import (
    Matrix,
    Window,
    affine_taps,
    as_images,
    inverse_affine,
    pixel_rows,
    shown,
    warp_affine,
    warp_tilt,
)


def affine_frames(images: Tensor, matrices: list[Matrix], window: Window) -> Iterator[Tensor]:
    """One bilinear affine frame a matrix."""
    height, width = images.shape[-2:]
    rows = pixel_rows(images)
    for matrix in matrices:
        yield as_images(warp_affine(rows, affine_taps(matrix, height, width, window, images.device)), images, window)


def rotate(images: Tensor, table: SequenceTable, window: Window) -> Iterator[Tensor]:
    """Frame i turns by i - 15 degrees, bilinear, black outside; frame 15 is clean."""
    height, width = images.shape[-2:]
    matrices = [inverse_affine(height, width, angle=i - 15) for i in range(table.count("rotate"))]
    return affine_frames(images, matrices, window)


def scale(images: Tensor, table: SequenceTable, window: Window) -> Iterator[Tensor]:
    """Frame i is scaled by (step i + start) / 100, bilinear, black outside; the frame of factor 1 is clean."""
    height, width = images.shape[-2:]
    step, start = table.scale
    factors = [(i * step + start) / 100.0 for i in range(table.count("scale"))]
    return affine_frames(images, [inverse_affine(height, width, scale=factor) for factor in factors], window)


def shear(images: Tensor, table: SequenceTable, window: Window) -> Iterator[Tensor]:
    """Frame i is sheared by i - 15 degrees, bilinear, black outside; frame 15 is clean."""
    height, width = images.shape[-2:]
    matrices = [inverse_affine(height, width, shear=i - 15) for i in range(table.count("shear"))]
    return affine_frames(images, matrices, window)


def tilt(images: Tensor, table: SequenceTable, window: Window) -> Iterator[Tensor]:
    """Frame i is tilted by (i - 15) tilt_step degrees about both axes; black outside."""
    height, width = images.shape[-2:]
    rows = pixel_rows(torch.nn.functional.pad(images, (1, 1, 1, 1)))
    for i in range(table.count("tilt")):
        yield as_images(warp_tilt(rows, height, width, table.tilt_step * (i - 15), window), images, window)


def translate(images: Tensor, table: SequenceTable, window: Window) -> Iterator[Tensor]:
    """Frame i is shifted right by i - origin pixels; black comes in from the side."""
    width = images.shape[-1]
    for i in range(table.count("translate")):
        shift = i - table.translate_origin
        moved = torch.zeros_like(images)
        if shift >= 0:
            moved[..., shift:] = images[..., : width - shift]
        else:
            moved[..., :shift] = images[..., -shift:]
        yield shown(moved, window)


def zoom_blur(images: Tensor, table: SequenceTable, window: Window) -> Iterator[Tensor]:
    """Frame i is the mean of the zooms by 1 + zoom_step j, j = 0..i, of the base image; frame 0 is clean.

    The running sum is float32 in the order of the frames, as the reference keeps it, so that flat areas fall on the
    same side of a level.
    """
    height, width = images.shape[-2:]
    matrices = [
        inverse_affine(height, width, scale=1 + table.zoom_step * j) for j in range(1, table.count("zoom_blur"))
    ]
    clean = shown(images, window)
    yield clean
    # divisors as tensors: CUDA would multiply by the reciprocal of a Python number and round otherwise
    counts = torch.arange(2.0, 2.0 + len(matrices), device=images.device)
    full = torch.full((1,), 255.0, device=images.device)
    total = clean / full
    for count, frame in zip(counts, affine_frames(images, matrices, window), strict=True):
        total += frame / full
        yield (total / count.view(1) * 255).to(torch.uint8)
