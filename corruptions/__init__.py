"""Corruptions and perturbations of images: uint8 in, uint8 out."""

from corruptions.errors import CorruptionError
from corruptions.perturbations import EXTRA_PERTURBATIONS, PERTURBATIONS, perturb

__all__ = ["EXTRA_PERTURBATIONS", "PERTURBATIONS", "CorruptionError", "perturb"]
