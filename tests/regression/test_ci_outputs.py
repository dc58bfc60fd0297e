"""What CI reads: JUnit XML, GitHub annotations and summaries within their limits, comments, JSON, CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from robustbench_lift.errors import StorageError
from robustbench_lift.regression import Policy, ci, compare, gate
from robustbench_lift.regression.render import COMMENT_LIMIT, MARKER, to_csv, to_json, to_markdown
from robustbench_lift.runs import Cell
from robustbench_lift.text import markdown

QUICK = Policy(replicates=100)


@pytest.fixture(scope="module")
def regression(make_run: Callable[..., Any]) -> Any:
    return gate(make_run("good", quality=1.4), make_run("bad", quality=0.7), QUICK)


@pytest.fixture(scope="module")
def passed(make_run: Callable[..., Any]) -> Any:
    return gate(make_run("good", quality=1.4), make_run("good", quality=1.4), QUICK)


class TestJunit:
    def test_a_suite_a_protocol_and_a_case_a_number(self, regression: Any) -> None:
        root = ElementTree.fromstring(ci.junit(regression, seconds=1.25))
        suites = {suite.get("name"): suite for suite in root}
        assert set(suites) == {"verdict", "clean", "corruption", "perturbation", "shift"}
        for suite in root:
            cases = suite.findall("testcase")
            assert int(suite.get("tests", "-1")) == len(cases)
            assert int(suite.get("failures", "0")) == len(suite.findall("testcase/failure"))
        assert suites["verdict"].find("testcase").get("time") == "1.250"
        names = {case.get("name") for case in suites["corruption"].findall("testcase")}
        assert {"mCE", "relative mCE", "CE Fog", "Fog, severity 5"} <= names
        assert "error fog" not in names

    def test_a_failure_says_everything(self, regression: Any) -> None:
        root = ElementTree.fromstring(ci.junit(regression, seconds=1))
        failure = next(case.find("failure") for case in root.iter("testcase") if case.get("name") == "mCE")
        assert failure.get("message").startswith("mCE regressed by ")
        assert "margin 2 points\nTo see it: robustbench-lift compare good bad\n" in failure.text
        assert failure.text.endswith("--accept")
        properties = {p.get("name"): p.get("value") for p in root.iter("property")}
        assert properties["signature"] == regression.comparison.signature
        assert properties["candidate git"] == "0123456789ab"
        assert len(properties["candidate weights sha256"]) == 64

    def test_one_cause_is_one_failure(self, regression: Any) -> None:
        root = ElementTree.fromstring(ci.junit(regression, seconds=1))
        failing = [case.get("name") for case in root.iter("testcase") if case.find("failure") is not None]
        assert failing
        assert "verdict" not in failing
        assert root.find(".//system-out").text.splitlines() == list(regression.reasons)
        suites = {suite.get("name"): suite for suite in root}
        assert suites["verdict"].get("failures") == "0"

    def test_what_no_number_shows_fails_the_verdict(self, make_run: Callable[..., Any]) -> None:
        seeds = [make_run("b0", model=1), make_run("b1", model=2)]
        outcome = gate(make_run("good", quality=1.4), seeds, QUICK)
        assert outcome.exit_code == 4
        root = ElementTree.fromstring(ci.junit(outcome, seconds=1))
        failing = {case.get("name") for case in root.iter("testcase") if case.find("failure") is not None}
        regressed = {name for name, d in outcome.comparison.metrics.items() if d.verdict == "regressed"}
        assert failing == {"verdict"}
        assert not regressed

    def test_cells_fail_only_where_the_policy_says_so(self, regression: Any) -> None:
        def failed(outcome: Any) -> set[str]:
            root = ElementTree.fromstring(ci.junit(outcome, seconds=1))
            return {case.get("name", "") for case in root.iter("testcase") if case.find("failure") is not None}

        worst = regression.comparison.worst[0]
        _, condition, level = worst.name.split("/")
        name = f"{condition.replace('_', ' ').capitalize()}, severity {level}"
        assert worst.verdict == "regressed"
        assert name not in failed(regression)
        assert name in failed(replace(regression, policy=replace(QUICK, cells=True)))

    def test_advisory_failures_are_skipped(self, regression: Any) -> None:
        root = ElementTree.fromstring(ci.junit(regression, seconds=1, advisory=True))
        assert root.find(".//failure") is None
        assert root.find(".//skipped") is not None
        assert {suite.get("failures", "0") for suite in root} == {"0"}

    def test_a_pass_has_no_failures(self, passed: Any) -> None:
        assert ElementTree.fromstring(ci.junit(passed, seconds=1)).find(".//failure") is None

    def test_what_was_not_measured_is_skipped(self, make_run: Callable[..., Any]) -> None:
        a = make_run("a")
        b = make_run("b", cells=[c for c in a.expected if c.protocol != "shift"])
        root = ElementTree.fromstring(ci.junit(gate(a, b, QUICK), seconds=1))
        case = next(case for case in root.iter("testcase") if case.get("name") == "shift consistency")
        assert case.find("skipped").get("message") == "measured on one side only"

    def test_characters_that_xml_forbids(self, regression: Any) -> None:
        named = replace(regression, comparison=replace(regression.comparison, candidate="a\x00b\x1b[31m<&>\ud800"))
        properties = ElementTree.fromstring(ci.junit(named, seconds=1)).iter("property")
        assert {p.get("name"): p.get("value") for p in properties}["candidate"] == "a?b?[31m<&>?"

    def test_a_gate_that_could_not_decide(self) -> None:
        root = ElementTree.fromstring(ci.junit_error("runs differ\nin seed", seconds=0))
        assert root.find("testsuite").get("errors") == "1"
        assert root.find(".//error").get("message") == "runs differ"
        assert root.find(".//error").text == "runs differ\nin seed"


class TestBadge:
    def test_verdict_and_the_first_number_there_is(self, regression: Any, passed: Any) -> None:
        red, green = (json.loads(ci.badge(outcome)) for outcome in (regression, passed))
        assert set(red) == {"schemaVersion", "label", "message", "color"}
        assert (red["schemaVersion"], red["color"], green["color"]) == (1, "red", "brightgreen")
        candidate = regression.comparison.metrics["mce"].candidate
        assert red["message"] == f"regression, mCE {100 * candidate:.1f} %"
        assert green["message"].startswith("pass, mCE ")

    def test_without_numbers_the_verdict_alone(self, passed: Any) -> None:
        bare = replace(passed, comparison=replace(passed.comparison, metrics={}))
        assert json.loads(ci.badge(bare))["message"] == "pass"


class TestGithub:
    def test_at_most_ten_of_each_kind(self, regression: Any) -> None:
        lines = ci.workflow_commands(regression)
        errors = [line for line in lines if line.startswith("::error ")]
        warnings = [line for line in lines if line.startswith("::warning ")]
        assert len(errors) + len(warnings) == len(lines)
        assert 0 < len(errors) <= 10
        assert len(warnings) == 10
        assert "more, in the summary" in warnings[-1]
        assert errors[0].startswith("::error title=robustness gate::")

    def test_cells_are_errors_where_they_gate(self, regression: Any) -> None:
        lines = ci.workflow_commands(replace(regression, policy=replace(QUICK, cells=True)))
        assert len(lines) == 10
        assert {line.split(" ")[0] for line in lines} == {"::error"}

    def test_a_pass_says_nothing(self, passed: Any) -> None:
        assert ci.workflow_commands(passed) == []

    def test_messages_stay_one_line(self) -> None:
        assert ci.error_command("50 %\nof it") == "::error title=robustness gate::50 %25%0Aof it"

    def test_identity_names_the_cells(self, make_run: Callable[..., Any], change_top1: Callable[..., Any]) -> None:
        import numpy as np

        changed, cell = make_run("m"), Cell("corruption", "fog", 1)
        changed.arrays[cell] = change_top1(changed.arrays[cell], np.array([7]))
        lines = ci.workflow_commands(gate(make_run("m"), changed, QUICK))
        assert len(lines) == 2
        assert "corruption/fog/1: 1 of 60 labels changed" in lines[1]

    def test_summary_only_in_a_workflow(self, regression: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
        assert not ci.step_summary(regression)
        summary = tmp_path / "summary.md"
        summary.write_text("before\n")
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
        assert ci.step_summary(regression)
        text = summary.read_text()
        assert text.startswith(f"before\n{MARKER}")
        assert "REGRESSED" in text

    def test_summary_stays_below_the_limit(
        self, regression: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        summary = tmp_path / "summary.md"
        summary.write_text("x" * (ci.SUMMARY_LIMIT - 8000))
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
        ci.step_summary(regression)
        assert ci.SUMMARY_LIMIT - 8000 < summary.stat().st_size <= ci.SUMMARY_LIMIT

    @pytest.mark.parametrize(("room", "written"), [(500, True), (10, False)])
    def test_a_summary_that_is_nearly_full(
        self, regression: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, written: bool
    ) -> None:
        summary = tmp_path / "summary.md"
        summary.write_text("x" * (ci.SUMMARY_LIMIT - room))
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
        assert ci.step_summary(regression) is written
        assert summary.read_text().endswith("Robustness gate: regression\n") is written
        assert summary.stat().st_size <= ci.SUMMARY_LIMIT

    def test_summary_that_cannot_be_written(
        self, regression: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "no" / "such" / "folder"))
        with pytest.raises(StorageError, match=r"step summary .* cannot be written"):
            ci.step_summary(regression)


class TestTexts:
    def test_a_comment_has_a_marker_and_a_limit(self, regression: Any) -> None:
        text = to_markdown(regression.comparison, regression)
        assert text.startswith(MARKER + "\n### Robustness gate: regression")
        assert len(text.encode()) < COMMENT_LIMIT
        assert regression.comparison.signature in text
        assert f"`{regression.accept}`" in text
        for limit in (12_000, 6_000):
            short = to_markdown(regression.comparison, regression, limit=limit)
            assert len(short.encode()) <= limit
            assert "more rows are in the JSON output." in short
            assert short.count("<details>") == short.count("</details>") == 1

    def test_a_comment_is_the_same_every_time(self, regression: Any) -> None:
        assert to_markdown(regression.comparison, regression) == to_markdown(regression.comparison, regression)

    def test_names_from_data_are_escaped(self, regression: Any) -> None:
        evil = replace(regression.comparison, baseline="a`b|<img>", notes=("<script>|",))
        text = to_markdown(evil)
        assert "<script>" not in text
        assert "`a'b|<img>`" in text
        assert markdown("a|b_c*<d>") == "a\\|b\\_c\\*&lt;d&gt;"

    def test_json_is_versioned_and_plain(self, regression: Any) -> None:
        data = json.loads(to_json(regression.comparison, regression), parse_constant=pytest.fail)
        assert data["schema"] == 1
        assert (data["verdict"], data["exit_code"], data["mode"]) == ("regression", 1, "candidate")
        mce = next(d for d in data["metrics"] if d["name"] == "mce")
        assert mce["delta"] == pytest.approx(mce["candidate"] - mce["baseline"])
        assert len(data["cells"]) == 76
        assert set(data["labels"]) == set(regression.comparison.changed_labels)

    def test_what_is_unknown_is_null(self, make_run: Callable[..., Any]) -> None:
        outcome = gate(make_run("a"), make_run("b"), Policy(mode="recipe"))
        data = json.loads(to_json(outcome.comparison, outcome), parse_constant=pytest.fail)
        assert data["metrics"][0]["low"] is None

    def test_csv_has_a_row_a_number(self, regression: Any) -> None:
        rows = list(csv.DictReader(io.StringIO(to_csv(regression.comparison))))
        assert len(rows) == len(regression.comparison.metrics) + len(regression.comparison.cells)
        assert rows[0]["name"] == "clean_error"
        assert float(rows[0]["lost"]) >= 0

    def test_a_comparison_alone_has_no_verdict(self, make_run: Callable[..., Any]) -> None:
        found = compare(make_run("a"), make_run("b"), replicates=100)
        assert to_markdown(found).splitlines()[1] == "### Robustness compared"
        assert "verdict" not in json.loads(to_json(found))
