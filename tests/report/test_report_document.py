from __future__ import annotations

import dataclasses
import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from robustbench_lift.errors import DataError, IncompleteError, UsageError
from robustbench_lift.regression import compare
from robustbench_lift.report import Document, document, frame, open_runs, read_document, render_all
from robustbench_lift.report.export import TIDY, tidy_csv
from robustbench_lift.report.groups import labels_of
from robustbench_lift.report.notes import glossary, normaliser_notes
from robustbench_lift.report.registry import TABLES, make_table
from robustbench_lift.report.schema import Model
from robustbench_lift.runs import Cell, Predictions, Run
from robustbench_lift.scores import NUMBERS, Number, intervals, measured_normaliser, register_number


def model_of(made: Document, label: str) -> Model:
    return next(model for model in made.models if model.label == label)


def test_document_survives_json(made: Document) -> None:
    assert Document.from_json(made.to_json()) == made


def test_document_of_another_layout_is_refused(made: Document, tmp_path: Path) -> None:
    raw = json.loads(made.to_json())
    for change, text in (({"schema": 99}, "layout 99"), ({"models": 3}, "damaged"), ({"extra": 1}, "damaged")):
        with pytest.raises(DataError, match=text):
            Document.from_json(json.dumps({**raw, **change}))
    (tmp_path / "x.json").write_text("[1]")
    with pytest.raises(DataError, match=r"document\.json"):
        read_document(tmp_path / "x.json")
    with pytest.raises(DataError, match="cannot be read"):
        read_document(tmp_path / "absent.json")


def test_numbers_are_those_of_the_predictions(made: Document, runs_folder: Path) -> None:
    """Recomputed from the cells in the plainest way, without metrics or scores."""
    run, divisor = Run.open(runs_folder / "lift"), Run.open(runs_folder / "alexnet")
    model = model_of(made, "lift")

    def error(one: Run, name: str, severity: int) -> float:
        cell = one.read(Cell("corruption", name, severity))
        return float(np.mean(cell.top5[:, 0, 0] != cell.labels))

    names = [cell.condition for cell in run.expected if cell.protocol == "corruption" and cell.severity == 1]
    ratios = []
    for name in names:
        mine = [error(run, name, s) for s in range(1, 6)]
        assert model.corruptions[name].errors == pytest.approx(mine, abs=1e-12)
        ratios.append(sum(mine) / sum(error(divisor, name, s) for s in range(1, 6)))
        assert model.corruptions[name].ce.value == pytest.approx(ratios[-1], abs=1e-12)
    assert model.headline["mce"].value == pytest.approx(np.mean(ratios), abs=1e-12)
    shift = run.read(Cell("shift", "crop", 0)).top1
    assert model.headline["consistency"].value == pytest.approx(np.mean(shift[:, ::2] == shift[:, 1::2]), abs=1e-12)


def test_intervals_and_ties_are_those_of_the_comparison(made: Document, runs_folder: Path) -> None:
    runs = {label: Run.open(runs_folder / label) for label in ("max", "blur", "lift")}
    divisor = measured_normaliser(Run.open(runs_folder / "alexnet"))
    found = intervals(runs["lift"], normaliser=divisor, replicates=60)
    model = model_of(made, "lift")
    assert (model.headline["mce"].low, model.headline["mce"].high) == found["mce"]
    assert (model.corruptions["fog"].ce.low, model.corruptions["fog"].ce.high) == found["ce/fog"]
    tilt = model.perturbations["tilt"]
    assert (tilt.flip_probability.low, tilt.flip_probability.high) == found["fp/tilt"]
    checked = 0
    for best, other in (("lift", "blur"), ("lift", "max"), ("blur", "lift"), ("blur", "max"), ("max", "blur")):
        comparison = compare(runs[best], runs[other], normaliser=divisor, replicates=60)
        for metric, difference in comparison.metrics.items():
            values = {label: model_of(made, label).value(metric).value for label in runs}
            ordered = sorted(values.items(), key=lambda item: item[1] or 0.0, reverse=metric == "consistency")
            if ordered[0][0] != best or ordered[0][1] == ordered[1][1]:
                continue
            checked += 1
            assert ((best, other) in made.ties.get(metric, ())) == (difference.low <= 0 <= difference.high), metric
    assert checked >= 60


def test_reliability_bins_hold_every_prediction(made: Document) -> None:
    for model in made.models:
        assert sum(b.count for b in model.reliability["clean"]) == model.counts["clean"]
        assert sum(b.count for b in model.reliability["severity 3"]) == 15 * model.counts["corruption"]
        clean = sum(b.count * (1 - (b.accuracy or 0.0)) for b in model.reliability["clean"]) / model.counts["clean"]
        assert clean == pytest.approx(model.headline["clean_error"].value)


def test_the_normaliser_is_in_the_group_of_what_it_divides(made: Document) -> None:
    assert len(made.groups) == 1
    assert [m.label for m in made.models if m.is_normaliser] == ["alexnet-small"]
    assert model_of(made, "alexnet-small").headline["mce"].value == pytest.approx(1.0)


def test_poolings_stand_in_the_order_of_the_paper(made: Document) -> None:
    assert [m.label for m in made.models] == ["max", "blur", "lift", "alexnet-small"]


def test_an_incomplete_run_has_no_mean_over_holes(
    run_writer: Callable[..., Run], runs_folder: Path, tmp_path: Path
) -> None:
    hole = Cell("corruption", "fog", 3)
    run = run_writer(
        tmp_path / "holes",
        pooling="lip",
        quality=1.6,
        normaliser=str(runs_folder / "alexnet"),
        skip=lambda c: c == hole,
    )
    model = document([run], replicates=0).models[0]
    assert model.missing == (hole.key,)
    assert model.corruptions["fog"].errors[2] is None
    assert model.corruptions["fog"].errors[1] is not None
    assert model.corruptions["fog"].ce.value is None
    assert model.corruptions["snow"].ce.value is not None
    for key in ("mce", "mean_error", "relative_mce", "corruption_ece"):
        assert model.headline[key].value is None
    assert model.headline["mfr"].value is not None


@pytest.mark.parametrize("state", ["absent", "holes"])
def test_a_normaliser_that_cannot_be_used_is_told(run_writer: Callable[..., Run], tmp_path: Path, state: str) -> None:
    if state == "holes":
        skip = lambda cell: cell.condition == "fog"  # noqa: E731
        run_writer(tmp_path / "divisor", pooling=None, arch="alexnet-small", quality=1.0, skip=skip)
    run = run_writer(tmp_path / "max", pooling="max", quality=1.5, normaliser="../divisor")
    made = document([run], replicates=0)
    assert made.groups[0].normaliser == ""
    assert "divisor" in made.groups[0].problem
    assert made.models[0].headline["mce"].value is None
    assert made.models[0].headline["mean_error"].value is not None


def test_other_signatures_are_other_groups(run_writer: Callable[..., Run], runs_folder: Path, tmp_path: Path) -> None:
    other = run_writer(tmp_path / "other", pooling="s3", quality=1.6, protocol_seed="7")
    made = document([*open_runs([runs_folder]), other], replicates=0)
    assert [g.key for g in made.groups] == ["a", "b"]
    assert made.groups[0].differs == ()
    assert any("seed" in text and "7" in text for text in made.groups[1].differs)


def test_a_normaliser_of_another_protocol_is_not_used(
    run_writer: Callable[..., Run], runs_folder: Path, tmp_path: Path
) -> None:
    run = run_writer(
        tmp_path / "other", pooling="s3", quality=1.6, protocol_seed="7", normaliser=str(runs_folder / "alexnet")
    )
    made = document([run], replicates=0)
    assert made.models[0].headline["mce"].value is None
    assert "corruption.seed: 0 != 7" in made.groups[0].problem


def test_a_dash_for_want_of_a_normaliser_is_explained(run_writer: Callable[..., Run], tmp_path: Path) -> None:
    made = document([run_writer(tmp_path / "max", pooling="max", quality=1.5)], replicates=0)
    (note,) = normaliser_notes(made)
    assert "no mCE and no mFR" in note
    assert "--normaliser" in note
    clean = run_writer(tmp_path / "clean", pooling="max", quality=1.5, cells=(Cell("clean", "clean", 0),))
    assert normaliser_notes(document([clean], replicates=0)) == ()


def test_labels_are_unique(run_writer: Callable[..., Run], tmp_path: Path) -> None:
    cells = (Cell("clean", "clean", 0),)
    runs = [
        run_writer(tmp_path / str(k), pooling=pooling, arch=arch, quality=1.0, cells=cells, name=name)
        for k, (arch, pooling, name) in enumerate(
            [
                ("r18", "lift", "x"),
                ("r50", "lift", "x"),
                ("r50", "lift", "x"),
                ("r50", "max", "y"),
                ("r50", "model", "z"),
            ]
        )
    ]
    labels = [m.label for m in document(runs, replicates=0).models]
    assert len(set(labels)) == len(labels)
    assert "model" not in labels
    assert "max" in labels


def test_sequences_show_where_models_differ_most(made: Document, runs_folder: Path) -> None:
    assert len(made.flips) == 4
    first = made.flips[0]
    counts = {k: sum(a != b for a, b in pairwise(v)) for k, v in first.predictions.items()}
    answers = [Run.open(runs_folder / k).read(Cell("perturbation", first.perturbation, 1)).top1 for k in counts]
    flips = np.stack([(a[:, 1:] != a[:, :-1]).sum(axis=1) for a in answers])
    gaps = flips.max(axis=0) - flips.min(axis=0)
    assert max(counts.values()) - min(counts.values()) == gaps.max()


def test_runs_are_found_in_folders(runs_folder: Path, tmp_path: Path) -> None:
    assert {run.path.name for run in open_runs([runs_folder])} == {"alexnet", "max", "blur", "lift"}
    assert [run.path.name for run in open_runs([runs_folder / "lift"])] == ["lift"]
    with pytest.raises(IncompleteError, match="neither a run nor a folder of runs"):
        open_runs([tmp_path])
    with pytest.raises(UsageError, match="named twice"):
        open_runs([runs_folder, runs_folder / "lift"])
    with pytest.raises(UsageError, match="at least one"):
        document([])


def test_a_document_is_frozen(made: Document) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.title = "other"  # type: ignore[misc]


def test_every_cell_is_read_once_and_the_normaliser_too(runs_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: Counter[tuple[str, str]] = Counter()
    read = Run.read

    def counting(run: Run, cell: Cell) -> Predictions:
        reads[run.path.name, cell.key] += 1
        return read(run, cell)

    monkeypatch.setattr(Run, "read", counting)
    runs = open_runs([runs_folder])
    document(runs, replicates=20)
    assert set(reads) == {(run.path.name, cell.key) for run in runs for cell in run.expected}
    assert set(reads.values()) == {1}


DAMAGED = {
    "deep": "[" * 100_000,
    "huge number": '{"schema": ' + "9" * 5000 + "}",
    "list": "[]",
    "text": '"schema"',
    "empty": "",
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_what_is_no_document_is_refused_in_one_message(text: str) -> None:
    with pytest.raises(DataError, match=r"document\.json"):
        Document.from_json(text)


def damage(raw: Any, path: Sequence[str | int], value: Any) -> str:
    changed = json.loads(json.dumps(raw))
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return json.dumps(changed)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("models", 0, "headline", "mce", "value"), float("nan")),
        (("models", 0, "headline", "mce", "value"), 10**400),
        (("models", 0, "headline"), []),
        (("models", 0, "group"), "z"),
        (("models", 0, "label"), "blur"),
        (("models", 0, "parameters"), True),
        (("models", 0, "corruptions", "fog", "errors"), [0.1]),
        (("models", 0, "corruptions", "fog"), None),
        (("models",), []),
        (("groups",), []),
        (("flips", 0, "predictions"), {"max": []}),
        (("ties",), {"mce": "ab"}),
        (("confidence",), 95.0),
        (("class_names",), "abc"),
    ],
)
def test_a_damaged_document_is_refused_in_one_message(made: Document, path: Sequence[str | int], value: Any) -> None:
    with pytest.raises(DataError) as caught:
        Document.from_json(damage(json.loads(made.to_json()), path, value))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_infinity_spelled_as_a_number_is_refused(made: Document) -> None:
    text = made.to_json().replace('"confidence": 0.95', '"confidence": 1e999')
    with pytest.raises(DataError, match="damaged"):
        Document.from_json(text)


def test_half_a_surrogate_pair_is_replaced_and_everything_is_written(made: Document, tmp_path: Path) -> None:
    text = damage(json.loads(made.to_json()), ("title",), "a\ud800b")
    (tmp_path / "document.json").write_text(text)
    read = read_document(tmp_path / "document.json")
    assert read.title == "a?b"
    render_all(read, tmp_path / "out", formats=["json"], figures=[])


def test_a_document_without_the_fields_that_came_later_is_read(made: Document) -> None:
    raw = json.loads(made.to_json())
    for model in raw["models"]:
        del model["others"]
    for group in raw["groups"]:
        del group["few_flips"]
    assert Document.from_json(json.dumps(raw)).models[0].headline == made.models[0].headline


def test_a_headline_that_is_not_there_is_unknown(made: Document) -> None:
    raw = json.loads(made.to_json())
    for model in raw["models"]:
        model["headline"] = {}
    empty = Document.from_json(json.dumps(raw))
    for name in TABLES:
        make_table(empty, name)


def test_the_frame_is_tidy_and_equals_the_csv(made: Document) -> None:
    found = frame(made)
    assert tuple(found.columns) == TIDY
    row = found.query("model == 'lift' and number == 'ce' and condition == 'fog'").iloc[0]
    ce = model_of(made, "lift").corruptions["fog"].ce
    assert (row.value, row.low, row.high) == (ce.value, ce.low, ce.high)
    assert (row.protocol, pd.isna(row.severity)) == ("corruption", True)
    severities = found.query("model == 'lift' and number == 'error' and condition == 'fog'").dropna(subset="severity")
    assert severities.value.tolist() == list(model_of(made, "lift").corruptions["fog"].errors)
    assert not found.duplicated(["model", "protocol", "condition", "severity", "number"]).any()
    stored = pd.read_csv(io.StringIO(tidy_csv(made))).astype({"severity": "Int64"})
    pd.testing.assert_frame_equal(stored, found)


def test_a_number_of_a_plug_in_gets_a_column(
    run_writer: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustbench_lift.scores.numbers.NUMBERS", numbers := dict(NUMBERS))
    for module in ("scores.evidence", "report.notes", "report.registry", "report.tables"):
        monkeypatch.setattr(f"robustbench_lift.{module}.NUMBERS", numbers)
    confident = lambda cell, stored: stored.confidence[:, 0]  # noqa: E731
    for key, family in (("mean_confidence", False), ("confidence", True)):
        register_number(
            Number(
                key=key, title=f"My {key}", direction="higher", protocol="corruption", measure=confident, family=family
            )
        )
    run = run_writer(
        tmp_path / "a", pooling="max", quality=1.5, cells=[Cell("corruption", "fog", s) for s in range(1, 6)]
    )
    made = document([run], replicates=20)
    columns = {c.key: c.title for c in make_table(made, "numbers").columns}
    assert columns["mean_confidence"] == "My mean_confidence"
    details = make_table(made, "corruption-details")
    (k,) = [k for k, c in enumerate(details.columns) if c.key == "confidence"]
    assert details.rows[0].entries[k].value == made.models[0].others["confidence/fog"].value is not None
    assert Document.from_json(made.to_json()) == made
    assert "My mean_confidence" not in dict(glossary(made))  # it says nothing about itself


def test_poolings_that_differ_in_options_are_told_apart_by_them(tmp_path: Path, run_writer: Callable[..., Run]) -> None:
    cards = {"paper": {"options": '{"constraint": "mse", "kernel_size": 5}'}, "plain": {}, "odd": {"options": "[" * 9}}
    runs = []
    for name, card in cards.items():
        run = run_writer(tmp_path / name, pooling="lift", quality=1.5, name=name, images=12)
        run.manifest.model["card"] = card
        runs.append(run)
    assert labels_of(runs[:2]) == ["lift?constraint=mse", "lift"]
    assert len(set(labels_of(runs))) == 3
