"""Kernels that take a quicker way on a CPU give the bytes of the plain one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from skimage import data

from corruptions import channel
from corruptions.channel import Gaussian, Impulse, Shot, Speckle, to_levels
from corruptions.hsv import from_hsv, to_hsv
from corruptions.kernels import brightness, contrast, defocus_blur, fog, frost, pixelate
from corruptions.motion import IMAGEMAGICK_LIFT, move, moved_levels
from corruptions.randomness import Draws
from corruptions.smoothing import smooth_images, truncate


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


def colours() -> torch.Tensor:
    """Every level of a coarse grid and its neighbours in every channel, greys and black among them: [2, 3, 96, 80]."""
    levels = np.array([0, 1, 2, 17, 50, 51, 52, 85, 102, 127, 128, 153, 170, 204, 205, 253, 254, 255], dtype=np.uint8)
    drawn = np.random.RandomState(0).choice(levels, (2, 3, 96, 80))
    drawn[:, :, :10] = drawn[:, :1, :10]
    return torch.from_numpy(drawn)


@pytest.mark.parametrize("law", [Gaussian(0.2), Shot(5), Impulse(0.1), Speckle(0.4)])
@pytest.mark.parametrize("images", [1, 5])
@pytest.mark.parametrize("words", [True, False], ids=["tables of 16 bits", "of 8"])
def test_noise_an_image_at_a_time_is_the_noise_of_the_batch(law, images, words, monkeypatch):
    if not words:
        monkeypatch.setattr("corruptions.words._opencv_does", lambda: False)
    levels = torch.from_numpy(planes()[:images, None].repeat(3, axis=1))

    def draws():
        return Draws(3, "noise", 1, range(images))

    assert torch.equal(channel._sample_on_cpu(levels, law, draws()), channel._sample(levels, law, draws()))


@pytest.mark.parametrize("amount", [0.05, 0.1, 0.2, 0.3, 0.4, 0.5])
@pytest.mark.parametrize("words", [True, False], ids=["tables of 16 bits", "of 8"])
def test_brightness_decides_as_hsv_in_float64_does(amount, words, monkeypatch):
    if not words:
        monkeypatch.setattr("corruptions.words._opencv_does", lambda: False)
    images = colours()
    hue, saturation, value = to_hsv(images)
    expected = to_levels(from_hsv(hue, saturation, (value + amount).clamp(0, 1)))
    assert torch.equal(brightness.brightness(images, Draws(0, "brightness", 1, [0, 1]), amount), expected)


@pytest.mark.parametrize("factor", [0.75, 0.4, 0.05])
def test_contrast_is_the_formula_in_float64(factor):
    images = planes()[:, None].repeat(3, axis=1)
    unit = images / 255.0
    mean = unit.mean(axis=(2, 3), keepdims=True)
    expected = (np.clip((unit - mean) * factor + mean, 0, 1) * 255).astype(np.uint8)
    found = contrast.contrast(torch.from_numpy(images), Draws(0, "contrast", 1, range(5)), factor).numpy()
    assert np.abs(found.astype(int) - expected).max() <= 1  # the mean of whole levels is exact, numpy's is rounded
    assert (found == expected).mean() > 0.999


@pytest.mark.parametrize("weights", [(1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)])
def test_frost_by_opencv_gives_every_pair_its_level(weights):
    image, frozen = (np.ascontiguousarray(side, dtype=np.uint8) for side in np.mgrid[:256, :256])
    expected = np.clip(weights[0] * image.astype(float) + weights[1] * frozen, 0, 255).astype(np.uint8)
    stacked = [torch.from_numpy(np.stack([side] * 3)) for side in (image, frozen)]
    found = frost._on_cpu(stacked[0][None], [stacked[1]], weights)
    np.testing.assert_array_equal(found[0, 0].numpy(), expected)


def test_fog_plane_by_plane_is_the_sum_of_the_batch():
    images = torch.from_numpy(planes()[:, None].repeat(3, axis=1))
    draws = np.random.RandomState(0)
    factors = draws.uniform(0.2, 0.5, len(images)).astype(np.float32)
    maps = draws.uniform(0, 1, (len(images), *images.shape[-2:])).astype(np.float32)
    scale = torch.from_numpy(factors).view(-1, 1, 1, 1)
    expected = truncate(images * scale + torch.from_numpy(maps).unsqueeze(1) * 255.0 * scale)
    assert torch.equal(fog._on_cpu(images, factors, maps, 1.0), expected)


@pytest.mark.parametrize("scale", [0.6, 0.5, 0.25])
def test_pixelate_to_the_nearest_is_pillow(scale):
    image = Image.fromarray(planes()[1])
    small = image.resize((int(80 * scale), int(96 * scale)), Image.Resampling.BOX)
    expected = np.asarray(small.resize((80, 96), Image.Resampling.NEAREST))
    images = torch.from_numpy(planes()[1:2, None].repeat(3, axis=1))
    found = pixelate._on_cpu(images, int(96 * scale), int(80 * scale), nearest=True)
    np.testing.assert_array_equal(found[0, 2].numpy(), expected)


@pytest.mark.parametrize("sigma", [0.4, 1.0, 3.0])
def test_blur_decides_every_pixel_as_scipy_does(sigma):
    images = planes()[:, None].repeat(3, axis=1)
    images[1] //= 64  # faint noise: many whole levels
    expected = ndimage.gaussian_filter(images / 255.0, (0, 0, sigma, sigma), mode="nearest", truncate=4.0)
    found = smooth_images(torch.from_numpy(images), sigma, few=0.0).numpy()
    np.testing.assert_array_equal(found, (np.clip(expected, 0, 1) * 255).astype(np.uint8))
