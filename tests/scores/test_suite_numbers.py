"""Headline numbers over other suites than ImageNet-C, and over a chosen part of one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import metrics
from robustbench_lift.data.suites import SUITES, suite_of
from robustbench_lift.runs import Cell, Manifest, Predictions, Run
from robustbench_lift.scores import contributions, intervals, measured_normaliser, score

N, CLASSES = 30, 6


def make_run(folder: Path, cells: list[Cell], *, skip: tuple[str, ...] = (), seed: int = 0) -> Run:
    manifest = Manifest(
        model={"spec": "m", "name": "m", "arch": "a", "pooling": None, "parameters": 3},
        data={"name": "toy", "images": N, "classes": CLASSES},
        signature={"common": {"data": "toy"}},
        cells=tuple(cell.key for cell in cells),
    )
    run = Run.prepare(folder, manifest)
    rng = np.random.default_rng(seed)
    labels = np.arange(N) % CLASSES
    for cell in cells:
        frames = 31 if cell.protocol == "perturbation" else 1
        top5 = np.stack([rng.permutation(CLASSES)[:5] for _ in range(N * frames)]).reshape(N, frames, 5)
        if cell.protocol == "clean":
            top5[:, 0, 0] = labels
        if cell.key not in skip:
            run.write(cell, Predictions.sorted([f"{i:03d}" for i in range(N)], labels, top5, rng.random((N, frames))))
    return run


def error(run: Run, cell: Cell) -> float:
    return float(1 - run.read(cell).correct.mean())


def whole(suite: str) -> list[Cell]:
    return [Cell("corruption", name, severity) for name in SUITES[suite].conditions for severity in range(1, 6)]


@pytest.mark.parametrize("suite", ["imagenet-c-bar", "imagenet-3dcc"])
def test_means_are_over_the_suite_of_the_run(tmp_path: Path, suite: str) -> None:
    cells = [Cell("clean", "clean", 0), *whole(suite)]
    run = make_run(tmp_path / "a", cells)
    scores = score(run, None)
    mean = np.mean([error(run, cell) for cell in cells[1:]])
    assert scores["mean_error"] == pytest.approx(mean)
    assert scores["evaluated_error"] == pytest.approx(mean)
    assert "mce" not in scores
    assert "mce" not in score(run, metrics.ALEXNET), "nobody published AlexNet's errors on these files"
    other = make_run(tmp_path / "b", cells, seed=1)
    divisor = measured_normaliser(other)
    expected = np.mean(
        [
            sum(error(run, Cell("corruption", name, s)) for s in range(1, 6)) / sum(divisor.corruption_errors[name])
            for name in SUITES[suite].conditions
        ]
    )
    assert score(run, divisor)["mce"] == pytest.approx(expected)
    assert score(other, divisor)["relative_mce"] == pytest.approx(1.0)


def test_a_chosen_part_has_a_mean_of_its_own_name(tmp_path: Path) -> None:
    cells = [Cell("corruption", name, severity) for name in ("fog", "contrast") for severity in (1, 3)]
    run = make_run(tmp_path / "a", cells)
    scores = score(run, metrics.ALEXNET)
    mean = np.mean([error(run, cell) for cell in cells])
    assert scores["evaluated_error"] == pytest.approx(mean)
    assert not {"mean_error", "mce", "error/fog"} & set(scores)
    assert contributions(run, None)["evaluated_error"].mean() == pytest.approx(mean)
    span = intervals(run, normaliser=None, replicates=200)["evaluated_error"]
    assert span.low < mean < span.high
    assert "evaluated_error" not in score(make_run(tmp_path / "b", cells, skip=("corruption/fog/3",)), None)


def test_cifar_p_has_its_own_ten(tmp_path: Path) -> None:
    names = SUITES["cifar-p"].conditions
    run = make_run(tmp_path, [Cell("perturbation", name, 1) for name in names])
    flips = score(run, None).family("fp")
    assert score(run, None)["mean_flip_probability"] == pytest.approx(np.mean([flips[name] for name in names]))


def test_which_suite_a_run_is_of() -> None:
    everything = {*metrics.CORRUPTIONS, *SUITES["imagenet-c-extra"].conditions}
    found = [suite_of("corruption", names) for names in (everything, metrics.CORRUPTIONS[1:], ("saturate",))]
    assert [suite.name if suite else None for suite in found] == ["imagenet-c", None, None]
    assert suite_of("corruption", SUITES["imagenet-c-extra"].conditions) is None, "conditions for validation"
