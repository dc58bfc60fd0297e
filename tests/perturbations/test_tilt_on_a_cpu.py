"""Tilt by OpenCV's fixed-point remap is the tensor arithmetic of an accelerator."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from corruptions.sequences.warps import as_images, centre_window, pixel_rows, tilt_frames, warp_tilt


@pytest.mark.parametrize("degrees", [-15.0, -3.0, 0.0, 7.5, 60.0])
@pytest.mark.parametrize(("height", "width", "crop"), [(64, 64, None), (96, 80, 64)])
def test_tilt_on_a_cpu_gives_the_bytes_of_the_tensor_path(degrees, height, width, crop):
    images = torch.from_numpy(np.random.RandomState(0).randint(0, 256, (2, 3, height, width)).astype(np.uint8))
    window = centre_window(height, width, crop)
    rows = pixel_rows(torch.nn.functional.pad(images, (1, 1, 1, 1)))
    expected = as_images(warp_tilt(rows, height, width, degrees, window), images, window)
    assert torch.equal(next(tilt_frames(images, [degrees], window)), expected)
