"""Affine frames by OpenCV's remap are the tensor arithmetic of an accelerator, which takes Pillow's steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import data

from corruptions.sequences import remap, warps, zoom_blur
from corruptions.sequences.warps import affine_frames, affine_taps, as_images, inverse_affine, pixel_rows, warp_affine

MOTIONS = {
    "turned": {"angle": -7.0},
    "a quarter": {"angle": 90.0},
    "sheared": {"shear": 11.0},
    "whole levels": {"scale": 0.5},
    "whole quarters": {"scale": 0.4},
    "fifths": {"scale": 0.625},
    "larger": {"scale": 1.15},
    "as it is": {},
    "out of sight": {"shift": 500.0},
}


def photographs(count: int, height: int, width: int) -> torch.Tensor:
    """Photographs with black and white areas, and noise of few levels: uint8 [count, 3, height, width]."""
    crops = [data.astronaut()[:height, 180 : 180 + width], data.coffee()[60 : 60 + height, 100 : 100 + width]]
    crops.append(np.random.RandomState(0).choice(np.array([0, 100, 255], np.uint8), (height, width, 3)))
    return torch.from_numpy(np.stack(crops[:count])).permute(0, 3, 1, 2).contiguous()


def by_tensors(images: torch.Tensor, matrix: warps.Matrix, window: warps.Window) -> torch.Tensor:
    taps = affine_taps(matrix, *images.shape[-2:], window, images.device)
    return as_images(warp_affine(pixel_rows(images), taps), images, window)


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize(("count", "height", "width", "crop"), [(3, 96, 80, 64), (1, 64, 64, None), (2, 33, 71, None)])
def test_affine_frames_on_a_cpu_give_the_bytes_of_the_tensor_path(motion, count, height, width, crop):
    if not remap.interpolates_exactly():
        pytest.skip("this OpenCV rounds positions: the tensor path serves the CPU too")
    images = photographs(count, height, width)
    window = warps.centre_window(height, width, crop)
    matrix = inverse_affine(height, width, **MOTIONS[motion])
    found = next(affine_frames(images, [matrix], window))
    assert torch.equal(found, by_tensors(images, matrix, window))


def test_an_opencv_that_rounds_positions_is_left_alone(monkeypatch):
    monkeypatch.setattr(warps, "interpolates_exactly", lambda: False)
    monkeypatch.setattr(warps, "_affine_frames_on_cpu", None)
    images, window = photographs(2, 64, 64), (0, 0, 64, 64)
    matrix = inverse_affine(64, 64, angle=3.0)
    assert torch.equal(next(affine_frames(images, [matrix], window)), by_tensors(images, matrix, window))


def test_running_means_plane_by_plane_are_those_of_the_batch():
    frames = [photographs(2, 40, 48).roll(shift, -1) for shift in range(4)]
    total = frames[0] / 255.0
    means = zoom_blur._means_on_cpu(frames[0], iter(frames[1:]))
    for number, (frame, found) in enumerate(zip(frames[1:], means, strict=True), start=2):
        total += frame / torch.tensor(255.0)
        assert torch.equal(found, (total / torch.tensor(float(number)) * 255).to(torch.uint8))
