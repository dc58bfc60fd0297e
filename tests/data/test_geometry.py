"""Transforms give the pixels of torchvision's on the same picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms as reference
from torchvision.transforms import InterpolationMode

from robustbench_lift.data.geometry import AsStored, ResizeCrop, ZeroPad
from robustbench_lift.errors import DataError, UsageError


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 1009 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def oracle(image: np.ndarray, resize: int | None, crop: int, mode: InterpolationMode) -> np.ndarray:
    steps = [] if resize is None else [reference.Resize(resize, interpolation=mode)]
    return np.asarray(reference.Compose([*steps, reference.CenterCrop(crop)])(Image.fromarray(image)))


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(20, 90),
    width=st.integers(20, 90),
    resize=st.integers(20, 60),
    less=st.integers(0, 12),
    mode=st.sampled_from(["bilinear", "bicubic", "nearest"]),
)
def test_resize_and_crop_are_torchvisions(height: int, width: int, resize: int, less: int, mode: str) -> None:
    image = noise(height, width)
    found = ResizeCrop(resize=resize, crop=resize - less, interpolation=mode)(image)
    assert np.array_equal(found, oracle(image, resize, resize - less, InterpolationMode(mode)))


@pytest.mark.parametrize(
    ("height", "width"), [(375, 500), (500, 333), (256, 256), (257, 301), (31, 1000), (1200, 257), (98, 686)]
)
@pytest.mark.parametrize("crop", [224, 256])
def test_the_protocols_of_imagenet_on_odd_shapes(height: int, width: int, crop: int) -> None:
    image = noise(height, width)
    expected = oracle(image, 256, crop, InterpolationMode.BILINEAR)
    assert np.array_equal(ResizeCrop(crop=crop)(image), expected)


@settings(max_examples=40, deadline=None)
@given(height=st.integers(16, 60), width=st.integers(16, 60), crop=st.integers(1, 16))
def test_crop_offsets_round_half_to_even(height: int, width: int, crop: int) -> None:
    image = noise(height, width)
    found = ResizeCrop(resize=None, crop=crop)(image)
    assert np.array_equal(found, oracle(image, None, crop, InterpolationMode.BILINEAR))


def test_the_signature_states_size_filter_and_antialiasing() -> None:
    assert ResizeCrop().text == "resize256-bilinear-antialias-crop224"
    assert ResizeCrop(resize=232, interpolation="bicubic").text == "resize232-bicubic-antialias-crop224"
    assert ResizeCrop(resize=None, crop=64).text == "crop64"
    assert ResizeCrop(crop=None).text == "resize256-bilinear-antialias"
    assert (AsStored(224).text, ZeroPad(32, 4).text) == ("as-stored224", "as-stored32-zeropad4")


def test_stored_images_are_never_resized() -> None:
    image = noise(224, 224)
    assert AsStored(224)(image) is image
    clip = np.zeros((31, 224, 224, 3), np.uint8)
    assert AsStored(224)(clip) is clip
    with pytest.raises(DataError, match=r"256x256 pixels, expected 224x224.*re-save"):
        AsStored(224)(noise(256, 256))
    with pytest.raises(DataError, match=r"Inception.*\?size=299"):
        AsStored(224)(noise(299, 299))


def test_padding_is_black_and_even() -> None:
    padded = ZeroPad(32, 4)(np.full((32, 32, 3), 9, np.uint8))
    assert padded.shape == (40, 40, 3)
    assert padded[4:36, 4:36].min() == 9
    assert int(padded.astype(int).sum()) == 9 * 32 * 32 * 3


@pytest.mark.parametrize("wrong", [{"resize": 0}, {"crop": -1}, {"crop": 100_000}, {"interpolation": "cubic"}])
def test_sizes_that_mean_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        ResizeCrop(**wrong)


def test_an_image_smaller_than_the_crop_says_what_to_do() -> None:
    with pytest.raises(DataError, match=r"20x30 pixels is smaller than the 24-pixel crop.*\?resize=24"):
        ResizeCrop(resize=None, crop=24)(noise(20, 30))
