"""Numbers as means over images, and their bootstrap: against the metrics, closed forms and literal resampling."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import metrics
from robustbench_lift.errors import DataError
from robustbench_lift.runs import Cell, Predictions
from robustbench_lift.scores import contributions, intervals, percentile_interval, resample, score

HEADLINES = (
    "clean_error", "mean_error", "mce", "relative_mce", "mean_flip_probability", "mfr", "consistency",
)  # fmt: skip


def test_every_vector_has_the_number_as_its_mean(make_run: Callable[..., Any]) -> None:
    run = make_run()
    found, scores = contributions(run, metrics.ALEXNET), score(run, metrics.ALEXNET)
    for name in HEADLINES:
        assert found[name].mean() == pytest.approx(scores[name], abs=1e-12), name
    for name in metrics.CORRUPTIONS:
        assert found[f"ce/{name}"].mean() == pytest.approx(scores[f"ce/{name}"])
        assert found[f"error/{name}"].mean() == pytest.approx(scores[f"error/{name}"])
    for name in metrics.PERTURBATIONS:
        assert found[f"fr/{name}"].mean() == pytest.approx(scores[f"fr/{name}"])
        assert found[f"fp/{name}"].mean() == pytest.approx(scores[f"fp/{name}"])


def test_a_resampled_run_scores_what_the_vectors_say(make_run: Callable[..., Any]) -> None:
    """Linearity is not taken on trust: images are drawn, the run is rebuilt from them, and scored."""
    run = make_run(images=40)
    found = contributions(run, metrics.ALEXNET)
    rng = np.random.default_rng(5)
    for _ in range(3):
        rows = rng.integers(0, 40, 40)
        again = make_run(images=40)
        again.arrays = {
            cell: Predictions(p.ids, p.labels[rows], p.top5[rows], p.confidence[rows]) for cell, p in run.arrays.items()
        }
        scores = score(again, metrics.ALEXNET)
        for name in HEADLINES:
            assert found[name][rows].mean() == pytest.approx(scores[name], abs=1e-12), name


def test_numbers_with_a_hole_are_left_out(make_run: Callable[..., Any]) -> None:
    run = make_run()
    del run.arrays[Cell("corruption", "fog", 3)], run.arrays[Cell("perturbation", "tilt", 1)]
    found = contributions(run, metrics.ALEXNET)
    assert {"ce/fog", "error/fog", "mce", "mean_error", "relative_mce", "fp/tilt", "fr/tilt", "mfr"}.isdisjoint(found)
    assert {"ce/snow", "clean_error", "consistency", "fr/scale"} <= set(found)


def test_without_a_normaliser_nothing_is_normalised(make_run: Callable[..., Any]) -> None:
    found = contributions(make_run(), None)
    assert {"mce", "relative_mce", "mfr"}.isdisjoint(found)
    assert {"mean_error", "mean_flip_probability"} <= set(found)


def test_cells_of_other_images_are_not_added_up(make_run: Callable[..., Any]) -> None:
    run = make_run()
    cell = Cell("corruption", "fog", 3)
    p = run.arrays[cell]
    run.arrays[cell] = Predictions(np.char.add("x", p.ids), p.labels, p.top5, p.confidence)
    with pytest.raises(DataError, match="corruption/fog/3 holds other images than corruption/gaussian_noise/1"):
        contributions(run, None)


def test_relative_mce_needs_clean_answers_to_the_same_images(make_run: Callable[..., Any]) -> None:
    run = make_run()
    cell = Cell("clean", "clean", 0)
    p = run.arrays[cell]
    run.arrays[cell] = Predictions(p.ids[:30], p.labels[:30], p.top5[:30], p.confidence[:30])
    found = contributions(run, metrics.ALEXNET)
    assert "relative_mce" not in found
    assert "mce" in found


def test_standard_error_and_mean_against_the_closed_form() -> None:
    """A mean of n drawn rows has the rows' mean and the variance sigma^2 / n."""
    rng = np.random.default_rng(0)
    values = rng.exponential(size=300)
    means = resample({"v": values}, replicates=20_000, seed=1)["v"]
    assert means.mean() == pytest.approx(values.mean(), abs=4 * values.std() / math.sqrt(300 * 20_000))
    assert means.std() == pytest.approx(values.std() / math.sqrt(300), rel=0.02)


def test_draws_are_those_of_counting_rows() -> None:
    """The product of counts and values is the mean of the drawn rows, to single precision."""
    rng = np.random.default_rng(0)
    values = rng.random(50)
    drawn = np.random.default_rng(9).integers(0, 50, size=(20, 50), dtype=np.int32)
    found = resample({"v": values}, replicates=20, seed=9)["v"]
    assert found == pytest.approx(values[drawn].mean(axis=1), abs=1e-7)


def test_columns_share_their_draws() -> None:
    a = np.random.default_rng(0).random(100)
    found = resample({"a": a, "twice": 2 * a, "one less": 1 - a}, replicates=50, seed=3)
    assert found["twice"] == pytest.approx(2 * found["a"], abs=1e-6)
    assert found["one less"] == pytest.approx(1 - found["a"], abs=1e-6)


def test_draws_do_not_depend_on_the_size_of_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"v": np.random.default_rng(0).random(64)}
    whole = resample(values, replicates=40, seed=3)["v"]
    monkeypatch.setattr("robustbench_lift.scores.bootstrap.CHUNK", 64 * 7)
    assert resample(values, replicates=40, seed=3)["v"] == pytest.approx(whole, abs=1e-7)


def test_seeds_matter_and_repeat() -> None:
    values = {"v": np.random.default_rng(0).random(64)}
    first, again, other = (resample(values, replicates=10, seed=seed)["v"] for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_percentiles() -> None:
    assert percentile_interval(np.arange(101.0), 0.9) == pytest.approx((5.0, 95.0))


def test_intervals_hold_the_score(make_run: Callable[..., Any]) -> None:
    run = make_run()
    scores = score(run, metrics.ALEXNET)
    found = intervals(run, normaliser=metrics.ALEXNET, replicates=400)
    for name in HEADLINES:
        assert found[name].low <= scores[name] <= found[name].high
        assert found[name].low < found[name].high
    narrow = intervals(run, normaliser=metrics.ALEXNET, replicates=400, confidence=0.5)
    assert narrow["mce"].high - narrow["mce"].low < found["mce"].high - found["mce"].low
