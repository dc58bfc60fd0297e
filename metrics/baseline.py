"""What CE and FR are divided by: a network's errors and flip probabilities, with their source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from metrics.errors import MetricError, shown

CORRUPTIONS = (
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
"""The 15 corruptions that enter mCE, in the benchmark's order (Hendrycks and Dietterich, ICLR 2019, section 4.1)."""

PERTURBATIONS = (
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
"""The 10 perturbations that enter mFR, in the benchmark's order (Hendrycks and Dietterich, ICLR 2019, section 4.2)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """A normaliser. All numbers are fractions."""

    name: str
    """Short name, printed beside every normalised score."""
    source: str
    """Where the numbers come from."""
    clean_error: float
    """Top-1 error on clean images; 1 - mIoU of a segmentation network."""
    corruption_errors: Mapping[str, tuple[float, ...]]
    """Top-1 errors of each corruption at severities 1..5; of a segmentation network 1 - mIoU at those of the suite."""
    flip_probabilities: Mapping[str, float]
    """Flip probability of each perturbation."""
    top5_distances: Mapping[str, float] | None = None
    """Unnormalised top-5 distance of each perturbation; None when it was never published."""


def normaliser(given: object) -> Baseline:
    """The normaliser that was given.

    Raises:
        MetricError: it is no `Baseline`.
    """
    if not isinstance(given, Baseline):
        raise MetricError(f"baseline: expected a metrics.Baseline, such as metrics.ALEXNET, found {shown(given)}.")
    return given


_ALEXNET_PERCENT = {
    "gaussian_noise": (69.528, 82.542, 93.554, 98.138, 99.452),
    "shot_noise": (71.224, 85.108, 93.574, 98.182, 99.146),
    "impulse_noise": (78.374, 89.808, 94.870, 98.720, 99.548),
    "defocus_blur": (65.624, 73.202, 85.036, 91.364, 94.714),
    "glass_blur": (64.308, 75.054, 88.806, 91.622, 93.344),
    "motion_blur": (58.430, 70.048, 82.108, 89.750, 92.638),
    "zoom_blur": (70.008, 76.992, 80.784, 84.198, 87.198),
    "snow": (71.726, 88.392, 86.468, 91.870, 94.952),
    "frost": (61.390, 79.734, 88.790, 89.942, 93.430),
    "fog": (67.474, 76.050, 84.378, 87.260, 94.500),
    "brightness": (45.140, 48.502, 54.048, 62.166, 72.440),
    "contrast": (64.548, 76.150, 88.874, 97.760, 99.270),
    "elastic_transform": (52.596, 70.116, 55.686, 64.076, 80.554),
    "pixelate": (52.218, 54.620, 73.728, 87.092, 91.262),
    "jpeg_compression": (51.002, 54.718, 57.294, 65.458, 74.778),
}

_ALEXNET_FLIPS_PERCENT = {
    "gaussian_noise": 23.65,
    "shot_noise": 30.06,
    "motion_blur": 9.30,
    "zoom_blur": 5.94,
    "snow": 11.93,
    "brightness": 4.89,
    "translate": 11.01,
    "rotate": 13.10,
    "tilt": 7.05,
    "scale": 23.53,
}


def _fraction(percent: float) -> float:
    # divided by a power of ten of the printed digits, so that 69.528 becomes the double nearest to 0.69528
    return round(percent * 1000) / 100_000


ALEXNET = Baseline(
    name="AlexNet",
    source=(
        "torchvision alexnet-owt-4df8aa71 on the official files; errors by severity: hendrycks/robustness issue 10; "
        "their means agree to 4 digits with google-research/augmix and facebookresearch/augmentation-corruption; "
        "flip probabilities: Hendrycks and Dietterich, ICLR 2019"
    ),
    clean_error=0.435,
    corruption_errors={name: tuple(map(_fraction, five)) for name, five in _ALEXNET_PERCENT.items()},
    flip_probabilities={name: _fraction(flip) for name, flip in _ALEXNET_FLIPS_PERCENT.items()},
)
"""AlexNet on ImageNet: the normaliser of mCE and mFR. Its top-5 distances were never published as numbers."""

ALEXNET_EXTRA_ERRORS = {
    "speckle_noise": 0.845388,
    "gaussian_blur": 0.787108,
    "spatter": 0.717512,
    "saturate": 0.658248,
}
"""AlexNet's mean errors on the four extra corruptions, which enter no mCE; by severity they were not published.

CE needs only the mean, since sum E / sum E_baseline = mean E / mean E_baseline. Source: the baseline file of
facebookresearch/augmentation-corruption (`mCE_baseline_imagenet.p`), six digits.
"""
