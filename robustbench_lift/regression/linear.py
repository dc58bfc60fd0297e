"""Headline numbers as means over images: what makes thousands of bootstrap replicates one matrix product.

With the normaliser fixed, every headline number is linear in the images: mCE = mean_i v_i with

    v_i = 1/15 sum_c sum_s [image i wrong at (c, s)] / sum_s E_baseline(s, c)

and likewise the others, so a replicate needs the vector v, not 75 cells. Images are the clusters of clean, corruption
and shift numbers (all severities and draws of an image stay together), clips those of perturbation numbers.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

import metrics
from robustbench_lift.runs import Cell, Predictions, Run
from robustbench_lift.scores import window_pairs

Vector = npt.NDArray[np.float64]


def contributions(run: Run, baseline: metrics.Baseline | None) -> dict[str, Vector]:
    """Each number of a run as a vector [n] whose mean it is; only numbers of which every cell is there.

    Keys: clean_error, mean_error, mce, relative_mce, mean_flip_probability, mfr, consistency, ce/<corruption>,
    error/<corruption>, fp/<perturbation>, fr/<perturbation>.
    """
    cells = {cell: run.read(cell) for cell in run.expected if run.has(cell)}
    found: dict[str, Vector] = {}
    clean = cells.get(Cell("clean", "clean", 0))
    if clean is not None:
        found["clean_error"] = _wrong(clean)
    found |= _corruption(cells, found.get("clean_error"), baseline)
    found |= _perturbation(cells, baseline)
    for cell, predictions in cells.items():
        if cell.protocol == "shift":
            first, second = window_pairs(predictions.top1, cell.condition)
            found["consistency"] = (first == second).mean(axis=1)
    return found


def _wrong(predictions: Predictions) -> Vector:
    return (~predictions.correct[:, 0]).astype(np.float64)


def _corruption(
    cells: dict[Cell, Predictions], clean: Vector | None, baseline: metrics.Baseline | None
) -> dict[str, Vector]:
    found: dict[str, Vector] = {}
    for name in dict.fromkeys(cell.condition for cell in cells if cell.protocol == "corruption"):
        five = [cells.get(Cell("corruption", name, severity)) for severity in range(1, 6)]
        if any(cell is None for cell in five):
            continue
        errors = np.sum([_wrong(cell) for cell in five if cell is not None], axis=0)
        found[f"error/{name}"] = errors / 5
        divisor = sum(baseline.corruption_errors.get(name, ())) if baseline else 0.0
        if divisor > 0:
            found[f"ce/{name}"] = errors / divisor
    if all(f"error/{name}" in found for name in metrics.CORRUPTIONS):
        found["mean_error"] = np.mean([found[f"error/{name}"] for name in metrics.CORRUPTIONS], axis=0)
    if baseline is None or not all(f"ce/{name}" in found for name in metrics.CORRUPTIONS):
        return found
    found["mce"] = np.mean([found[f"ce/{name}"] for name in metrics.CORRUPTIONS], axis=0)
    added = {c: sum(baseline.corruption_errors[c]) - 5 * baseline.clean_error for c in metrics.CORRUPTIONS}
    if clean is not None and all(value > 0 for value in added.values()):
        relative = [5 * (found[f"error/{c}"] - clean) / added[c] for c in metrics.CORRUPTIONS]
        found["relative_mce"] = np.mean(relative, axis=0)
    return found


def _perturbation(cells: dict[Cell, Predictions], baseline: metrics.Baseline | None) -> dict[str, Vector]:
    found: dict[str, Vector] = {}
    for cell, predictions in cells.items():
        if cell.protocol != "perturbation":
            continue
        noise = "noise" in cell.condition
        step = 1 if noise else cell.severity
        classes = predictions.top1
        before = classes[:, :1] if noise else classes[:, :-step]
        flips = (before != classes[:, step:]).mean(axis=1)
        found[f"fp/{cell.condition}"] = flips
        divisor = baseline.flip_probabilities.get(cell.condition, 0.0) if baseline else 0.0
        if divisor > 0:
            found[f"fr/{cell.condition}"] = flips / divisor
    for mean, part in (("mean_flip_probability", "fp"), ("mfr", "fr")):
        if all(f"{part}/{name}" in found for name in metrics.PERTURBATIONS):
            found[mean] = np.mean([found[f"{part}/{name}"] for name in metrics.PERTURBATIONS], axis=0)
    return found
