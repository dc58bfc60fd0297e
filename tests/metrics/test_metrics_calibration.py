"""Calibration and consistency: against literal loops, at the edges of the bins, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import metrics
from metrics import MetricError


def literal_ece(confidence: list[float], correct: list[bool], bins: int) -> float:
    total = 0.0
    for k in range(bins):
        low, high = k / bins, (k + 1) / bins
        inside = [i for i, p in enumerate(confidence) if low <= p < high or (k == bins - 1 and p == 1.0)]
        if inside:
            accuracy = sum(correct[i] for i in inside) / len(inside)
            mean = sum(confidence[i] for i in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(accuracy - mean)
    return total


# steps of 1/64 lie in a bin for certain, whatever is rounded
@given(
    st.lists(st.tuples(st.integers(0, 64), st.booleans()), min_size=1, max_size=50), st.sampled_from([1, 2, 4, 8, 16])
)
def test_ece_against_a_loop(rows: list[tuple[int, bool]], bins: int) -> None:
    confidence, correct = [p / 64 for p, _ in rows], [right for _, right in rows]
    found = metrics.expected_calibration_error(confidence, correct, bins=bins)
    assert found == pytest.approx(literal_ece(confidence, correct, bins), abs=1e-12)
    assert 0 <= found <= 1


def test_fifteen_bins_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.random(1000)
    correct = rng.random(1000) < confidence**2
    expected = literal_ece(confidence.tolist(), correct.tolist(), 15)
    assert metrics.expected_calibration_error(confidence, correct) == pytest.approx(expected)


@pytest.mark.parametrize(("p", "right", "ece"), [(1.0, True, 0), (1.0, False, 1), (0.0, True, 1), (0.0, False, 0)])
def test_certainty_has_a_bin(p: float, right: bool, ece: float) -> None:
    assert metrics.expected_calibration_error([p], [right]) == ece


def test_single_precision_confidences() -> None:
    confidence = np.full(10, np.float32(1) - np.finfo(np.float32).epsneg)
    assert metrics.expected_calibration_error(confidence, np.ones(10, dtype=bool)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("confidence", "correct", "bins", "message"),
    [
        ([], [], 15, "non-empty"),
        ([0.5], [True, False], 15, r"found \(1,\) and \(2,\)"),
        ([1.5], [True], 15, "probabilities between 0 and 1"),
        ([math.nan], [True], 15, "probabilities between 0 and 1"),
        ([0.5], [True], 0, "at least 1, not 0"),
        ([0.5], [True], 2.5, "at least 1, not 2.5"),
        (["half"], [True], 15, "confidence must be numbers"),
        ([0.5], ["yes"], 15, "correct must be numbers"),
        ([[0.5], [0.1, 0.2]], [True], 15, "confidence: expected an array"),
        ([0.5], [7], 15, "correct must say yes or no"),
    ],
)
def test_what_is_no_calibration(confidence: list[float], correct: list[bool], bins: int, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        metrics.expected_calibration_error(confidence, correct, bins=bins)


def test_a_tensor_with_a_gradient_and_other_sums_are_refused() -> None:
    import torch

    with pytest.raises(MetricError, match=r"confidence: expected an array.*detach\(\)"):
        metrics.expected_calibration_error(torch.tensor([0.5], requires_grad=True), [True])
    with pytest.raises(MetricError, match=r"expected the sums of calibration_bins, \[3, B\], found \[0\]"):
        metrics.binned_calibration_error([])
    with pytest.raises(MetricError, match="confidence must be numbers"):
        metrics.bin_index(["x"])
    with pytest.raises(MetricError, match="error: expected one number, found 'x'"):
        metrics.added_error("x", 0.5)


def test_bins_without_images() -> None:
    with pytest.raises(MetricError, match="there are no images"):
        metrics.binned_calibration_error(np.zeros((3, 15)))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=30))
def test_consistency_against_a_loop(rows: list[tuple[int, int, int]]) -> None:
    first, second, labels = (np.array(column) for column in zip(*rows, strict=True))
    assert metrics.consistency(first, second) == pytest.approx(sum(a == b for a, b, _ in rows) / len(rows))
    right = [(a, b) for a, b, label in rows if a == label]
    if right:
        expected = sum(a == b for a, b in right) / len(right)
        assert metrics.consistency_among_correct(first, second, labels) == pytest.approx(expected)


def test_consistency_over_several_pairs_an_image() -> None:
    first, second = np.array([[1, 2], [3, 3]]), np.array([[1, 1], [3, 0]])
    assert metrics.consistency(first, second) == 0.5
    assert metrics.consistency_among_correct(first, second, [1, 3]) == pytest.approx(2 / 3)


def test_consistency_refuses() -> None:
    with pytest.raises(MetricError, match="two equal, non-empty arrays"):
        metrics.consistency([1, 2], [1])
    with pytest.raises(MetricError, match="no first window is classified correctly"):
        metrics.consistency_among_correct([1], [1], [2])
    with pytest.raises(MetricError, match="labels go from -1"):
        metrics.consistency_among_correct([-1], [-1], [-1])
    with pytest.raises(MetricError, match=r"labels \[n\]"):
        metrics.consistency_among_correct([[1, 2]], [[1, 2]], [1, 2])
    with pytest.raises(MetricError, match="integers; found float64"):
        metrics.consistency([1.0], [math.nan])
