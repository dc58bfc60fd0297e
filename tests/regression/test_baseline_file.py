"""A baseline in git: what is kept, how an edit is noticed, and the weaker test without predictions."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import metrics
from robustbench_lift.errors import DataError, IncomparableError, IncompleteError
from robustbench_lift.regression import Policy, accept, compare, gate, read_baseline
from robustbench_lift.regression.baseline import changed_files
from robustbench_lift.runs import Cell
from robustbench_lift.scores.scoring import score

QUICK = Policy(replicates=100)


@pytest.fixture(scope="module")
def good(make_run: Callable[..., Any]) -> Any:
    return make_run("good", quality=1.4)


@pytest.fixture(scope="module")
def bad(make_run: Callable[..., Any]) -> Any:
    return make_run("bad", quality=0.7)


def test_a_baseline_says_what_the_run_scored(tmp_path: Path, good: Any) -> None:
    written = accept(good, tmp_path / "b.json", note="first")
    assert written == [tmp_path / "b.json", tmp_path / "b.npz"]
    content = json.loads((tmp_path / "b.json").read_text())
    scores = score(good, metrics.ALEXNET)
    assert content["metrics"]["mce"]["value"] == pytest.approx(scores["mce"])
    assert content["metrics"]["mce"]["n"] == 60
    assert content["wrong"]["clean/clean/0"] == round(60 * scores["clean_error"])
    assert content["accepted"]["note"] == "first"
    assert content["accepted"]["run"] == {"git": "0123456789ab"}
    assert content["model"]["weights_sha256"] == good.manifest.model["weights_sha256"]
    assert content["normaliser_values"]["name"] == "AlexNet"


def test_a_stored_baseline_judges_as_its_run(tmp_path: Path, good: Any, bad: Any) -> None:
    accept(good, tmp_path / "b.json")
    stored, direct = gate(read_baseline(tmp_path / "b.json"), bad, QUICK), gate(good, bad, QUICK)
    assert stored.comparison.metrics == direct.comparison.metrics
    assert stored.comparison.cells == direct.comparison.cells
    assert stored.comparison.signature == direct.comparison.signature
    assert stored.paired
    assert stored.accept == f"robustbench-lift gate {tmp_path / 'b.json'} bad --accept"


def test_a_path_stands_for_its_baseline(tmp_path: Path, good: Any, bad: Any) -> None:
    accept(good, tmp_path / "b.json")
    judged = gate(str(tmp_path / "b.json"), bad, QUICK)
    assert judged.comparison.metrics == gate(read_baseline(tmp_path / "b.json"), bad, QUICK).comparison.metrics
    with pytest.raises(IncompleteError, match="is not a run"):
        gate(good, str(tmp_path), QUICK)
    with pytest.raises(IncompleteError, match="is not a run"):
        compare(good, str(tmp_path))


def test_equal_weights_are_held_to_equal_labels(tmp_path: Path, good: Any) -> None:
    accept(good, tmp_path / "b.json")
    outcome = gate(read_baseline(tmp_path / "b.json"), good, QUICK)
    assert (outcome.mode, outcome.exit_code) == ("identity", 0)


def test_without_predictions_the_test_is_weaker_and_says_so(tmp_path: Path, good: Any, bad: Any) -> None:
    assert accept(good, tmp_path / "b.json", predictions=False) == [tmp_path / "b.json"]
    outcome = gate(read_baseline(tmp_path / "b.json"), bad, QUICK)
    assert not outcome.paired
    assert outcome.exit_code == 1
    assert any(note.startswith("UNPAIRED: b.json has no predictions") for note in outcome.comparison.notes)
    paired = compare(good, bad, replicates=100).metrics["mce"]
    unpaired = outcome.comparison.metrics["mce"]
    assert unpaired.delta == pytest.approx(paired.delta)
    assert unpaired.detectable > paired.detectable


def test_without_predictions_labels_cannot_be_compared(tmp_path: Path, good: Any) -> None:
    accept(good, tmp_path / "b.json", predictions=False)
    baseline = read_baseline(tmp_path / "b.json")
    with pytest.raises(IncompleteError, match="no predictions beside it, so labels cannot be compared"):
        gate(baseline, good, Policy(mode="identity"))
    assert gate(baseline, good, QUICK).mode == "candidate"


def test_a_lost_npz_is_the_weaker_test(tmp_path: Path, good: Any, bad: Any) -> None:
    accept(good, tmp_path / "b.json")
    (tmp_path / "b.npz").unlink()
    assert not gate(read_baseline(tmp_path / "b.json"), bad, QUICK).paired


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("metrics", {"mce": {"value": 0.9, "n": 60, "standard_error": 0.01}}),
        ("signature", {"common": {}}),
        ("model", {"name": "other"}),
        ("wrong", {}),
        ("accepted", {"note": "no"}),
        ("normaliser_values", None),
    ],
)
def test_an_edited_field_is_named(tmp_path: Path, good: Any, field: str, value: object) -> None:
    path = tmp_path / "b.json"
    accept(good, path, predictions=False)
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(DataError, match=f"the field '{field}' was edited after the baseline was accepted") as caught:
        read_baseline(path)
    assert caught.value.exit_code == 2


def test_an_npz_of_another_baseline_is_noticed(tmp_path: Path, good: Any, bad: Any) -> None:
    accept(good, tmp_path / "b.json")
    accept(bad, tmp_path / "other.json")
    (tmp_path / "other.npz").replace(tmp_path / "b.npz")
    with pytest.raises(DataError, match=r"b\.npz is not the file that b\.json was accepted with"):
        read_baseline(tmp_path / "b.json")


@pytest.mark.parametrize(
    ("text", "message"), [("{", "is not a baseline"), ("[]", "layout 1"), ('{"schema": 9}', "layout 1")]
)
def test_what_is_no_baseline(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(DataError, match=message):
        read_baseline(tmp_path / "b.json")


def test_an_absent_baseline_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(IncompleteError, match=r"robustbench-lift gate .*b\.json RUN --accept") as caught:
        read_baseline(tmp_path / "b.json")
    assert caught.value.exit_code == 3


def test_a_run_with_holes_is_no_baseline(tmp_path: Path, make_run: Callable[..., Any]) -> None:
    part = make_run("part")
    del part.arrays[Cell("clean", "clean", 0)]
    with pytest.raises(IncompleteError, match=r"part lacks 1 cells \(first: clean/clean/0\): not a baseline yet"):
        accept(part, tmp_path / "b.json")
    assert not (tmp_path / "b.json").exists()


def test_a_part_of_the_benchmark_is_a_baseline_of_that_part(tmp_path: Path, make_run: Callable[..., Any]) -> None:
    accept(make_run("one", cells=[Cell("corruption", "fog", 1)]), tmp_path / "b.json")
    numbers = json.loads((tmp_path / "b.json").read_text())["metrics"]
    assert "evaluated_error" in numbers
    assert "mce" not in numbers


def test_another_protocol_is_refused_without_predictions_too(
    tmp_path: Path, good: Any, make_run: Callable[..., Any]
) -> None:
    accept(good, tmp_path / "b.json", predictions=False)
    other = make_run("other", signature={"seed": "1"})
    with pytest.raises(IncomparableError, match=r"signature\.clean\.seed: 0 != 1"):
        gate(read_baseline(tmp_path / "b.json"), other, QUICK)


def test_accepting_twice_gives_the_same_predictions(tmp_path: Path, good: Any) -> None:
    accept(good, tmp_path / "a.json")
    accept(good, tmp_path / "b.json")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_one_image_has_no_standard_error(tmp_path: Path, make_run: Callable[..., Any]) -> None:
    """JSON has no NaN."""
    accept(make_run("one", images=1), tmp_path / "b.json", predictions=False)
    content = json.loads((tmp_path / "b.json").read_text(), parse_constant=pytest.fail)
    assert content["metrics"]["mce"]["standard_error"] is None
    assert gate(read_baseline(tmp_path / "b.json"), make_run("two", images=1), QUICK).exit_code == 0


def test_changed_files_of_a_checkout(tmp_path: Path) -> None:
    assert changed_files(tmp_path / "b.json") == []
    assert changed_files(tmp_path / "absent" / "b.json") == []
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for name in ("code.py", "b.json"):
        (tmp_path / name).write_text("1")
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *command], check=True)
    (tmp_path / "untracked").write_text("2")
    (tmp_path / "b.json").write_text("2")
    assert changed_files(tmp_path / "b.json") == []
    (tmp_path / "code.py").write_text("2")
    assert changed_files(tmp_path / "b.json") == ["code.py"]
