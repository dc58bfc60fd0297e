"""Errors, CE, mCE and relative mCE: against loops written from the definition, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import metrics
from metrics import ALEXNET, CORRUPTIONS, MetricError

fractions = st.floats(0.001, 1.0)
tables = st.fixed_dictionaries({name: st.lists(fractions, min_size=5, max_size=5) for name in CORRUPTIONS})


def literal_mce(errors: dict[str, list[float]], baseline: dict[str, list[float]]) -> float:
    total = 0.0
    for name in CORRUPTIONS:
        above = below = 0.0
        for severity in range(5):
            above += errors[name][severity]
            below += baseline[name][severity]
        total += above / below
    return total / 15


def make(errors: dict[str, list[float]], clean: float = 0.1) -> metrics.Baseline:
    return metrics.Baseline(
        name="own",
        source="made up",
        clean_error=clean,
        corruption_errors={name: tuple(five) for name, five in errors.items()},
        flip_probabilities={},
    )


@given(tables, tables)
def test_mce_is_the_mean_of_ratios_of_sums(errors: dict[str, list[float]], divisor: dict[str, list[float]]) -> None:
    assert metrics.mean_corruption_error(errors, make(divisor)) == pytest.approx(literal_mce(errors, divisor))


@given(tables, st.floats(0.0, 1.0))
def test_relative_mce_subtracts_the_clean_error(errors: dict[str, list[float]], clean: float) -> None:
    expected = 0.0
    for name in CORRUPTIONS:
        added = sum(e - clean for e in errors[name])
        expected += added / sum(e - 0.435 for e in ALEXNET.corruption_errors[name]) / 15
    assert metrics.relative_mean_corruption_error(errors, clean) == pytest.approx(expected, abs=1e-12)


@given(tables)
def test_order_of_the_corruptions_does_not_matter(errors: dict[str, list[float]]) -> None:
    turned = dict(reversed(errors.items()))
    assert metrics.mean_corruption_error(errors) == metrics.mean_corruption_error(turned)
    assert metrics.mean_error(errors) == pytest.approx(np.mean(list(errors.values())))


def test_a_mean_of_ratios_by_severity_is_another_number() -> None:
    assert metrics.corruption_error([0.1, 0.9, 0.9, 0.9, 0.9], [0.9, 0.9, 0.9, 0.9, 0.9]) == pytest.approx(3.7 / 4.5)
    assert metrics.corruption_error([0.9, 0.1, 0.1, 0.1, 0.1], [0.1, 0.9, 0.9, 0.9, 0.9]) == pytest.approx(1.3 / 3.7)


def test_a_ce_above_one_is_allowed() -> None:
    assert metrics.corruption_error([1.0] * 5, [0.5] * 5) == 2.0


def test_extra_corruptions_have_means_of_their_own() -> None:
    assert set(metrics.ALEXNET_EXTRA_ERRORS).isdisjoint(CORRUPTIONS)
    half = [metrics.ALEXNET_EXTRA_ERRORS["spatter"] / 2] * 5
    assert metrics.corruption_error(half, [metrics.ALEXNET_EXTRA_ERRORS["spatter"]] * 5) == pytest.approx(0.5)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_top1_error_is_one_minus_accuracy(pairs: list[tuple[int, int]]) -> None:
    predictions, labels = zip(*pairs, strict=True)
    right = sum(p == label for p, label in pairs)
    assert metrics.top1_error(predictions, labels) == pytest.approx(1 - right / len(pairs))


def test_top_k_error_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    ranked = np.stack([rng.permutation(10)[:5] for _ in range(200)])
    labels = rng.integers(0, 10, 200)
    missed = sum(label not in row for row, label in zip(ranked.tolist(), labels.tolist(), strict=True))
    assert metrics.topk_error(ranked, labels) == missed / 200
    assert metrics.topk_error(ranked[:, :1], labels) == metrics.top1_error(ranked[:, 0], labels)


def complete() -> dict[str, list[float]]:
    return {name: [0.5] * 5 for name in CORRUPTIONS}


@pytest.mark.parametrize(
    "metric",
    [metrics.mean_error, metrics.mean_corruption_error, lambda e: metrics.relative_mean_corruption_error(e, 0.2)],
    ids=["mean error", "mCE", "relative mCE"],
)
class TestRefusals:
    def test_missing_corruptions_are_named(self, metric: Callable[[dict[str, list[float]]], float]) -> None:
        errors = complete()
        del errors["fog"], errors["snow"]
        with pytest.raises(MetricError, match=r"2 of the 15 corruptions are missing: snow, fog\. No mean is taken"):
            metric(errors)

    def test_extra_corruptions_are_named(self, metric: Callable[[dict[str, list[float]]], float]) -> None:
        with pytest.raises(MetricError, match="spatter do not enter the benchmark's mean of 15"):
            metric(complete() | {"spatter": [0.5] * 5})

    def test_a_missing_severity_is_named(self, metric: Callable[[dict[str, list[float]]], float]) -> None:
        with pytest.raises(MetricError, match="frost: expected the errors of severities 1 to 5, found 4"):
            metric(complete() | {"frost": [0.5] * 4})

    def test_not_a_number(self, metric: Callable[[dict[str, list[float]]], float]) -> None:
        with pytest.raises(MetricError, match="frost: nan is not between 0 and 1"):
            metric(complete() | {"frost": [0.5, math.nan, 0.5, 0.5, 0.5]})

    def test_percent_for_fractions(self, metric: Callable[[dict[str, list[float]]], float]) -> None:
        with pytest.raises(MetricError, match="Fractions are expected, not percent"):
            metric(complete() | {"frost": [50.0] * 5})


@pytest.mark.parametrize("one", [0.5, None, "0.5", "zero", {"1": 0.5}])
def test_one_number_for_five_is_explained(one: object) -> None:
    with pytest.raises(MetricError, match=r"five fractions|found 3 values|found 1 values|0 and 1"):
        metrics.mean_corruption_error(dict.fromkeys(metrics.CORRUPTIONS, one))
    with pytest.raises(MetricError, match="severities 1 to 5"):
        metrics.corruption_error(0.5, [0.5] * 5)
    with pytest.raises(MetricError, match="for each corruption"):
        metrics.mean_error([0.5] * 15)
    with pytest.raises(MetricError, match="expected one number"):
        metrics.relative_corruption_error([0.5] * 5, [0.2], [0.6] * 5, 0.3)
    with pytest.raises(MetricError, match="for each perturbation"):
        metrics.mean_flip_rate(0.3)
    with pytest.raises(MetricError, match="gaussian_noise: expected one number"):
        metrics.mean_flip_rate({name: [0.1, 0.2] for name in metrics.PERTURBATIONS})


def test_a_normaliser_with_holes_is_named() -> None:
    partial = {name: [0.5] * 5 for name in CORRUPTIONS[1:]}
    with pytest.raises(MetricError, match="own: 1 of the 15 corruptions are missing: gaussian_noise"):
        metrics.mean_corruption_error(complete(), make(partial))


def test_a_normaliser_may_know_more() -> None:
    assert metrics.mean_corruption_error(complete(), make(complete() | {"spatter": [0.9] * 5})) == 1.0


def test_nothing_is_divided_by_zero() -> None:
    with pytest.raises(MetricError, match="the normaliser makes no error"):
        metrics.corruption_error([0.5] * 5, [0.0] * 5)
    with pytest.raises(MetricError, match="the corruption adds no error to the normaliser"):
        metrics.relative_corruption_error([0.5] * 5, 0.1, [0.2] * 5, 0.2)
    with pytest.raises(MetricError, match="clean_error: nan"):
        metrics.relative_mean_corruption_error(complete(), math.nan)


def test_arrays_that_are_no_predictions() -> None:
    with pytest.raises(MetricError, match="there are no images"):
        metrics.top1_error(np.empty(0, dtype=int), np.empty(0, dtype=int))
    with pytest.raises(MetricError, match=r"found \(2, 1\) and \(3,\)"):
        metrics.top1_error([1, 2], [1, 2, 3])
    with pytest.raises(MetricError, match="predictions must be class indices, integers; found float64"):
        metrics.top1_error([1.0, math.nan], [1, 2])


@pytest.mark.parametrize(
    "errors",
    ["01010", b"\0\1\0\1\0", {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4, 5: 0.5}, [True] * 5, [0.5j] * 5, ["0.5"] * 5, [{}] * 5],
    ids=str,
)
def test_what_only_looks_like_five_errors(errors: object) -> None:
    with pytest.raises(MetricError, match="errors: expected"):
        metrics.corruption_error(errors, [0.5] * 5)


@pytest.mark.parametrize("baseline", [None, "alexnet", complete()], ids=["none", "name", "errors"])
def test_what_is_no_normaliser(baseline: object) -> None:
    with pytest.raises(MetricError, match=r"expected a metrics\.Baseline"):
        metrics.mean_corruption_error(complete(), baseline)
    with pytest.raises(MetricError, match=r"expected a metrics\.Baseline"):
        metrics.relative_mean_corruption_error(complete(), 0.2, baseline)
    with pytest.raises(MetricError, match=r"expected a metrics\.Baseline"):
        metrics.mean_flip_rate(dict.fromkeys(metrics.PERTURBATIONS, 0.1), baseline)


def test_a_sum_of_rounding_is_nothing_to_divide_by() -> None:
    errors = [0.1, 0.2, 0.3, 0.4, 0.5]
    assert math.fsum(e - 0.3 for e in errors) > 0  # 5e-17: what is left of zero
    assert metrics.added_error(errors, 0.3) == 0
    with pytest.raises(MetricError, match="adds no error to the normaliser"):
        metrics.relative_corruption_error([0.5] * 5, 0.3, errors, 0.3)


def test_entries_that_are_no_classes() -> None:
    with pytest.raises(MetricError, match="predictions: some entries are masked"):
        metrics.top1_error(np.ma.array([1, 2], mask=[False, True]), [1, 2])
    with pytest.raises(MetricError, match="predictions: expected an array"):
        metrics.topk_error([[1], [1, 2]], [1, 2])
    with pytest.raises(MetricError, match="integers; found timedelta64"):
        metrics.top1_error(np.array([1], "m8[s]"), [1])
    with pytest.raises(MetricError, match="labels go from -1"):  # -1 among the ranks stands for no class
        metrics.topk_error([[0, -1]], [-1])


def test_errors_carry_the_exit_code_of_bad_input() -> None:
    assert MetricError.exit_code == 2
    assert issubclass(MetricError, ValueError)
