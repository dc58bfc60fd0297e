"""The table over trainings: means and ranges of what Table 5 shows one by one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import pytest

from robustbench_lift.report import document, open_runs
from robustbench_lift.report.registry import available_tables, make_table
from robustbench_lift.report.schema import Document
from robustbench_lift.runs import Cell, Run


@pytest.fixture
def twice(tmp_path: Path, run_writer: Callable[..., Run]) -> Callable[[], Document]:
    for seed, quality in enumerate((1.4, 1.9)):
        for pooling in ("max", "lift"):
            run_writer(
                tmp_path / f"{pooling}-{seed}", pooling=pooling, quality=quality, seed=seed, name=f"{pooling}{seed}"
            )
    return lambda: document(open_runs([tmp_path]), replicates=0)


def test_mean_and_range_of_two_trainings(twice: Callable[[], Document]) -> None:
    made = twice()
    table = make_table(made, "trainings")
    assert [row.entries[0].value for row in table.rows] == ["resnet8/max", "resnet8/lift"]
    for row in table.rows:
        pooling = str(row.entries[0].value).partition("/")[2]
        errors = [m.headline["clean_error"].value or 0.0 for m in made.models if m.pooling == pooling]
        entry = dict(zip((c.key for c in table.columns), row.entries, strict=True))["clean_error"]
        assert row.entries[1].value == 2
        assert entry.value == pytest.approx(fmean(errors))
        assert (entry.low, entry.high) == (min(errors), max(errors))
    assert not table.is_marked
    assert "not a confidence interval" in " ".join(table.notes)


def test_a_hole_in_one_training_leaves_no_mean(
    twice: Callable[[], Document], tmp_path: Path, run_writer: Callable[..., Run]
) -> None:
    gone = Cell("corruption", "fog", 3)
    run_writer(tmp_path / "lift-2", pooling="lift", quality=1.7, seed=5, name="lift2", skip=lambda cell: cell == gone)
    table = make_table(twice(), "trainings")
    keys = [c.key for c in table.columns]
    row = next(row for row in table.rows if row.entries[0].value == "resnet8/lift")
    assert row.entries[1].value == 3
    assert row.entries[keys.index("mean_error")].value is None
    assert row.entries[keys.index("clean_error")].value is not None


def test_it_is_there_only_when_a_network_is(made: Document, twice: Callable[[], Document]) -> None:
    assert "trainings" not in available_tables(made)
    assert "trainings" in available_tables(twice())


def test_another_recipe_is_another_row(tmp_path: Path, run_writer: Callable[..., Run]) -> None:
    for seed, weight in enumerate((0.0, 0.0, 0.1)):
        recipe = {"name": "photos", "epochs": 30, "source": f"words {seed}", "auxiliary": {"c_p": weight}}
        run_writer(tmp_path / f"{seed}", pooling="lift", quality=1.5, seed=seed, name=f"lift{seed}", recipe=recipe)
    table = make_table(document(open_runs([tmp_path]), replicates=0), "trainings")
    assert [(row.entries[0].value, row.entries[1].value) for row in table.rows] == [
        ("resnet8/lift (auxiliary.c_p=0.0)", 2),
        ("resnet8/lift (auxiliary.c_p=0.1)", 1),
    ]


def test_columns_that_nobody_measured_are_left_out(tmp_path: Path, run_writer: Callable[..., Run]) -> None:
    for seed in range(2):
        cells = [Cell("clean", "clean", 0)]
        run_writer(tmp_path / f"{seed}", pooling="lift", quality=1.5, seed=seed, name=f"lift{seed}", cells=cells)
    table = make_table(document(open_runs([tmp_path]), replicates=0), "trainings")
    assert [c.key for c in table.columns] == ["network", "count", "clean_error"]


@pytest.mark.parametrize("text", ["{", "[1]", "3", '{"a": {"b": {"c": 1}}}'])
def test_a_strange_card_says_nothing_and_breaks_nothing(
    text: str, tmp_path: Path, run_writer: Callable[..., Run]
) -> None:
    run = run_writer(tmp_path / "run", pooling="lift", quality=1.5, cells=[Cell("clean", "clean", 0)])
    file = run.path / "run.json"
    manifest = json.loads(file.read_text())
    manifest["model"]["card"] = {"recipe_settings": text}
    file.write_text(json.dumps(manifest))
    (model,) = document(open_runs([run.path]), replicates=0).models
    assert model.training in ({}, {"a.b": "{'c': 1}"})
