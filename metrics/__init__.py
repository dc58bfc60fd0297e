"""Robustness metrics: arrays in, numbers out. numpy and scipy alone; no files, no torch. All numbers are fractions.

>>> import metrics
>>> round(metrics.mean_error(metrics.ALEXNET.corruption_errors), 4)
0.789
"""

from metrics.baseline import ALEXNET, ALEXNET_EXTRA_ERRORS, CORRUPTIONS, PERTURBATIONS, Baseline
from metrics.calibration import BINS, bin_index, binned_calibration_error, calibration_bins, expected_calibration_error
from metrics.classes import class_errors, confusion_counts, most_confused
from metrics.corruption import (
    added_error,
    corruption_error,
    mean_corruption_error,
    mean_error,
    outside_topk,
    relative_corruption_error,
    relative_mean_corruption_error,
    top1_error,
    topk_error,
)
from metrics.effective import AccuracyLine, effective_robustness, fit_accuracy_line
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
from metrics.segmentation import (
    VOID,
    boundary_distance,
    boundary_f1,
    class_accuracy,
    class_iou,
    classes_counted,
    corruption_degradation,
    frequency_weighted_iou,
    mean_iou,
    pixel_accuracy,
    pixel_counts,
    relative_corruption_degradation,
    within_trimap,
)
from metrics.shift import consistency, consistency_among_correct

__all__ = [
    "ALEXNET",
    "ALEXNET_EXTRA_ERRORS",
    "BINS",
    "CORRUPTIONS",
    "PERTURBATIONS",
    "VOID",
    "AccuracyLine",
    "Baseline",
    "MetricError",
    "added_error",
    "bin_index",
    "binned_calibration_error",
    "boundary_distance",
    "boundary_f1",
    "calibration_bins",
    "class_accuracy",
    "class_changes",
    "class_errors",
    "class_iou",
    "classes_counted",
    "confusion_counts",
    "consistency",
    "consistency_among_correct",
    "corruption_degradation",
    "corruption_error",
    "effective_robustness",
    "expected_calibration_error",
    "fit_accuracy_line",
    "flip_probability",
    "frame_pairs",
    "frequency_weighted_iou",
    "is_noise",
    "mean_corruption_error",
    "mean_error",
    "mean_flip_rate",
    "mean_iou",
    "mean_top5_distance",
    "most_confused",
    "outside_topk",
    "pixel_accuracy",
    "pixel_counts",
    "relative_corruption_degradation",
    "relative_corruption_error",
    "relative_mean_corruption_error",
    "top1_error",
    "top5_distance",
    "top5_moves",
    "topk_error",
    "within_trimap",
]
