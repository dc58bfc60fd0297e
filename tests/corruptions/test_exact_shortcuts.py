"""Kernels that take a quicker way on a CPU give the bytes of the plain one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import data

from corruptions.kernels import defocus_blur, pixelate
from corruptions.motion import IMAGEMAGICK_LIFT, move, moved_levels


def planes() -> np.ndarray:
    """A photograph, noise, one level, black but for a spot, and a checkerboard: uint8 [5, 96, 80]."""
    photograph = data.camera()[100:196, 200:280]
    noise = np.random.RandomState(0).randint(0, 256, photograph.shape).astype(np.uint8)
    flat = np.full_like(photograph, 255)
    spot = np.zeros_like(photograph)
    spot[40:44, 30:37] = 200
    board = (np.indices(photograph.shape).sum(0) % 2 * 90).astype(np.uint8)
    return np.stack([photograph, noise, flat, spot, board])


@pytest.mark.parametrize("parameters", [(1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1), (4, 0.5), (6, 0.5), (10, 0.5)])
def test_defocus_blur_decides_every_pixel_as_float64_does(parameters):
    kernel = defocus_blur._trimmed(*parameters)
    images = planes()[:, None].repeat(3, axis=1)
    found = defocus_blur._on_cpu(images, kernel)
    for image, result in zip(images, found, strict=True):
        np.testing.assert_array_equal(result[0], defocus_blur._literally(image[0], kernel))


@pytest.mark.parametrize(("radius", "sigma"), [(6, 1.0), (20, 15.0)])
@pytest.mark.parametrize("angle", [-135.0, -90.0, -45.0, -17.3, 0.0, 30.0, 45.0])
def test_motion_blur_by_pieces_of_the_line_sums_as_the_line_does(radius, sigma, angle):
    images = torch.from_numpy(planes()[:, None].repeat(3, axis=1))
    angles = torch.full((len(images),), angle)
    expected = move(images.float(), radius, sigma, angles).add_(IMAGEMAGICK_LIFT).clamp_(0, 255).to(torch.uint8)
    assert torch.equal(moved_levels(images, radius, sigma, angles, IMAGEMAGICK_LIFT), expected)


@pytest.mark.parametrize("scale", [0.95, 0.75, 0.6, 0.5, 0.4, 0.3, 0.25])
def test_pixelate_by_whole_rows_is_the_gather_of_an_accelerator(scale):
    images = torch.from_numpy(planes()[:, None].repeat(3, axis=1))
    height, width = images.shape[-2:]
    rows, columns = int(height * scale), int(width * scale)
    small = pixelate._box(pixelate._box(images.float(), columns, 3), rows, 2)
    expected = pixelate._box(pixelate._box(small, width, 3), height, 2).to(torch.uint8)
    assert torch.equal(pixelate._on_cpu(images, rows, columns, nearest=False), expected)
