"""Robustness metrics: arrays in, numbers out. numpy alone; no files, no torch. All numbers are fractions.

>>> import metrics
>>> round(metrics.mean_error(metrics.ALEXNET.corruption_errors), 4)
0.789
"""

from metrics.baseline import ALEXNET, ALEXNET_EXTRA_ERRORS, CORRUPTIONS, PERTURBATIONS, Baseline
from metrics.calibration import BINS, bin_index, binned_calibration_error, calibration_bins, expected_calibration_error
from metrics.corruption import (
    corruption_error,
    mean_corruption_error,
    mean_error,
    outside_topk,
    relative_corruption_error,
    relative_mean_corruption_error,
    top1_error,
    topk_error,
)
from metrics.errors import MetricError
from metrics.perturbation import (
    class_changes,
    flip_probability,
    frame_pairs,
    is_noise,
    mean_flip_rate,
    mean_top5_distance,
    top5_distance,
    top5_moves,
)
from metrics.shift import consistency, consistency_among_correct

__all__ = [
    "ALEXNET",
    "ALEXNET_EXTRA_ERRORS",
    "BINS",
    "CORRUPTIONS",
    "PERTURBATIONS",
    "Baseline",
    "MetricError",
    "bin_index",
    "binned_calibration_error",
    "calibration_bins",
    "class_changes",
    "consistency",
    "consistency_among_correct",
    "corruption_error",
    "expected_calibration_error",
    "flip_probability",
    "frame_pairs",
    "is_noise",
    "mean_corruption_error",
    "mean_error",
    "mean_flip_rate",
    "mean_top5_distance",
    "outside_topk",
    "relative_corruption_error",
    "relative_mean_corruption_error",
    "top1_error",
    "top5_distance",
    "top5_moves",
    "topk_error",
]
