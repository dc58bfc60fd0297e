"""A run's predictions -> its numbers. Pure: it reads cells and writes nothing; what lacks a cell is None."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

import metrics
from robustbench_lift.errors import IncompleteError
from robustbench_lift.runs import Cell, Predictions, Run

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """Every headline number of one run; all are fractions, None where a cell is missing or a protocol was not run."""

    name: str
    """Short name of the model."""
    spec: str
    """Model spec."""
    arch: str
    """Backbone."""
    pooling: str | None
    """Pooling, None when it is unknown."""
    parameters: int
    """Parameters of the network."""
    images: int
    """Images of the largest protocol."""
    signature: str
    """The line that fixes the protocol."""
    baseline: str | None
    """Name of the normaliser of CE and FR."""
    clean_error: float | None = None
    """Top-1 error on clean images."""
    clean_top5_error: float | None = None
    """Top-5 error on clean images."""
    clean_ece: float | None = None
    """Expected calibration error on clean images, 15 bins."""
    corruption_errors: dict[str, tuple[float, ...]]
    """Top-1 error of each complete corruption, severities ascending."""
    mean_error: float | None = None
    """Mean top-1 error over the benchmark's corruptions and severities: the unnormalised mCE."""
    ce: dict[str, float]
    """Corruption error of each corruption: errors divided by the normaliser's."""
    mce: float | None = None
    """Mean of the benchmark's 15 CE."""
    relative_mce: float | None = None
    """mCE of what the corruption adds to the clean error."""
    corruption_ece: float | None = None
    """Mean expected calibration error over the corruption cells."""
    flip_probabilities: dict[str, float]
    """Flip probability of each perturbation."""
    mean_flip_probability: float | None = None
    """Mean over the benchmark's perturbations: the unnormalised mFR."""
    flip_rates: dict[str, float]
    """Flip probability divided by the normaliser's."""
    mfr: float | None = None
    """Mean of the benchmark's 10 flip rates."""
    top5_distances: dict[str, float]
    """Unnormalised top-5 distance of each perturbation."""
    mean_top5_distance: float | None = None
    """Mean over the benchmark's perturbations."""
    consistency: float | None = None
    """Share of window pairs with the same top-1 class."""
    consistency_correct: float | None = None
    """The same among images that are classified correctly in the first window."""
    missing: tuple[str, ...] = ()
    """Keys of expected cells that are not there."""


def score(run: Run, baseline: metrics.Baseline | None) -> Scores:
    """All numbers of a run, CE and FR divided by `baseline` (None: no normalised numbers).

    Raises:
        DataError: a cell is damaged.
    """
    cells = {cell: run.read(cell) for cell in run.expected if run.has(cell)}
    record = run.manifest.model
    found: dict[str, Any] = {}
    clean = cells.get(Cell("clean", "clean", 0))
    if clean is not None:
        found["clean_error"] = error(clean)
        found["clean_top5_error"] = metrics.topk_error(clean.top5[:, 0], clean.labels)
        found["clean_ece"] = metrics.expected_calibration_error(clean.confidence[:, 0], clean.correct[:, 0])
    errors = corruption_errors(cells)
    flips, distances = sequences(cells)
    found |= _corruption_means(errors, cells, found.get("clean_error"), baseline)
    found |= _perturbation_means(flips, distances, baseline)
    found |= _consistency(cells)
    return Scores(
        name=run.name,
        spec=str(record["spec"]),
        arch=str(record["arch"]),
        pooling=record["pooling"],
        parameters=int(record["parameters"]),
        images=int(run.manifest.data["images"]),
        signature=run.signature,
        baseline=baseline.name if baseline else None,
        corruption_errors=errors,
        flip_probabilities=flips,
        top5_distances=distances,
        missing=tuple(cell.key for cell in run.missing()),
        **found,
    )


def error(predictions: Predictions) -> float:
    """Top-1 error of a cell of single frames."""
    return float(np.mean(~predictions.correct[:, 0]))


def corruption_errors(cells: dict[Cell, Predictions]) -> dict[str, tuple[float, ...]]:
    """Errors of the corruptions of which all five severities are there."""
    names = dict.fromkeys(cell.condition for cell in cells if cell.protocol == "corruption")
    complete = {}
    for name in names:
        five = [cells.get(Cell("corruption", name, severity)) for severity in range(1, 6)]
        if all(cell is not None for cell in five):
            complete[name] = tuple(error(cell) for cell in five if cell is not None)
    return complete


def sequences(cells: dict[Cell, Predictions]) -> tuple[dict[str, float], dict[str, float]]:
    """Flip probability and top-5 distance of each perturbation; difficulty is the stride, but for noise."""
    flips, distances = {}, {}
    for cell, predictions in cells.items():
        if cell.protocol == "perturbation":
            noise = "noise" in cell.condition
            step = 1 if noise else cell.severity
            flips[cell.condition] = metrics.flip_probability(predictions.top1, noise=noise, step=step)
            distances[cell.condition] = metrics.top5_distance(predictions.top5, noise=noise, step=step)
    return flips, distances


def baseline_of(run: Run, *, name: str | None = None) -> metrics.Baseline:
    """A run's own errors and flip probabilities as the normaliser of others.

    Raises:
        IncompleteError: cells are missing; a normaliser with holes would move every score.
    """
    missing = run.missing()
    if missing:
        raise IncompleteError(
            f"the normaliser {run.path} lacks {len(missing)} of {len(run.expected)} cells (first: {missing[0].key}). "
            "Run it to its end first."
        )
    cells = {cell: run.read(cell) for cell in run.expected}
    flips, distances = sequences(cells)
    clean = cells.get(Cell("clean", "clean", 0))
    return metrics.Baseline(
        name=name or run.name,
        source=f"measured: {run.manifest.model['spec']} on {run.manifest.data['name']}",
        clean_error=error(clean) if clean is not None else float("nan"),
        corruption_errors=corruption_errors(cells),
        flip_probabilities=flips,
        top5_distances=distances or None,
    )


def normaliser(run: Run) -> metrics.Baseline | None:
    """What the run's manifest names as normaliser: AlexNet's published constants, another run, or nothing.

    Raises:
        IncompleteError: the run that it names is absent or incomplete.
    """
    named = run.manifest.normaliser
    if named is None:
        return None
    if named == "alexnet":
        return metrics.ALEXNET
    return baseline_of(Run.open((run.path / named).resolve()))


def _corruption_means(
    errors: dict[str, tuple[float, ...]],
    cells: dict[Cell, Predictions],
    clean_error: float | None,
    baseline: metrics.Baseline | None,
) -> dict[str, Any]:
    found: dict[str, Any] = {"ce": {}}
    benchmark = {name: errors[name] for name in metrics.CORRUPTIONS if name in errors}
    whole = len(benchmark) == len(metrics.CORRUPTIONS)
    if whole:
        found["mean_error"] = metrics.mean_error(benchmark)
        calibration = [
            metrics.expected_calibration_error(cells[cell].confidence[:, 0], cells[cell].correct[:, 0])
            for cell in cells
            if cell.protocol == "corruption" and cell.condition in benchmark
        ]
        found["corruption_ece"] = float(np.mean(calibration))
    if baseline is None:
        return found
    for name, five in errors.items():
        if name in baseline.corruption_errors:
            found["ce"][name] = metrics.corruption_error(five, baseline.corruption_errors[name])
    if whole:
        found["mce"] = metrics.mean_corruption_error(benchmark, baseline=baseline)
        if clean_error is not None:
            found["relative_mce"] = _defined(
                lambda: metrics.relative_mean_corruption_error(benchmark, clean_error, baseline=baseline)
            )
    return found


def _perturbation_means(
    flips: dict[str, float], distances: dict[str, float], baseline: metrics.Baseline | None
) -> dict[str, Any]:
    found: dict[str, Any] = {"flip_rates": {}}
    benchmark = {name: flips[name] for name in metrics.PERTURBATIONS if name in flips}
    whole = len(benchmark) == len(metrics.PERTURBATIONS)
    if whole:
        found["mean_flip_probability"] = float(np.mean(list(benchmark.values())))
        found["mean_top5_distance"] = float(np.mean([distances[name] for name in benchmark]))
    if baseline is None:
        return found
    for name, flip in flips.items():
        divisor = baseline.flip_probabilities.get(name)
        if divisor:
            found["flip_rates"][name] = flip / divisor
    if whole:
        found["mfr"] = _defined(lambda: metrics.mean_flip_rate(benchmark, baseline=baseline))
    return found


def _defined(compute: Callable[[], T]) -> T | None:
    """None where the normaliser makes a ratio undefined (it adds no error, or never flips)."""
    try:
        return compute()
    except metrics.MetricError:
        return None


def _consistency(cells: dict[Cell, Predictions]) -> dict[str, float]:
    found = {}
    for cell, predictions in cells.items():
        if cell.protocol == "shift":
            first, second = window_pairs(predictions.top1, cell.condition)
            found["consistency"] = metrics.consistency(first, second)
            right = first == predictions.labels[:, None]
            if right.any():
                found["consistency_correct"] = metrics.consistency(first[right], second[right])
    return found


def window_pairs(classes: npt.NDArray[np.int64], mode: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First and second windows [n, pairs] of a shift cell: neighbours, or every pair of the diagonal.

    >>> window_pairs(np.array([[4, 4, 7, 4]]), "crop")
    (array([[4, 7]]), array([[4, 4]]))
    """
    if mode == "diagonal":
        pairs = np.array(list(combinations(range(classes.shape[1]), 2)))
        return classes[:, pairs[:, 0]], classes[:, pairs[:, 1]]
    return classes[:, 0::2], classes[:, 1::2]
