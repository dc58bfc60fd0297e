"""Blurs, brightness, snow and spatter against literal transcriptions on NumPy, SciPy, scikit-image and OpenCV."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import scipy.ndimage
import skimage.color
import skimage.data

import corruptions
from corruptions.motion import motion_line
from corruptions.randomness import Draws

SEED, ID = 11, "n01440764/a"


def photograph(name: str, size: int) -> np.ndarray:
    pixels = getattr(skimage.data, name)()
    return np.ascontiguousarray(pixels[40 : 40 + size, 70 : 70 + size])


def imagemagick_offset(i, radius, degrees):
    """effect.c: point = (width sin, width cos); ceil(i point.y / hypot(point.x, point.y) - 0.5), and so on."""
    width = 2 * radius + 1
    point_x, point_y = width * math.sin(math.pi * degrees / 180.0), width * math.cos(math.pi * degrees / 180.0)
    length = math.hypot(point_x, point_y)
    return math.ceil(i * point_y / length - 0.5), math.ceil(i * point_x / length - 0.5)


def imagemagick_motion_blur(pixels, radius, sigma, degrees):
    """ImageMagick 6, 16 bits a channel: one-sided Gaussian weights at whole-pixel offsets, edges replicated."""
    weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2.0 * sigma**2))
    weights /= weights.sum()
    height, width = pixels.shape[:2]
    rows, columns = np.arange(height), np.arange(width)
    total = np.zeros(pixels.shape)
    for i, weight in enumerate(weights):
        dx, dy = imagemagick_offset(i, radius, degrees)
        r, c = np.clip(rows + dy, 0, height - 1), np.clip(columns + dx, 0, width - 1)
        total += weight * pixels[r][:, c]
    return np.floor(np.round(257 * total) / 257).astype(np.uint8)


def motion_blur(pixels, size):
    radius, sigma, count, step = {
        224: (10, 3, 31, 4),
        299: (13, 3, 31, 4),
        64: (14, 3, 31, 5),
        32: (6, 1.8, 21, 9),
    }[size]
    return [imagemagick_motion_blur(pixels, radius, sigma, (i - count + 1) * step) for i in range(count)]


def gaussian_blur(pixels, size):
    start, step, truncate = {
        224: (0.25, 0.035, 6),
        299: (0.35, 0.035, 6),
        64: (0.35, 0.014, 7),
        32: (0.3, 0.015, 7),
    }[size]
    frames = []
    for i in range(31):
        sigma = start + step * i
        blurred = scipy.ndimage.gaussian_filter(pixels / 255.0, (sigma, sigma, 0), mode="nearest", truncate=truncate)
        frames.append(np.uint8(255 * blurred))
    return frames


def brightness(pixels, size):
    step = 1.5 if size == 32 else 2
    frames = []
    for i in range(31):
        hsv = skimage.color.rgb2hsv(pixels / 255.0)
        hsv[..., 2] = np.clip(hsv[..., 2] + (i - 15) * step / 100.0, 0, 1)
        frames.append(np.uint8(skimage.color.hsv2rgb(hsv) * 255))
    return frames


def normal_field(name, size):
    return Draws(SEED, name, 1, [ID]).normal((size, size))[0].double().numpy()


def snow(pixels, size):
    sd, zoom, radius, sigma = {224: (0.3, 3, 14, 4), 299: (0.3, 3, 14, 4), 64: (0.28, 2, 10, 2.5), 32: (0.3, 2, 10, 2)}[
        size
    ]
    layer = 0.05 + sd * normal_field("snow", size)
    inner = int(np.ceil(size / zoom))
    top = (size - inner) // 2
    layer = scipy.ndimage.zoom(layer[top : top + inner, top : top + inner], zoom, order=1)
    trim = (layer.shape[0] - size) // 2
    layer = layer[trim : trim + size, trim : trim + size]
    layer[layer < 0.5] = 0
    flakes = (np.clip(layer, 0, 1) * 255).astype(np.uint8)
    x = pixels / 255.0
    grey = cv2.cvtColor(np.float32(x), cv2.COLOR_RGB2GRAY)[..., None]
    frames = []
    for i in range(31):
        blurred = imagemagick_motion_blur(flakes, radius, sigma, i * 4 - 150)[..., None] / 255.0
        z = 0.85 * x + (1 - 0.85) * np.maximum(x, grey * 1.5 + 0.5)
        frames.append(np.uint8(np.clip(z + blurred + np.rot90(blurred, k=2), 0, 1) * 255))
    return frames


def spatter(pixels, size):
    mean, sd, sigma, threshold, kernel = {
        224: (0.65, 0.27, 3.7, 0.69, [0.05, 0.1, 0.15, 0.7]),
        299: (0.65, 0.3, 4, 0.69, [0.05, 0.1, 0.15, 0.7]),
        64: (0.6, 0.25, 1.75, 0.7, [0.2, 0.8]),
        32: (0.6, 0.265, 1.75, 0.7, [0.2, 0.8]),
    }[size]
    layer = mean + sd * normal_field("spatter", size)
    layer = scipy.ndimage.gaussian_filter(layer, sigma, mode="nearest", truncate=4)
    layer[layer < threshold] = 0
    x = np.float32(pixels) / 255.0
    frames = []
    for _ in range(31):
        levels = (layer * 255).astype(np.uint8)
        dist = cv2.distanceTransform(255 - cv2.Canny(levels, 50, 150), cv2.DIST_L2, 5)
        _, dist = cv2.threshold(dist, 20, 20, cv2.THRESH_TRUNC)
        dist = cv2.equalizeHist(cv2.blur(dist, (3, 3)).astype(np.uint8))
        dist = cv2.filter2D(dist, cv2.CV_8U, np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]]))
        m = levels * cv2.blur(dist, (3, 3)).astype(np.float32)
        m = m / m.max() * np.float32(0.6)
        colour = np.array([175, 238, 238], np.float32) / np.float32(255)
        frames.append(np.uint8(np.clip(x + m[..., None] * colour, 0, 1) * 255))
        layer = np.apply_along_axis(lambda column: np.convolve(column, kernel, mode="same"), 0, layer)
    return frames


ORACLES = {
    "motion_blur": motion_blur,
    "gaussian_blur": gaussian_blur,
    "brightness": brightness,
    "snow": snow,
    "spatter": spatter,
}


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize(
    ("photo", "size"),
    [
        ("astronaut", 224),
        pytest.param("coffee", 299, marks=pytest.mark.slow),
        ("chelsea", 64),
        pytest.param("coffee", 64, marks=pytest.mark.slow),
        ("astronaut", 64),
        ("astronaut", 32),
    ],
)
def test_sequences_equal_the_transcription(name, photo, size):
    pixels = photograph(photo, size)
    expected = np.stack(ORACLES[name](pixels, size))
    found = corruptions.perturb(pixels, name, seed=SEED, ids=[ID])
    assert found.shape == expected.shape
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 1, f"off by {difference.max()} levels"
    assert (difference == 0).mean() >= 0.999


@pytest.mark.parametrize("name", ORACLES)
def test_a_crop_is_taken_before_what_is_not_a_warp(name):
    base = np.ascontiguousarray(skimage.data.chelsea()[:72, :80])
    margin = corruptions.perturb(base, name, seed=SEED, ids=[ID], crop=64)
    alone = corruptions.perturb(np.ascontiguousarray(base[4:68, 8:72]), name, seed=SEED, ids=[ID])
    assert (margin == alone).all()


def test_half_pixels_of_a_motion_line_fall_where_imagemagick_drops_them():
    # sin(-150 degrees) is -1/2 but for its last bit, so that every odd sample of a line lies between two rows.
    rows = motion_line(10, 2.0, -150)[1].tolist()
    assert rows == [imagemagick_offset(i, 10, -150)[1] for i in range(21)]
    for radius in (6, 10, 12, 13, 14, 15, 20):
        for degrees in range(-180, 181, 2):
            _, found_rows, found_columns = motion_line(radius, 2.0, degrees)
            expected = [imagemagick_offset(i, radius, degrees) for i in range(2 * radius + 1)]
            assert list(zip(found_columns.tolist(), found_rows.tolist(), strict=True)) == expected, (radius, degrees)


def test_saturated_and_flat_areas_stay_put_under_blur():
    for level in (0, 1, 100, 254, 255):
        flat = np.full((64, 64, 3), level, np.uint8)
        assert (corruptions.perturb(flat, "motion_blur") == level).all()
        assert np.abs(corruptions.perturb(flat, "gaussian_blur").astype(int) - level).max() <= 1


def test_brightness_is_clean_in_the_middle_and_rises():
    pixels = photograph("coffee", 64)
    frames = corruptions.perturb(pixels, "brightness").astype(int)
    assert np.abs(frames[15] - pixels).max() <= 1
    means = frames.mean(axis=(1, 2, 3))
    assert (np.diff(means) > 0).all()


def test_one_snow_layer_moves_through_the_sequence():
    black = np.zeros((64, 64, 3), np.uint8)
    frames = corruptions.perturb(black, "snow", seed=SEED).astype(int)
    assert (frames[..., 0] == frames[..., 1]).all()
    turned = frames - frames[:, ::-1, ::-1]
    assert np.abs(turned).max() <= 1  # the layer and its rotated copy are added
    near = np.abs(frames[1] - frames[0]).mean()
    far = np.abs(frames[20] - frames[0]).mean()
    assert 0 < near < far


def test_spatter_without_a_drop_leaves_the_image():
    import torch

    from corruptions.perturbations import frames as frames_of

    class Dry(Draws):
        def normal(self, shape):
            return torch.full((1, *shape), -5.0)

    pixels = photograph("coffee", 64)
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    frames = list(frames_of(image, "spatter", 64, Dry(0, "spatter", 1, [0])))
    assert all(torch.equal(frame, image) for frame in frames)


def test_the_liquid_runs_down():
    import torch

    from corruptions.sequences.spatter import flow

    column = torch.zeros(1, 8, 3, dtype=torch.float64)
    column[0, 3] = 1.0
    for weights in ((0.2, 0.8), (0.05, 0.1, 0.15, 0.7)):
        expected = np.convolve(column[0, :, 0].numpy(), weights, mode="same")
        np.testing.assert_allclose(flow(column, weights)[0, :, 1].numpy(), expected, atol=1e-15)
