"""Scores of a run: equal to the metrics computed by hand from the same predictions, None over holes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import metrics
from robustbench_lift.errors import IncompleteError
from robustbench_lift.runs import Cell, Manifest, Predictions, Run
from robustbench_lift.scores import measured_normaliser, normaliser_of, score
from robustbench_lift.scores.measures import window_pairs
from robustbench_lift.scores.numbers import NUMBERS

N, CLASSES = 40, 8
CELLS = (
    Cell("clean", "clean", 0),
    *(Cell("corruption", name, severity) for name in metrics.CORRUPTIONS for severity in range(1, 6)),
    *(Cell("perturbation", name, 1) for name in metrics.PERTURBATIONS),
    Cell("shift", "crop", 0),
)


def make_run(folder: Path, seed: int, *, normaliser: str | None = None, skip: tuple[str, ...] = ()) -> Run:
    manifest = Manifest(
        model={"spec": f"m{seed}", "name": f"m{seed}", "arch": "a", "pooling": "lift", "parameters": 3},
        data={"name": "toy", "images": N, "classes": CLASSES},
        signature={"common": {"data": "toy"}},
        cells=tuple(cell.key for cell in CELLS),
        normaliser=normaliser,
    )
    run = Run.prepare(folder, manifest)
    rng = np.random.default_rng(seed)
    labels = np.arange(N) % CLASSES
    for cell in CELLS:
        frames = {"perturbation": 6, "shift": 4}.get(cell.protocol, 1)
        top5 = np.stack([rng.permutation(CLASSES)[:5] for _ in range(N * frames)]).reshape(N, frames, 5)
        easy = rng.random((N, frames)) < (0.9 if cell.protocol == "clean" else 0.4)
        top5[..., 0] = np.where(easy, labels[:, None], top5[..., 0])
        if cell.key not in skip:
            ids = [f"{i:03d}" for i in range(N)]
            run.write(cell, Predictions.sorted(ids, labels, top5, rng.random((N, frames))))
    return run


def test_every_number_is_the_metric_of_its_cells(tmp_path: Path) -> None:
    run = make_run(tmp_path, 0)
    scores = score(run, metrics.ALEXNET)
    errors = {
        name: [
            float(np.mean(run.read(Cell("corruption", name, s)).top1[:, 0] != np.arange(N) % CLASSES))
            for s in range(1, 6)
        ]
        for name in metrics.CORRUPTIONS
    }
    assert scores["mce"] == pytest.approx(
        np.mean([sum(errors[c]) / sum(metrics.ALEXNET.corruption_errors[c]) for c in metrics.CORRUPTIONS])
    )
    assert scores["mean_error"] == pytest.approx(np.mean(list(errors.values())))
    assert scores["ce/fog"] == pytest.approx(sum(errors["fog"]) / sum(metrics.ALEXNET.corruption_errors["fog"]))
    flips = {
        name: float(np.mean(frames[:, 1:] != (frames[:, :1] if "noise" in name else frames[:, :-1])))
        for name in metrics.PERTURBATIONS
        for frames in [run.read(Cell("perturbation", name, 1)).top1]
    }
    assert scores.family("fp") == pytest.approx(flips)
    assert scores["mfr"] == pytest.approx(
        np.mean([flips[p] / metrics.ALEXNET.flip_probabilities[p] for p in metrics.PERTURBATIONS])
    )
    windows = run.read(Cell("shift", "crop", 0)).top1
    assert scores["consistency"] == pytest.approx(np.mean(windows[:, [0, 2]] == windows[:, [1, 3]]))
    right = windows[:, [0, 2]] == (np.arange(N) % CLASSES)[:, None]
    assert scores["consistency_correct"] == pytest.approx(np.mean((windows[:, [0, 2]] == windows[:, [1, 3]])[right]))
    assert scores.missing == ()


def test_a_run_normalised_by_itself_is_one(tmp_path: Path) -> None:
    run = make_run(tmp_path, 1)
    scores = score(run, measured_normaliser(run))
    assert scores["mce"] == pytest.approx(1.0)
    assert scores["mfr"] == pytest.approx(1.0)
    assert scores["relative_mce"] == pytest.approx(1.0)


def test_no_mean_is_taken_over_holes(tmp_path: Path) -> None:
    holes = ("corruption/fog/3", "perturbation/tilt/1", "clean/clean/0")
    run = make_run(tmp_path, 2, skip=holes)
    scores = score(run, metrics.ALEXNET)
    assert set(scores.missing) == set(holes)
    assert not {"mce", "mean_error", "mfr", "clean_error", "relative_mce"} & set(scores)
    assert "ce/fog" not in scores
    assert "ce/snow" in scores
    with pytest.raises(IncompleteError, match="lacks 3 of 87 cells"):
        measured_normaliser(run)


def test_without_a_normaliser_there_are_no_normalised_numbers(tmp_path: Path) -> None:
    scores = score(make_run(tmp_path, 3), None)
    assert not {"mce", "mfr", "mt5d"} & set(scores)
    assert "mean_error" in scores
    assert "mean_flip_probability" in scores


def test_the_normaliser_is_found_beside_the_run(tmp_path: Path) -> None:
    other = make_run(tmp_path / "alexnet", 4)
    run = make_run(tmp_path / "net", 5, normaliser="../alexnet")
    found = normaliser_of(run)
    assert found is not None
    assert found.corruption_errors == measured_normaliser(other).corruption_errors
    assert normaliser_of(make_run(tmp_path / "b", 6, normaliser="alexnet")) is metrics.ALEXNET
    assert normaliser_of(other) is None


def test_the_diagonal_compares_all_pairs() -> None:
    first, second = window_pairs(np.array([[0, 1, 2]]), "diagonal")
    assert first.tolist() == [[0, 0, 1]]
    assert second.tolist() == [[1, 2, 2]]


def test_a_normaliser_that_a_corruption_does_not_harm_gives_no_relative_mce() -> None:
    errors = tuple(wrong / 480 for wrong in (294, 336, 478, 231, 96))
    assert sum(errors) - 5 * (287 / 480) > 0, "what is left of zero would be divided by"
    normaliser = metrics.Baseline(
        name="own", source="", clean_error=287 / 480, corruption_errors={"fog": errors}, flip_probabilities={}
    )
    means = {"clean": np.array(0.2), "fog": np.array(0.5)}
    assert NUMBERS["relative_mce"].value(means, normaliser) is None
