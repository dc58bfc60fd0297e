"""The 19 corruptions of ImageNet-C, one file each: the kernel and its severity rows.

Source of the rows: the generator scripts of Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations", ICLR 2019 (hendrycks/robustness, commit 8190fe3): `make_imagenet_c.py` (224),
`make_imagenet_c_inception.py` (299), `make_tinyimagenet_c.py` and `make_imagenet_64_c.py` (64; equal),
`make_cifar_c.py` (32). The variant `imagecorruptions` is bethgelab/imagecorruptions 1.1.2 as published on PyPI, which
uses the rows of 224 at every size.
"""

from __future__ import annotations

from importlib import import_module

BENCHMARK: tuple[str, ...] = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
"""The 15 corruptions of the benchmark, in its order."""

EXTRA: tuple[str, ...] = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""The 4 corruptions for validation; they enter no headline number."""

for _name in (*BENCHMARK, *EXTRA):  # each registers itself
    import_module(f"{__name__}.{_name}")
