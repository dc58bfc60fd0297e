"""The gate keeps its promises: coverage of intervals and false alarms under simulated, correlated cells."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

from robustbench_lift.regression import Policy

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gate_calibration.py"


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gate_calibration", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gate_calibration"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_simulated_cells_are_correlated_and_have_their_errors(simulation: ModuleType) -> None:
    before, after = simulation.two_runs(4000, 0)
    wrong = {cell: ~before.read(cell).correct[:, 0] for cell in before.expected}
    for cell in before.expected[:20]:
        assert wrong[cell].mean() == pytest.approx(simulation.true_error(cell, 0.0), abs=0.035)
    fog, snow = before.expected[48], before.expected[38]
    assert np.corrcoef(wrong[fog], wrong[snow])[0, 1] > 0.15
    assert np.corrcoef(wrong[fog], ~after.read(fog).correct[:, 0])[0, 1] > 0.2


@pytest.mark.slow
@pytest.mark.parametrize("images", [60, 240])
def test_intervals_hold_the_truth_as_often_as_they_say(simulation: ModuleType, images: int) -> None:
    """95 % intervals: no fewer than 92 % beyond the chance of 400 simulations."""
    for share in simulation.coverage(images, 400, seed=1).values():
        assert stats.binomtest(share.count, share.trials, 0.92, alternative="less").pvalue > 0.01
        assert share.value < 0.99


@pytest.mark.slow
def test_false_alarms_stay_at_alpha(simulation: ModuleType) -> None:
    """Two equal models: the gate fails at most 5 %, and without correction over all cells nearly always."""
    policies = {
        "bh": simulation.without_margins(),
        "cells": simulation.without_margins(cells=True),
        "uncorrected cells": simulation.without_margins(cells=True, correction="none"),
    }
    found = simulation.failures(240, 300, policies, seed=2)
    for name in ("bh", "cells"):
        assert stats.binomtest(found[name].count, found[name].trials, 0.055, alternative="greater").pvalue > 0.01
    assert found["uncorrected cells"].value > 0.5


@pytest.mark.slow
def test_a_loss_as_large_as_the_margin_does_not_fail(simulation: ModuleType) -> None:
    loss = 0.01
    margin = 100 * (simulation.true_mce(loss) - simulation.true_mce(0.0))
    policy = Policy(replicates=100, metrics=("mce",), margins={"mce": margin})
    share = simulation.failures(240, 300, {"margin": policy}, loss=loss, seed=3)["margin"]
    assert stats.binomtest(share.count, share.trials, 0.055, alternative="greater").pvalue > 0.01


@pytest.mark.slow
def test_a_large_loss_is_found(simulation: ModuleType) -> None:
    share = simulation.failures(240, 100, {"bh": simulation.without_margins()}, loss=0.04, seed=4)["bh"]
    assert share.value > 0.8
