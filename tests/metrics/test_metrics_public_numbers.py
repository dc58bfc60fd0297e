"""Metrics against numbers that others published, inputs and outputs both."""

from __future__ import annotations

import math

import pytest

import metrics
from metrics import ALEXNET, CORRUPTIONS, PERTURBATIONS

ALEXNET_MEANS = {
    "gaussian_noise": 88.6428,
    "shot_noise": 89.4468,
    "impulse_noise": 92.2640,
    "defocus_blur": 81.9880,
    "glass_blur": 82.6268,
    "motion_blur": 78.5948,
    "zoom_blur": 79.8360,
    "snow": 86.6816,
    "frost": 82.6572,
    "fog": 81.9324,
    "brightness": 56.4592,
    "contrast": 85.3204,
    "elastic_transform": 64.6056,
    "pixelate": 71.7840,
    "jpeg_compression": 60.6500,
}
"""Mean errors of AlexNet, percent: constants of google-research/augmix and of facebookresearch/augmentation-corruption
(`mCE_baseline_imagenet.p`), two sources apart from the errors by severity that the package holds."""

WSL_FLIPS = {
    "resnext101_32x48d_wsl": ((5.847, 6.991, 2.842, 2.323, 3.667, 1.536, 2.416, 3.469, 2.149, 4.619), 27.83),
    "resnext101_32x8d": ((10.626, 13.105, 4.463, 3.518, 5.784, 2.610, 4.024, 5.590, 3.313, 8.868), 46.15),
}
"""Flip probabilities, percent, in benchmark order (eminorhan/resnext-wsl, results/imagenet_p), and the mFR they make;
27.8 is the published one."""

WSL_DISTANCES = (2.396, 2.722, 1.097, 0.871, 1.324, 0.711, 1.153, 1.522, 1.027, 1.835)
"""Top-5 distances of resnext101_32x48d_wsl, same source; mean 1.4658."""

PUBLISHED_CE = {
    "ResNet-50": (76.7, (80, 82, 83, 75, 89, 78, 80, 78, 75, 66, 57, 71, 85, 77, 77)),
    "VGG-19 with batch norm": (81.6, (82, 83, 88, 82, 94, 84, 86, 80, 78, 69, 61, 74, 94, 85, 83)),
    "AugMix": (68.4, (65, 66, 67, 70, 80, 66, 66, 75, 72, 67, 58, 58, 79, 69, 69)),
    "ResNet-50 with max-blur-pool": (73.4, (73, 74, 76, 74, 86, 78, 77, 77, 72, 63, 56, 68, 86, 71, 71)),
}
"""mCE, and the CE of each corruption rounded to whole percent: the rows whose mean gives the mCE within rounding."""


def test_alexnet_means_agree_with_two_other_sources() -> None:
    assert tuple(ALEXNET.corruption_errors) == CORRUPTIONS
    for name, five in ALEXNET.corruption_errors.items():
        assert round(100 * math.fsum(five) / 5, 4) == pytest.approx(ALEXNET_MEANS[name], abs=1e-9), name


def test_alexnet_unnormalised_mean() -> None:
    assert round(100 * metrics.mean_error(ALEXNET.corruption_errors), 4) == 78.8993


def test_alexnet_has_an_mce_and_mfr_of_one() -> None:
    assert metrics.mean_corruption_error(ALEXNET.corruption_errors) == pytest.approx(1, abs=1e-15)
    assert metrics.mean_flip_rate(ALEXNET.flip_probabilities) == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize("model", WSL_FLIPS)
def test_mfr_of_published_flip_probabilities(model: str) -> None:
    flips, mfr = WSL_FLIPS[model]
    fractions = {name: flip / 100 for name, flip in zip(PERTURBATIONS, flips, strict=True)}
    assert round(100 * metrics.mean_flip_rate(fractions), 2) == mfr


def test_mean_of_published_top5_distances() -> None:
    unit = metrics.Baseline(
        name="unit",
        source="",
        clean_error=0.0,
        corruption_errors={},
        flip_probabilities={},
        top5_distances=dict.fromkeys(PERTURBATIONS, 1.0),
    )
    found = metrics.mean_top5_distance(dict(zip(PERTURBATIONS, WSL_DISTANCES, strict=True)), unit)
    assert round(found, 4) == 1.4658


@pytest.mark.parametrize("model", PUBLISHED_CE)
def test_mce_of_published_ce(model: str) -> None:
    mce, row = PUBLISHED_CE[model]
    errors = {
        name: [ce / 100 * e for e in ALEXNET.corruption_errors[name]] for name, ce in zip(CORRUPTIONS, row, strict=True)
    }
    assert 100 * metrics.mean_corruption_error(errors) == pytest.approx(mce, abs=0.2)
