"""The warping sequences against literal transcriptions on Pillow and on the published OpenCV formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import skimage.data
from PIL import Image

import corruptions

PHOTOGRAPHS = {"astronaut": (60, 90), "chelsea": (20, 120), "coffee": (90, 130)}
"""Where the test crops lie, (top, left)."""


def photograph(name: str, height: int, width: int) -> np.ndarray:
    top, left = PHOTOGRAPHS[name]
    pixels = getattr(skimage.data, name)()
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])


def old_torchvision_affine(image, angle=0.0, translate=0.0, scale=1.0, shear=0.0, resample=Image.Resampling.BILINEAR):
    """torchvision 0.2.1: inverse matrix about (W/2 + 0.5, H/2 + 0.5), then Pillow."""
    width, height = image.size
    centre = np.array([width * 0.5 + 0.5, height * 0.5 + 0.5])
    a, s = math.radians(angle), math.radians(shear)
    forward = scale * np.array([[math.cos(a), -math.sin(a + s)], [math.sin(a), math.cos(a + s)]])
    inverse = np.linalg.inv(forward)
    offset = centre - inverse @ (centre + np.array([translate, 0.0]))
    matrix = (*inverse[0], offset[0], *inverse[1], offset[1])
    return image.transform((width, height), Image.Transform.AFFINE, matrix, resample)


def centre_crop(image, size):
    width, height = image.size
    left, top = round((width - size) / 2.0), round((height - size) / 2.0)
    return image.crop((left, top, left + size, top + size))


def opencv_warp_perspective(image, matrix):
    """OpenCV before 5: source positions rounded to 1/32 pixel, integer weights, constant black border."""
    height, width = image.shape[:2]
    inverse = np.linalg.inv(matrix)
    result = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            sx, sy, depth = inverse @ np.array([x, y, 1.0])
            fx, fy = round(32 * sx / depth), round(32 * sy / depth)  # Python rounds half to even, as cvRound
            total = np.zeros(3, dtype=np.int64)
            for row, wy in ((fy // 32, 32 - fy % 32), (fy // 32 + 1, fy % 32)):
                for column, wx in ((fx // 32, 32 - fx % 32), (fx // 32 + 1, fx % 32)):
                    if 0 <= row < height and 0 <= column < width:
                        total += image[row, column].astype(np.int64) * wx * wy * 32
            result[y, x] = (total + (1 << 14)) >> 15
    return result


def tilt_homography(height, width, degrees):
    phi = theta = np.deg2rad(degrees)
    f = np.sqrt(width**2 + height**2)
    p1 = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1], [0, 0, 1]])
    rx = np.eye(4)
    rx[1:3, 1:3] = [[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]]
    ry = np.eye(4)
    ry[0, [0, 2]] = [np.cos(phi), -np.sin(phi)]
    ry[2, [0, 2]] = [np.sin(phi), np.cos(phi)]
    t = np.eye(4)
    t[2, 3] = f
    p2 = np.array([[f, 0, width / 2, 0], [0, f, height / 2, 0], [0, 0, 1, 0]])
    return p2 @ t @ rx @ ry @ p1


def oracle(name, pixels, size, crop):
    """All frames of a sequence, uint8 [T, crop, crop, 3]."""
    image = Image.fromarray(pixels)
    frames = []
    if name == "zoom_blur":
        total = np.asarray(centre_crop(image, crop), dtype=np.float32) / np.float32(255)
        frames = [np.asarray(centre_crop(image, crop))]
        for i in range(1, 31):
            zoomed = centre_crop(old_torchvision_affine(image, scale=1 + 0.004 * i), crop)
            total = total + np.asarray(zoomed, dtype=np.float32) / np.float32(255)
            frames.append((total / np.float32(i + 1) * np.float32(255)).astype(np.uint8))
        return np.stack(frames)
    if name == "translate":
        count, origin = {224: (41, 20), 299: (41, 20), 64: (31, 15), 32: (16, 7)}[size]
        for i in range(count):
            shifted = old_torchvision_affine(image, translate=i - origin, resample=Image.Resampling.NEAREST)
            frames.append(np.asarray(centre_crop(shifted, crop)))
        return np.stack(frames)
    for i in range(31):
        if name == "rotate":
            frame = old_torchvision_affine(image, angle=i - 15)
        elif name == "shear":
            frame = old_torchvision_affine(image, shear=i - 15)
        else:
            assert name == "scale"
            factor = (i * 2 + 70) / 100 if size == 32 else (i * 2.5 + 40) / 100
            frame = old_torchvision_affine(image, scale=factor)
        frames.append(np.asarray(centre_crop(frame, crop)))
    return np.stack(frames)


def assert_close(found: np.ndarray, expected: np.ndarray, *, identical: float = 0.999) -> None:
    assert found.shape == expected.shape
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 1, f"off by {difference.max()} levels"
    assert (difference == 0).mean() >= identical


AFFINE = ("zoom_blur", "translate", "rotate", "scale", "shear")


@pytest.mark.parametrize("name", AFFINE)
@pytest.mark.parametrize("photo", PHOTOGRAPHS)
def test_affine_sequences_at_64_equal_pillow(name, photo):
    pixels = photograph(photo, 64, 64)
    assert_close(corruptions.perturb(pixels, name), oracle(name, pixels, 64, 64))


@pytest.mark.parametrize("name", AFFINE)
@pytest.mark.parametrize("shape", [(256, 340), (269, 256)])
def test_affine_sequences_of_imagenet_p_warp_the_base_then_crop(name, shape):
    pixels = photograph("coffee", *shape)
    found = corruptions.perturb(pixels, name, crop=224)
    assert_close(found, oracle(name, pixels, 224, 224))


@pytest.mark.parametrize("name", AFFINE)
def test_affine_sequences_of_cifar(name):
    pixels = photograph("astronaut", 32, 32)
    assert_close(corruptions.perturb(pixels, name), oracle(name, pixels, 32, 32))


def test_affine_sequences_at_299_have_the_frames_of_224():
    pixels = photograph("coffee", 299, 299)
    assert_close(corruptions.perturb(pixels, "scale"), oracle("scale", pixels, 299, 299))


@pytest.mark.parametrize(("size", "step"), [(64, 1.0), (32, 0.75)])
def test_tilt_equals_the_fixed_point_warp(size, step):
    pixels = photograph("chelsea", size, size)
    found = corruptions.perturb(pixels, "tilt")
    for i in (0, 7, 15, 16, 30):
        expected = opencv_warp_perspective(pixels, tilt_homography(size, size, step * (i - 15)))
        assert_close(found[i], expected)


def test_tilt_of_imagenet_p_uses_the_base_image_and_shows_its_centre():
    pixels = photograph("coffee", 80, 100)
    found = corruptions.perturb(pixels, "tilt", crop=64)
    expected = opencv_warp_perspective(pixels, tilt_homography(80, 100, -15.0))[8:72, 18:82]
    assert_close(found[0], expected)


def test_tilt_shows_black_where_the_base_ends():
    frames = corruptions.perturb(np.full((64, 64, 3), 200, np.uint8), "tilt")
    assert (frames[0] == 0).any()
    assert (frames[15][2:-2, 2:-2] == 200).all()


def test_the_middle_frames_of_the_affine_sequences_are_clean():
    pixels = photograph("chelsea", 64, 64)
    for name, clean in (("rotate", 15), ("shear", 15), ("translate", 15), ("scale", 24), ("zoom_blur", 0)):
        assert (corruptions.perturb(pixels, name)[clean] == pixels).all(), name


def test_a_margin_of_16_pixels_turns_black_beyond_16_pixels_of_translation():
    pixels = np.full((256, 256, 3), 77, np.uint8)
    frames = corruptions.perturb(pixels, "translate", crop=224)
    assert (frames[20 + 16] == 77).all()
    assert (frames[20 + 17][:, 0] == 0).all()
    assert (frames[20 - 17][:, -1] == 0).all()
    assert (frames[20 - 17][:, :-1] == 77).all()
