"""Tidy frames: one row a (model, protocol, condition, severity, number)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import metrics
from robustbench_lift.scores import ScoredRun
from robustbench_lift.scores.frames import COLUMNS

from .test_scores import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> ScoredRun:
    folder: Path = tmp_path_factory.mktemp("frames")
    make_run(folder, 0, normaliser="alexnet")
    return ScoredRun.open(folder)


def test_a_run_knows_its_scores(run: ScoredRun) -> None:
    scores = run.scores()
    assert scores["mce"] == pytest.approx(sum(scores.family("ce").values()) / 15)
    assert scores.normaliser == "AlexNet"
    assert {"clean_top5_error", "mean_top5_distance"} <= set(scores)
    assert not {"mt5d", "clean_nll", "clean_brier"} & set(scores)
    with pytest.raises(KeyError, match="clean_nll"):
        scores["clean_nll"]


def test_every_row_is_one_number(run: ScoredRun) -> None:
    frame = run.frame()
    assert tuple(frame.columns) == COLUMNS
    assert not frame.duplicated(list(COLUMNS[:-1])).any()
    fog = frame.query("condition == 'fog' and number == 'error'")
    assert fog["severity"].isna().sum() == 1
    assert fog["value"].iloc[1:].mean() == pytest.approx(fog["value"].iloc[0])
    assert set(frame["protocol"]) == {"clean", "corruption", "perturbation", "shift"}
    assert frame["severity"].dtype == pd.Int64Dtype()


def test_intervals_hold_the_value(run: ScoredRun) -> None:
    frame = run.frame(replicates=100, normaliser=metrics.ALEXNET).dropna(subset=["low"])
    assert len(frame) > 60
    assert ((frame["low"] <= frame["value"]) & (frame["value"] <= frame["high"])).all()


def test_a_run_is_shown_in_a_line(run: ScoredRun) -> None:
    shown = repr(run)
    assert run.name in shown
    assert str(run.path) in shown
    assert run.signature in shown
    assert f"{len(run.expected)} of {len(run.expected)} cells" in shown
