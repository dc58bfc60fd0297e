"""What a gate says: only what can fail it is called a regression, and only a whole run is offered as a baseline."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustbench_lift.errors import DataError, IncompleteError, UsageError
from robustbench_lift.files import write_atomic
from robustbench_lift.regression import Policy, accept, compare, gate, read_baseline, read_policy
from robustbench_lift.regression.render import to_markdown
from robustbench_lift.runs import Run

QUICK = Policy(replicates=200)
MakeRun = Callable[..., Any]


@pytest.fixture(scope="module")
def good(make_run: MakeRun) -> Any:
    return make_run("good", quality=1.4)


def test_what_cannot_fail_the_gate_is_not_called_regressed(make_run: MakeRun, good: Any) -> None:
    worse = make_run("worse", quality=0.6)
    outcome = gate(good, worse, Policy(replicates=200, metrics=("consistency",), margins={"consistency": 90.0}))
    assert outcome.exit_code == 0
    text = to_markdown(outcome.comparison, outcome)
    assert "REGRESSED" not in text
    assert "worse, not gated" in text
    assert "REGRESSED" in to_markdown(outcome.comparison)


def test_an_incomplete_run_is_not_offered_as_baseline(make_run: MakeRun, good: Any) -> None:
    part = make_run("part", quality=1.4, cells=[cell for cell in good.expected if cell.protocol in ("clean", "shift")])
    outcome = gate(good, part, QUICK)
    assert outcome.exit_code == 3
    assert not outcome.acceptable
    assert "--accept" not in to_markdown(outcome.comparison, outcome)


def test_identity_looks_at_the_protocols_of_named_numbers(make_run: MakeRun, good: Any) -> None:
    cells = [cell for cell in good.expected if cell.protocol in ("clean", "shift")]
    part = make_run("good", quality=1.4, cells=cells)
    assert gate(good, part, QUICK).exit_code == 3
    named = gate(good, part, Policy(replicates=200, metrics=("clean_error", "consistency")))
    assert (named.mode, named.exit_code) == ("identity", 0)


def test_a_run_without_its_normaliser_says_so(
    tmp_path: Path, make_run: MakeRun, store: Callable[[Path, Any], Run]
) -> None:
    lonely = store(tmp_path / "net", make_run("net", normaliser="../alexnet"))
    with pytest.raises(IncompleteError, match=r"\.\./alexnet as its normaliser"):
        accept(lonely, tmp_path / "b.json")


def test_a_normaliser_of_few_flips_is_noted(
    tmp_path: Path, make_run: MakeRun, store: Callable[[Path, Any], Run]
) -> None:
    store(tmp_path / "alexnet", make_run("alexnet", quality=2.0))
    a, b = (store(tmp_path / name, make_run(name, normaliser="../alexnet")) for name in "ab")
    assert any("FEW FLIPS" in note and "tilt" in note for note in compare(a, b, replicates=100).notes)


def test_a_note_of_the_comment_ends_before_the_table(make_run: MakeRun, good: Any) -> None:
    found = replace(compare(good, make_run("worse", quality=0.6), replicates=100), notes=("first", "second"))
    lines = to_markdown(found).splitlines()
    at = lines.index("> first")
    assert lines[at : at + 4] == ["> first", "", "> second", ""]
    assert lines[at + 4].startswith("| number |")


def test_numbers_beyond_the_default_are_compared_when_asked_for(make_run: MakeRun, good: Any) -> None:
    other = make_run("other", quality=0.6)
    asked = ("consistency_correct", "clean_ece", "corruption_ece", "mean_top5_distance")
    found = compare(good, other, numbers=asked, replicates=200).metrics
    for name in asked:
        assert found[name].low <= found[name].delta <= found[name].high, name
        assert 0 <= found[name].p_value <= 1
    assert gate(good, other, Policy(replicates=200, metrics=("corruption_ece",))).exit_code in (0, 1)


def test_a_baseline_whose_replacement_was_interrupted_still_serves(
    tmp_path: Path, good: Any, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "b.json"
    accept(good, path)

    def stop(file: Path, content: bytes) -> None:
        if file == path:
            raise KeyboardInterrupt
        write_atomic(file, content)

    monkeypatch.setattr("robustbench_lift.regression.baseline.write_atomic", stop)
    with pytest.raises(KeyboardInterrupt):
        accept(make_run("bad", quality=0.6), path)
    assert gate(read_baseline(path), good, QUICK).exit_code == 0
    monkeypatch.undo()
    accept(good, path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["b.json", "b.npz"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("metrics", {"mce": 1}), ("model", []), ("cells", ["a"]), ("normaliser_values", {}), ("signature", {"clean": 1})],
)
def test_fields_of_other_types_are_named(tmp_path: Path, good: Any, field: str, value: object) -> None:
    from robustbench_lift.regression.baseline import _checksum

    path = tmp_path / "b.json"
    accept(good, path, predictions=False)
    content = json.loads(path.read_text())
    content[field] = value
    content["checksums"][field] = _checksum(value)
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=field):
        read_baseline(path)


def test_files_that_never_end_or_nest_too_deeply_are_refused(tmp_path: Path) -> None:
    import os

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UsageError, match="ordinary"):
        read_policy(pipe)
    with pytest.raises(DataError, match="ordinary"):
        read_baseline(pipe)
    deep = tmp_path / "deep.json"
    deep.write_text("[" * 100_000)
    with pytest.raises(DataError, match="not a baseline"):
        read_baseline(deep)
    deep.write_text("x = " + "[" * 100_000)
    with pytest.raises(UsageError, match=r"deep\.json"):
        read_policy(deep)


def test_a_comparison_is_a_frame(make_run: MakeRun, good: Any) -> None:
    frame = compare(good, make_run("other"), replicates=100).frame()
    assert {"protocol", "condition", "severity", "number", "value", "low", "high", "p_value"} <= set(frame.columns)
    assert np.allclose(frame["value"], frame["candidate"] - frame["baseline"])
    assert not frame.duplicated(["protocol", "condition", "severity", "number"]).any()
