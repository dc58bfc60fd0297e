"""Sweeps: each job its folder, shards that cover, tables that hide nothing."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

from robustbench_lift.errors import UsageError
from robustbench_lift.shares import Share
from robustbench_lift.training import Network, Recipe, TrainingSettings, train
from robustbench_lift.training.sweep import Job, SweepRow, jobs_of, sweep, table


def test_shards_cover_all_jobs_once(recipe: Recipe) -> None:
    networks = [Network("norm", p) for p in ("max", "lift")] + [Network("norm", "lift", options={"kernel_size": 7})]
    everything = jobs_of(recipe, networks, [0, 1], out=Path("t"))
    assert len({job.folder for job in everything}) == 6
    parts = [jobs_of(recipe, networks, [0, 1], out=Path("t"), shard=Share(k, 4)) for k in range(4)]
    assert sorted(str(j.folder) for part in parts for j in part) == sorted(str(j.folder) for j in everything)
    for wrong, message in (
        ({"networks": []}, "at least one network"),
        ({"seeds": [0, 0]}, "each seed once"),
        ({"networks": networks[:1] * 2}, "each network"),
    ):
        arguments = {"networks": networks, "seeds": [0], **wrong}
        with pytest.raises(UsageError, match=message):
            jobs_of(recipe, arguments["networks"], arguments["seeds"], out=Path("t"))


def test_a_sweep_goes_on_and_its_table_names_what_is_missing(
    tmp_path: Path, recipe: Recipe, source, images, cpu: TrainingSettings, tiny_build
) -> None:
    jobs = jobs_of(recipe, [Network("plain", "max"), Network("plain", "lift")], [0, 1], out=tmp_path)
    steps = 0
    trained: list[Path] = []

    def stop() -> bool:
        nonlocal steps
        steps += 1
        return steps == 40  # in the third of four trainings; four steps and a test ask in each of three epochs

    def run(job: Job):  # type: ignore[no-untyped-def]
        def progress(now) -> None:  # type: ignore[no-untyped-def]
            if now.finished:
                trained.append(job.folder)

        return train(
            job.network,
            recipe,
            source,
            images,
            out=job.folder,
            seed=job.seed,
            settings=cpu,
            stop=stop,
            progress=progress,
            builder=tiny_build,
        )

    assert [outcome.finished for _, outcome in sweep(jobs, run)] == [True, True, False]
    rows = table(jobs, recipe)
    assert [(row.network, len(row.errors), row.missing) for row in rows] == [("plain/max", 1, 1), ("plain/lift", 1, 1)]
    assert math.isnan(rows[0].mean)
    before = len(trained)
    assert all(outcome.finished for _, outcome in sweep(jobs, run))
    assert set(trained[before:]) == {jobs[2].folder, jobs[3].folder}
    assert [row.missing for row in table(jobs, recipe)] == [0, 0]
    longer = dataclasses.replace(recipe, epochs=30)
    assert [row.missing for row in table(jobs, longer)] == [2, 2]  # results of another recipe are none of this one
    (jobs[0].folder / "result.json").write_text("{")
    assert [row.missing for row in table(jobs, recipe)] == [1, 0]


def test_spread_over_seeds() -> None:
    row = SweepRow("a/b", 1, (0.1, 0.2, 0.4), 0)
    assert row.mean == pytest.approx(0.7 / 3)
    assert row.deviation == pytest.approx(0.1527525)
    assert math.isnan(SweepRow("a/b", 1, (0.1,), 0).deviation)
