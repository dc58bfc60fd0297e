"""Numbers of two imaginary runs as they were before they had one definition: a change of any is a change of meaning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import metrics
from robustbench_lift.regression import compare
from robustbench_lift.scores import score

SCORES = {
    "clean_error": 0.13333333333333333,
    "clean_top5_error": 0.06666666666666667,
    "clean_ece": 0.36666666666666664,
    "mean_error": 0.26866666666666666,
    "mce": 0.34771951906319,
    "relative_mce": 0.44362543818043726,
    "corruption_ece": 0.23444444444444443,
    "mean_flip_probability": 0.12277777777777779,
    "mfr": 1.2310284776492177,
    "mean_top5_distance": 1.5627777777777778,
    "consistency": 0.8916666666666667,
    "consistency_correct": 0.9380530973451328,
}
DIFFERENCES = {
    "clean_error": (0.13333333333333333, 0.04999998410542805, 0.23333334922790527, 0.005859375000000001),
    "mce": (0.3712986695976904, 0.3314297488542251, 0.4113834617745729, 4.3064630418811145e-26),
    "relative_mce": (0.5011316811807223, 0.18889688608718594, 0.8000448707508311, 0.0012880742695058017),
    "mfr": (2.0840362925310103, 1.6457406849641774, 2.5486656533657683, 6.132420413214308e-13),
    "consistency": (-0.2250000000000001, -0.31666668256123864, -0.14166668236255645, 2.879878886084327e-06),
}
"""Difference, interval (its draws are part of what is kept) and one-sided p-value."""


def test_scores(make_run: Callable[..., Any]) -> None:
    scores = score(make_run("good", quality=1.4), metrics.ALEXNET)
    assert {name: scores[name] for name in SCORES} == pytest.approx(SCORES, abs=1e-12)


def test_differences(make_run: Callable[..., Any]) -> None:
    found = compare(make_run("good", quality=1.4), make_run("bad", quality=0.6)).metrics
    assert tuple(found)[:7] == (
        "clean_error", "mean_error", "mce", "relative_mce", "mean_flip_probability", "mfr", "consistency",
    )  # fmt: skip
    for name, (delta, low, high, p) in DIFFERENCES.items():
        one = found[name]
        assert (one.delta, one.low, one.high) == pytest.approx((delta, low, high), abs=1e-6), name
        assert one.p_value == pytest.approx(p, rel=1e-6), name
