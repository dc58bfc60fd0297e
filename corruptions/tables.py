"""Severity tables: the parameters of every corruption at severities 1 to 5, by image size.

Source: the generator scripts of Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations", ICLR 2019 (hendrycks/robustness, commit 8190fe3): `make_imagenet_c.py` (224),
`make_imagenet_c_inception.py` (299), `make_tinyimagenet_c.py` and `make_imagenet_64_c.py` (64; equal),
`make_cifar_c.py` (32). The variant `imagecorruptions` is bethgelab/imagecorruptions 1.1.2 as published on PyPI, which
uses the 224 table at every size.

| corruption            | parameters                                                                                |
|-----------------------|-------------------------------------------------------------------------------------------|
| gaussian, speckle     | standard deviation on the 0..1 scale                                                      |
| shot                  | photons of a white value                                                                  |
| impulse               | fraction of values replaced                                                               |
| defocus               | (radius of the disk in pixels, sigma of its edge)                                         |
| glass                 | (sigma in pixels, largest shift in pixels, rounds)                                        |
| motion                | (radius in pixels: 2 radius + 1 samples; sigma in pixels)                                 |
| zoom                  | the zoom factors                                                                          |
| snow                  | (mean, sd, zoom, threshold, blur radius, blur sigma, weight of the image)                 |
| frost                 | (weight of the image, weight of the frost)                                                |
| fog                   | (strength, decay of the noise from level to level)                                        |
| brightness            | added to the value of HSV                                                                 |
| saturate              | (factor, addend) of the saturation of HSV                                                 |
| contrast              | factor                                                                                    |
| elastic               | (displacement factor in pixels, sigma in pixels, range of the affine corners in pixels)   |
| pixelate              | side of the small image as a fraction                                                     |
| jpeg                  | quality                                                                                   |
| gaussian_blur         | sigma in pixels                                                                           |
| spatter               | (mean, sd, sigma, threshold, intensity of water or sigma of mud, 0 water / 1 mud)         |
"""

from __future__ import annotations

from typing import Any

Rows = tuple[Any, Any, Any, Any, Any]
"""Parameters at severities 1 to 5."""

SIZES: tuple[int, ...] = (32, 64, 224, 299)
"""Image sides that have a table."""


def _factors(step: int, count: int) -> tuple[float, ...]:
    """1.00, 1.00 + step/100, ...: as the floating-point ranges of the original give them.

    The last bit matters: 385 pixels times 1.3 make 500 or 501.
    """
    increment = (1 + step / 100) - 1
    return tuple(1 + increment * i for i in range(count))


def _elastic(side: int, rows: tuple[tuple[float, float, float], ...]) -> tuple[tuple[float, float, float], ...]:
    """Parameters given as multiples of a side."""
    return tuple((side * alpha, side * sigma, side * corner) for alpha, sigma, corner in rows)


_ELASTIC_LARGE = ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))
_ZOOM_LARGE = (_factors(1, 12), _factors(1, 16), _factors(2, 11), _factors(2, 13), _factors(3, 11))
_ZOOM_SMALL = (_factors(1, 7), _factors(1, 12), _factors(1, 16), _factors(1, 21), _factors(1, 26))

_224: dict[str, Any] = {
    "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),
    "shot_noise": (60, 25, 12, 5, 3),
    "impulse_noise": (0.03, 0.06, 0.09, 0.17, 0.27),
    "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    "glass_blur": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    "zoom_blur": _ZOOM_LARGE,
    "snow": (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
    "frost": ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    "fog": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
    "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
    # 244, not 224: the original's slip, kept because the published data have it.
    "elastic_transform": _elastic(244, _ELASTIC_LARGE),
    "pixelate": (0.6, 0.5, 0.4, 0.3, 0.25),
    "jpeg_compression": (25, 18, 15, 10, 7),
    "speckle_noise": (0.15, 0.2, 0.35, 0.45, 0.6),
    "gaussian_blur": (1, 2, 3, 4, 6),
    "spatter": (
        (0.65, 0.3, 4, 0.69, 0.6, 0),
        (0.65, 0.3, 3, 0.68, 0.6, 0),
        (0.65, 0.3, 2, 0.68, 0.5, 0),
        (0.65, 0.3, 1, 0.65, 1.5, 1),
        (0.67, 0.4, 1, 0.65, 1.5, 1),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
}

_299: dict[str, Any] = _224 | {
    "gaussian_noise": (0.09, 0.13, 0.19, 0.27, 0.40),
    "shot_noise": (50, 20, 10, 5, 3),
    "impulse_noise": (0.04, 0.07, 0.10, 0.18, 0.28),
    "speckle_noise": (0.16, 0.21, 0.36, 0.46, 0.61),
    "gaussian_blur": (1.5, 2.5, 3.5, 4.5, 6.5),
    "glass_blur": ((0.8, 1, 3), (1, 3, 1), (1.1, 2, 4), (1.2, 4, 2), (1.6, 5, 2)),
    "defocus_blur": ((4, 0.1), (5, 0.5), (7, 0.5), (10, 0.5), (12, 0.5)),
    "motion_blur": ((12, 4), (17, 6), (17, 9), (17, 13), (22, 16)),
    "fog": ((1.5, 2), (2, 2), (2.5, 1.8), (2.5, 1.6), (3, 1.5)),
    "spatter": (
        (0.65, 0.3, 4, 0.69, 0.9, 0),
        (0.65, 0.3, 3.5, 0.68, 0.9, 0),
        (0.65, 0.3, 3, 0.68, 0.8, 0),
        (0.65, 0.3, 1.2, 0.65, 1.8, 1),
        (0.67, 0.4, 1.2, 0.65, 1.8, 1),
    ),
    "jpeg_compression": (23, 16, 13, 8, 5),
    "pixelate": (0.5, 0.4, 0.3, 0.25, 0.2),
    "elastic_transform": _elastic(360, _ELASTIC_LARGE),
}

_64: dict[str, Any] = {
    "gaussian_noise": (0.04, 0.08, 0.12, 0.15, 0.18),
    "shot_noise": (250, 100, 50, 30, 15),
    "impulse_noise": (0.01, 0.02, 0.05, 0.08, 0.14),
    "defocus_blur": ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
    "glass_blur": ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
    "motion_blur": ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
    "zoom_blur": _ZOOM_SMALL,
    "snow": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
    ),
    "frost": ((1, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)),
    "fog": ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
    "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
    "elastic_transform": _elastic(
        64, ((0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03), (0.16, 0.03, 0.02))
    ),
    "pixelate": (0.9, 0.8, 0.7, 0.6, 0.5),
    "jpeg_compression": (65, 58, 50, 40, 25),
    "speckle_noise": (0.15, 0.2, 0.25, 0.3, 0.35),
    "gaussian_blur": (0.5, 0.75, 1, 1.25, 1.5),
    "spatter": (
        (0.62, 0.1, 0.7, 0.7, 0.6, 0),
        (0.65, 0.1, 0.8, 0.7, 0.6, 0),
        (0.65, 0.3, 1, 0.69, 0.6, 0),
        (0.65, 0.1, 0.7, 0.68, 0.6, 1),
        (0.65, 0.1, 0.5, 0.67, 0.6, 1),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
}

_32: dict[str, Any] = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),
    "shot_noise": (500, 250, 100, 75, 50),
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    "zoom_blur": _ZOOM_SMALL,
    "snow": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "frost": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
    "elastic_transform": _elastic(
        32, ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))
    ),
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),
    "jpeg_compression": (80, 65, 58, 50, 40),
    "speckle_noise": (0.06, 0.1, 0.12, 0.16, 0.2),
    "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1),
    "spatter": (
        (0.62, 0.1, 0.7, 0.7, 0.5, 0),
        (0.65, 0.1, 0.8, 0.7, 0.5, 0),
        (0.65, 0.3, 1, 0.69, 0.5, 0),
        (0.65, 0.1, 0.7, 0.69, 0.6, 1),
        (0.65, 0.1, 0.5, 0.68, 0.6, 1),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
}

TABLES: dict[int, dict[str, Any]] = {32: _32, 64: _64, 224: _224, 299: _299}
"""Parameters by image side and corruption, in the order of the severities."""

FROST_SCALE: dict[int, float] = {32: 0.2, 64: 0.3, 224: 1.0, 299: 1.0}
"""Factor by which the frost textures are shrunk (bilinear) before they are cropped."""

PACKAGE: dict[str, Any] = _224 | {"elastic_transform": (250 * 0.05, 250 * 0.065, 250 * 0.085, 250 * 0.1, 250 * 0.12)}
"""Parameters of the variant `imagecorruptions` at every size; its elastic transform has a displacement factor alone."""

VARIANTS: tuple[str, ...] = ("imagenet-c", "imagecorruptions")
"""The scripts that made ImageNet-C (default), and the package on PyPI."""


def parameters(name: str, severity: int, table: int, variant: str) -> Any:
    """The parameters of one corruption at one severity.

    >>> parameters("fog", 1, 32, "imagenet-c")
    (0.2, 3)
    """
    rows = PACKAGE if variant == "imagecorruptions" else TABLES[table]
    return rows[name][severity - 1]
