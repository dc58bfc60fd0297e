"""The package stands alone: numpy and scipy, no files, no torch; and its names are frozen."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest

import metrics


def test_public_names_are_frozen() -> None:
    assert sorted(metrics.__all__) == [
        "ALEXNET",
        "ALEXNET_EXTRA_ERRORS",
        "AccuracyLine",
        "BINS",
        "Baseline",
        "CORRUPTIONS",
        "MetricError",
        "PERTURBATIONS",
        "VOID",
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
    assert all(hasattr(metrics, name) for name in metrics.__all__)


def test_it_imports_numpy_and_nothing_heavier() -> None:
    code = "import sys, metrics; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "numpy" in shown
    assert not {"torch", "robustbench_lift", "corruptions", "pandas"} & set(shown)


def test_a_baseline_is_frozen_and_tells_its_source() -> None:
    with pytest.raises(FrozenInstanceError):
        metrics.ALEXNET.clean_error = 0.1  # type: ignore[misc]
    assert "alexnet-owt-4df8aa71" in metrics.ALEXNET.source
    assert (len(metrics.CORRUPTIONS), len(metrics.PERTURBATIONS)) == (15, 10)
