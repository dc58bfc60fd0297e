"""What a plan counts is what the run stores."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from typer.testing import CliRunner

from robustbench_lift.cli import app
from robustbench_lift.evaluation.passes import Answers, Passes
from robustbench_lift.evaluation.work import Shown
from robustbench_lift.weights import LoadedModel


def test_jobs_are_told_their_share() -> None:
    shown = CliRunner().invoke(
        app,
        ["plan", "photos/resnet-max", "--protocols", "clean", "--limit", "15", "--jobs", "4", "--normaliser", "none"],
    )
    assert shown.exit_code == 0
    assert "15 images are read, 1 cells" in shown.output
    assert "in 4 jobs" in shown.output
    assert "4 files of shares" in shown.output


def test_the_normaliser_is_planned_as_it_is_run() -> None:
    options = ["photos/resnet-max", "--protocols", "corruption", "--corruptions", "fog", "--severities", "1"]
    shown = CliRunner().invoke(app, ["plan", *options, "--limit", "15"])
    assert shown.exit_code == 0, shown.output
    assert "2 models" in shown.output
    assert "15 images are read, 2 cells" in shown.output


def test_a_plan_measures_networks_once_a_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[int] = []
    answers = Passes.answers

    def counted(passes: Passes, models: Sequence[LoadedModel], seen: Shown) -> list[Answers]:
        assert seen.frames is not None
        shown.append(seen.frames.shape[0] * seen.frames.shape[1] // passes.threads(*seen.frames.shape[-2:]))
        return answers(passes, models, seen)

    monkeypatch.setattr(Passes, "answers", counted)
    ran = CliRunner().invoke(app, ["plan", "photos/resnet-max", "--protocols", "perturbation", "--limit", "15"])
    assert ran.exit_code == 0, ran.output
    assert "measuring perturbation" in ran.output
    assert sum(shown) <= 2 * 2 * 31  # twice, at most for two lengths of sequences
