"""Robustness metrics: arrays in, numbers out. numpy alone; no files, no torch. All numbers are fractions.

>>> import metrics
>>> round(metrics.mean_error(metrics.ALEXNET.corruption_errors), 4)
0.789
"""

from metrics.baseline import ALEXNET, ALEXNET_EXTRA_ERRORS, CORRUPTIONS, PERTURBATIONS, Baseline
from metrics.calibration import expected_calibration_error
from metrics.corruption import (
    corruption_error,
    mean_corruption_error,
    mean_error,
    relative_corruption_error,
    relative_mean_corruption_error,
    top1_error,
    topk_error,
)
from metrics.errors import MetricError
from metrics.perturbation import flip_probability, mean_flip_rate, mean_top5_distance, top5_distance
from metrics.shift import consistency, consistency_among_correct

__all__ = [
    "ALEXNET",
    "ALEXNET_EXTRA_ERRORS",
    "CORRUPTIONS",
    "PERTURBATIONS",
    "Baseline",
    "MetricError",
    "consistency",
    "consistency_among_correct",
    "corruption_error",
    "expected_calibration_error",
    "flip_probability",
    "mean_corruption_error",
    "mean_error",
    "mean_flip_rate",
    "mean_top5_distance",
    "relative_corruption_error",
    "relative_mean_corruption_error",
    "top1_error",
    "top5_distance",
    "topk_error",
]
