"""The 14 perturbation sequences of ImageNet-P, one file each: the generator of frames and its parameters.

images, draws, parameters, count -> frame 0, frame 1, ...       one frame of the whole batch in memory at a time

Source of the parameters: the generator scripts of ImageNet-P (hendrycks/robustness, `ImageNet-P/create_p`:
`make_imagenet_p` (224), `make_imagenet_p_inception` (299), `make_tinyimagenet_p` (64), `make_cifar_p` (32)), which
accompany Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
ICLR 2019, section 4.2.
"""

from __future__ import annotations

from importlib import import_module

PERTURBATIONS: tuple[str, ...] = (
    "gaussian_noise",
    "shot_noise",
    "motion_blur",
    "zoom_blur",
    "snow",
    "brightness",
    "translate",
    "rotate",
    "tilt",
    "scale",
)
"""The 10 sequences of the benchmark, in its order."""

EXTRA_PERTURBATIONS: tuple[str, ...] = ("speckle_noise", "gaussian_blur", "spatter", "shear")
"""The 4 validation sequences; they enter no headline number."""

for _name in (*PERTURBATIONS, *EXTRA_PERTURBATIONS):  # each registers itself
    import_module(f"{__name__}.{_name}")
