"""Segmentation metrics against naive loops, scikit-learn and worked values."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest

import metrics
from metrics import MetricError

ROWS = {  # clean mIoU, then means over severities of the 16 corruptions on Cityscapes, percent
    "R50": "76.6 58.5 56.6 47.2 57.7 6.5 7.2 10.0 31.1 58.2 54.7 41.3 27.4 12.0 42.0 55.9 22.8",
    "R101": "77.1 59.1 56.3 47.7 57.3 13.2 13.9 16.3 36.9 59.2 54.5 41.5 37.4 11.9 47.8 55.1 22.7",
    "X71": "78.6 64.1 60.9 52.0 60.4 14.9 10.8 19.4 41.2 68.0 58.7 47.1 40.2 18.8 50.4 64.1 20.2",
    "SegFormer": "82.4 69.1 68.6 64.1 69.8 57.8 63.4 52.3 72.8 81.0 77.7 80.1 58.8 40.7 68.4 78.5 49.9",
    "ICNet": "65.9 45.8 44.6 47.4 44.7 8.4 8.4 10.6 27.9 41.0 33.1 27.5 34.0 6.3 30.5 27.3 11.0",
}


def maps(seed: int, classes: int = 4, shape: tuple[int, ...] = (3, 9, 11)) -> tuple[npt.NDArray[np.uint8], ...]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, shape).astype(np.uint8)
    said = np.where(rng.random(shape) < 0.6, truth, rng.integers(0, classes, shape)).astype(np.uint8)
    truth[rng.random(shape) < 0.1] = 255
    return said, truth


@pytest.mark.parametrize("seed", range(4))
def test_counts_are_those_of_a_loop(seed: int) -> None:
    said, truth = maps(seed)
    expected = np.zeros((3, 4, 3), dtype=np.int64)
    for place in itertools.product(*map(range, truth.shape)):
        if truth[place] == 255:
            continue
        expected[place[0], truth[place], 1] += 1
        expected[place[0], said[place], 2] += 1
        expected[place[0], truth[place], 0] += truth[place] == said[place]
    assert np.array_equal(metrics.pixel_counts(said, truth, 4), expected)


@pytest.mark.parametrize("seed", range(4))
def test_numbers_are_those_of_scikit_learn(seed: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    said, truth = maps(seed)
    known = truth != 255
    counts = metrics.pixel_counts(said, truth, 4).sum(axis=0)
    theirs = sklearn.jaccard_score(truth[known], said[known], labels=range(4), average=None)
    assert metrics.class_iou(counts) == pytest.approx(theirs)
    assert float(metrics.mean_iou(counts)) == pytest.approx(theirs.mean())
    weighted = sklearn.jaccard_score(truth[known], said[known], average="weighted")
    assert float(metrics.frequency_weighted_iou(counts)) == pytest.approx(weighted)
    assert float(metrics.pixel_accuracy(counts)) == pytest.approx(sklearn.accuracy_score(truth[known], said[known]))
    balanced = sklearn.balanced_accuracy_score(truth[known], said[known])
    assert float(metrics.class_accuracy(counts)) == pytest.approx(balanced)


def test_the_score_of_a_set_is_no_mean_over_images() -> None:
    said, truth = maps(7)
    counts = metrics.pixel_counts(said, truth, 4)
    whole = metrics.pixel_counts(said.reshape(1, -1, 11), truth.reshape(1, -1, 11), 4)[0]
    assert np.array_equal(counts.sum(axis=0), whole)
    assert float(metrics.mean_iou(counts.sum(axis=0))) != pytest.approx(
        float(metrics.mean_iou(counts).mean()), abs=1e-6
    )


def test_what_is_said_of_void_never_counts() -> None:
    truth = np.full((4, 4), 255, dtype=np.uint8)
    truth[0, 0] = 1
    assert metrics.pixel_counts(np.ones((4, 4), np.uint8), truth, 2).tolist() == [[0, 0, 0], [1, 1, 1]]
    nothing = metrics.pixel_counts(np.ones((4, 4), np.uint8), np.full((4, 4), 255, np.uint8), 2)
    assert not nothing.any()
    assert np.isnan(metrics.mean_iou(nothing))


def test_small_integers_do_not_wrap() -> None:
    truth = np.full((2, 3), 20, dtype=np.uint8)
    counts = metrics.pixel_counts(truth, truth, 21)
    assert counts[20].tolist() == [6, 6, 6]
    assert counts.dtype == np.int64


def test_an_absent_class_is_left_out_and_counted() -> None:
    counts = np.array([[5, 5, 6], [0, 0, 0], [2, 4, 3]])
    assert float(metrics.mean_iou(counts)) == pytest.approx((5 / 6 + 2 / 5) / 2)
    assert int(metrics.classes_counted(counts)) == 2
    predicted_only = np.array([[5, 5, 5], [0, 0, 3]])
    assert float(metrics.mean_iou(predicted_only)) == pytest.approx(0.5)


@pytest.mark.parametrize("band", [False, True])
@pytest.mark.parametrize("width", [1, 2, 4])
def test_a_trimap_is_a_dilated_boundary(width: int, band: bool) -> None:
    rng = np.random.default_rng(width)
    labels = np.kron(rng.integers(0, 3, (4, 5)), np.ones((6, 6), dtype=int)).astype(np.uint8)
    labels[8:11, 3:9] = 255
    edge = np.zeros(labels.shape, dtype=bool)
    for y, x in itertools.product(*map(range, labels.shape)):
        if band:
            edge[y, x] = labels[y, x] == 255
            continue
        for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            if 0 <= y + dy < labels.shape[0] and 0 <= x + dx < labels.shape[1]:
                pair = {int(labels[y, x]), int(labels[y + dy, x + dx])}
                edge[y, x] |= len(pair) == 2 and 255 not in pair
    reach = width if band else width - 1
    expected = labels.copy()
    for y, x in itertools.product(*map(range, labels.shape)):
        around = edge[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
        if not around.any():
            expected[y, x] = 255
    assert np.array_equal(metrics.within_trimap(labels, width, band=band), expected)


def test_boundary_f1_by_hand() -> None:
    truth = np.zeros((20, 20), dtype=np.uint8)
    truth[:, 10:] = 1
    near, far = np.roll(truth, 1, axis=1), np.zeros_like(truth)
    near[:, 0] = 0
    far[:, 16:] = 1
    assert metrics.boundary_f1(truth, truth, 2) == 1.0
    assert metrics.boundary_f1(near, truth, 2) == 1.0  # within one pixel, 0.75 % of 28
    assert metrics.boundary_f1(far, truth, 2) == 0.0
    half = truth.copy()
    half[:10, 4:] = 1  # the upper half of the boundary is 6 pixels off
    assert 0.3 < metrics.boundary_f1(half, truth, 2) < 0.8


@pytest.mark.parametrize(
    ("name", "degradation", "relative"),
    [("R50", 86.61, 103.71), ("R101", 83.21, 98.91), ("X71", 77.39, 90.54), ("SegFormer", 47.73, 45.22)],
)
def test_degradations_of_published_rows(name: str, degradation: float, relative: float) -> None:
    clean, *rows = (float(v) / 100 for v in ROWS[name].split())
    reference_clean, *reference = (float(v) / 100 for v in ROWS["ICNet"].split())
    pairs = list(zip(rows, reference, strict=True))
    mean = np.mean([metrics.corruption_degradation([a], [b]) for a, b in pairs])
    lost = np.mean([metrics.relative_corruption_degradation([a], clean, [b], reference_clean) for a, b in pairs])
    assert 100 * mean == pytest.approx(degradation, abs=0.005)
    assert 100 * lost == pytest.approx(relative, abs=0.005)


def test_what_cannot_be_counted_is_refused() -> None:
    flat = np.zeros((2, 2), dtype=np.uint8)
    with pytest.raises(MetricError, match="shape"):
        metrics.pixel_counts(flat, np.zeros((2, 3), np.uint8), 2)
    with pytest.raises(MetricError, match="0 to 1"):
        metrics.pixel_counts(flat, flat + 2, 2)
    with pytest.raises(MetricError, match="integers"):
        metrics.pixel_counts(flat.astype(float), flat, 2)
    with pytest.raises(MetricError, match="severities"):
        metrics.corruption_degradation([0.5], [0.5, 0.4])
    with pytest.raises(MetricError, match="predictions go from 0 to 7, expected 0 to 1"):
        metrics.boundary_f1([[0, 7]], [[0, 1]], 2)
    with pytest.raises(MetricError, match="number of classes"):
        metrics.pixel_counts(flat, flat, 2.0)
    for formula in (metrics.class_iou, metrics.mean_iou, metrics.pixel_accuracy, metrics.frequency_weighted_iou):
        for counts in ([1, 2, 1], [[1, 2], [1, 2]], [[np.nan, 2, 1]]):
            with pytest.raises(MetricError, match="counts"):
                formula(counts)
    with pytest.raises(MetricError, match=r"clean: 70\.0 is not between 0 and 1\. Fractions"):
        metrics.relative_corruption_degradation([0.5], 70.0, [0.4], 0.6)
    with pytest.raises(MetricError, match="loses nothing"):
        metrics.relative_corruption_degradation([0.5] * 3, 0.7, [0.1, 0.3, 0.2], 0.2)
    with pytest.raises(MetricError, match="no mistake"):
        metrics.corruption_degradation([0.5], [1.0])


@pytest.mark.parametrize(("kind", "void"), [(np.int8, 255), (np.uint8, -1), (np.uint8, 300)])
def test_a_label_of_void_beyond_the_type_of_the_map(kind: type, void: int) -> None:
    found = metrics.within_trimap(np.array([[0, 0, 0, 1, 1]], kind), 1, void=void)
    assert found.tolist() == [[void, void, 0, 1, void]]
