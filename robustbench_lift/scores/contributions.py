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
from robustbench_lift.errors import DataError
from robustbench_lift.runs import Cell, Predictions, Run
from robustbench_lift.scores.scoring import window_pairs

Vector = npt.NDArray[np.float64]
SEVERITIES = 5


class Tally:
    """Sums over the cells of one run, an entry an image; a cell is looked at once and not kept."""

    def __init__(self) -> None:
        self._ids: dict[str, tuple[str, npt.NDArray[np.str_]]] = {}
        self._clean: Vector | None = None
        self._wrong: dict[str, Vector] = {}
        self._severities: dict[str, int] = {}
        self._flips: dict[str, Vector] = {}
        self._agreement: Vector | None = None

    def add(self, cell: Cell, predictions: Predictions) -> None:
        """Take in a cell.

        Raises:
            DataError: it holds other images than the protocol's first cell, so rows are not the same images.
        """
        first, ids = self._ids.setdefault(cell.protocol, (cell.key, predictions.ids))
        if not np.array_equal(ids, predictions.ids):
            raise DataError(f"{cell.key} holds other images than {first} of the same run. Delete it and run again.")
        if cell.protocol == "clean":
            self._clean = _wrong(predictions)
        elif cell.protocol == "corruption":
            name = cell.condition
            self._wrong[name] = self._wrong.get(name, 0.0) + _wrong(predictions)
            self._severities[name] = self._severities.get(name, 0) + 1
        elif cell.protocol == "perturbation":
            self._flips[cell.condition] = _flips(cell, predictions.top1)
        elif cell.protocol == "shift":
            first_window, second_window = window_pairs(predictions.top1, cell.condition)
            self._agreement = (first_window == second_window).mean(axis=1)

    def vectors(self, baseline: metrics.Baseline | None) -> dict[str, Vector]:
        """Each number as a vector [n] whose mean it is; only numbers of which every cell was seen.

        Keys: clean_error, mean_error, mce, relative_mce, mean_flip_probability, mfr, consistency, ce/<corruption>,
        error/<corruption>, fp/<perturbation>, fr/<perturbation>.
        """
        found: dict[str, Vector] = {}
        if self._clean is not None:
            found["clean_error"] = self._clean
        found |= self._corruption(baseline)
        found |= self._perturbation(baseline)
        if self._agreement is not None:
            found["consistency"] = self._agreement
        return found

    def _corruption(self, baseline: metrics.Baseline | None) -> dict[str, Vector]:
        found: dict[str, Vector] = {}
        for name, errors in self._wrong.items():
            if self._severities[name] != SEVERITIES:
                continue
            found[f"error/{name}"] = errors / SEVERITIES
            divisor = sum(baseline.corruption_errors.get(name, ())) if baseline else 0.0
            if divisor > 0:
                found[f"ce/{name}"] = errors / divisor
        if all(f"error/{name}" in found for name in metrics.CORRUPTIONS):
            found["mean_error"] = np.mean([found[f"error/{name}"] for name in metrics.CORRUPTIONS], axis=0)
        if baseline is None or not all(f"ce/{name}" in found for name in metrics.CORRUPTIONS):
            return found
        found["mce"] = np.mean([found[f"ce/{name}"] for name in metrics.CORRUPTIONS], axis=0)
        added = {c: sum(baseline.corruption_errors[c]) - SEVERITIES * baseline.clean_error for c in metrics.CORRUPTIONS}
        clean = self._clean
        if clean is not None and self._same_images("clean", "corruption") and min(added.values()) > 0:
            relative = [SEVERITIES * (found[f"error/{c}"] - clean) / added[c] for c in metrics.CORRUPTIONS]
            found["relative_mce"] = np.mean(relative, axis=0)
        return found

    def _same_images(self, one: str, other: str) -> bool:
        """Whether two protocols show the same images, so that their rows can be subtracted."""
        if one not in self._ids or other not in self._ids:
            return False
        return bool(np.array_equal(self._ids[one][1], self._ids[other][1]))

    def _perturbation(self, baseline: metrics.Baseline | None) -> dict[str, Vector]:
        found: dict[str, Vector] = {}
        for name, flips in self._flips.items():
            found[f"fp/{name}"] = flips
            divisor = baseline.flip_probabilities.get(name, 0.0) if baseline else 0.0
            if divisor > 0:
                found[f"fr/{name}"] = flips / divisor
        for mean, part in (("mean_flip_probability", "fp"), ("mfr", "fr")):
            if all(f"{part}/{name}" in found for name in metrics.PERTURBATIONS):
                found[mean] = np.mean([found[f"{part}/{name}"] for name in metrics.PERTURBATIONS], axis=0)
        return found


def contributions(run: Run, baseline: metrics.Baseline | None) -> dict[str, Vector]:
    """Each number of a run as a vector [n] whose mean it is (`Tally.vectors`); cells that are not there are left out.

    Raises:
        DataError: a cell is damaged, or holds other images than the rest of its protocol.
    """
    tally = Tally()
    for cell in run.expected:
        if run.has(cell):
            tally.add(cell, run.read(cell))
    return tally.vectors(baseline)


def _wrong(predictions: Predictions) -> Vector:
    return (~predictions.correct[:, 0]).astype(np.float64)


def _flips(cell: Cell, classes: npt.NDArray[np.int64]) -> Vector:
    """Share of frame pairs with another class, clip by clip; difficulty is the stride, but for noise."""
    noise = "noise" in cell.condition
    step = 1 if noise else cell.severity
    before = classes[:, :1] if noise else classes[:, :-step]
    return np.asarray((before != classes[:, step:]).mean(axis=1))
