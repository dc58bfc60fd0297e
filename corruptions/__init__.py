"""Corruptions and perturbations of images: uint8 in, uint8 out.

`corrupt` makes the 15 corruptions of ImageNet-C (`BENCHMARK`) and its 4 for validation (`EXTRA`) at five severities;
`perturb` makes the sequences of ImageNet-P (`PERTURBATIONS`, `EXTRA_PERTURBATIONS`). `CORRUPTIONS` and `SEQUENCES` hold
all that there are; `@corruption` and `@perturbation` add one.
"""

from corruptions.api import corrupt
from corruptions.errors import CorruptionError
from corruptions.kernels import BENCHMARK, EXTRA
from corruptions.perturbations import perturb
from corruptions.registry import CORRUPTIONS, SEQUENCES, corruption, frame_count, is_noise, perturbation
from corruptions.sequences import EXTRA_PERTURBATIONS, PERTURBATIONS

__all__ = [
    "BENCHMARK",
    "CORRUPTIONS",
    "EXTRA",
    "EXTRA_PERTURBATIONS",
    "PERTURBATIONS",
    "SEQUENCES",
    "CorruptionError",
    "corrupt",
    "corruption",
    "frame_count",
    "is_noise",
    "perturb",
    "perturbation",
]
