"""Corruptions and perturbations of images: uint8 in, uint8 out.

`corrupt` makes the 15 corruptions of ImageNet-C (`BENCHMARK`) and its 4 for validation (`EXTRA`) at five severities;
`perturb` makes the sequences of ImageNet-P (`PERTURBATIONS`, `EXTRA_PERTURBATIONS`).
"""

from corruptions.api import corrupt
from corruptions.errors import CorruptionError
from corruptions.perturbations import EXTRA_PERTURBATIONS, PERTURBATIONS, perturb
from corruptions.registry import BENCHMARK, EXTRA

__all__ = [
    "BENCHMARK",
    "EXTRA",
    "EXTRA_PERTURBATIONS",
    "PERTURBATIONS",
    "CorruptionError",
    "corrupt",
    "perturb",
]
