"""NLL, Brier score and calibration of hand-made probabilities, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

import metrics
from robustbench_lift.runs import Cell, Predictions
from robustbench_lift.scores import NUMBERS, Evidence

CLEAN = Cell("clean", "clean", 0)
N, K = 200, 7


def hand_made(*, stored: bool = True) -> tuple[Predictions, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(K, 0.4), size=N).astype(np.float32)
    labels = rng.integers(0, K, N)
    order = np.argsort(-p, axis=1)
    extra = {
        "label_probability": p[np.arange(N), labels][:, None],
        "squared_probability": (p.astype(np.float64) ** 2).sum(axis=1)[:, None],
    }
    found = Predictions.sorted(
        [f"{i:03d}" for i in range(N)], labels, order[:, None, :5], p.max(axis=1)[:, None], **(extra if stored else {})
    )
    return found, p.astype(np.float64), labels


def test_they_are_their_definitions() -> None:
    predictions, p, labels = hand_made()
    evidence = Evidence([CLEAN], bins=True)
    evidence.add(CLEAN, predictions)
    values, vectors = evidence.values(None), evidence.vectors(None)
    truth = np.eye(K)[labels]
    assert values["clean_nll"] == pytest.approx(-np.log(p[np.arange(N), labels]).mean(), rel=1e-5)
    assert values["clean_brier"] == pytest.approx(((p - truth) ** 2).sum(axis=1).mean(), rel=1e-5)
    right = p.argmax(axis=1) == labels
    assert values["clean_ece"] == pytest.approx(metrics.expected_calibration_error(p.max(axis=1), right), abs=1e-6)
    assert vectors["clean_nll"].mean() == pytest.approx(values["clean_nll"])


def test_pseudo_values_of_a_number_that_is_not_linear_are_the_jackknife() -> None:
    predictions, p, labels = hand_made()
    evidence = Evidence([CLEAN], numbers=("clean_ece",), bins=True)
    evidence.add(CLEAN, predictions)
    right, confidence = p.argmax(axis=1) == labels, p.max(axis=1)
    whole = metrics.expected_calibration_error(confidence, right)
    without = [
        metrics.expected_calibration_error(np.delete(confidence, i), np.delete(right, i)) for i in range(0, N, 20)
    ]
    expected = N * whole - (N - 1) * np.array(without)
    assert evidence.vectors(None)["clean_ece"][::20] == pytest.approx(expected, abs=1e-3)


def test_runs_that_do_not_store_probabilities_do_not_have_them() -> None:
    evidence = Evidence([CLEAN])
    evidence.add(CLEAN, hand_made(stored=False)[0])
    assert not {"clean_nll", "clean_brier"} & set(evidence.values(None))


@pytest.mark.parametrize(("classes", "known"), [(4, False), (5, False), (6, True)])
def test_the_first_five_of_five_classes_are_no_number(classes: int, known: bool) -> None:
    order = np.argsort(np.random.default_rng(0).random((20, classes)), axis=1)
    top5 = np.full((20, 1, 5), -1, np.int16)
    top5[:, 0, : min(classes, 5)] = order[:, :5]
    ids = [f"{k:02d}" for k in range(20)]
    found = Predictions.sorted(ids, np.zeros(20, np.int64), top5, np.ones((20, 1), np.float32))
    rows = NUMBERS["clean_top5_error"].measure(CLEAN, found)
    assert (rows is not None) == known
