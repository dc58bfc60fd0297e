"""`compare` and `gate` as their users meet them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from robustbench_lift.cli import app


@pytest.fixture(autouse=True)
def no_workflow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)


def call(*arguments: object) -> Any:
    return CliRunner().invoke(
        app, [*map(str, arguments), *(["--replicates", "100"] if "--accept" not in arguments else [])]
    )


def test_compare_shows_differences_and_ends_with_zero(stored_runs: Path) -> None:
    shown = call("compare", stored_runs / "good", stored_runs / "bad")
    assert shown.exit_code == 0
    assert "bad against good: differences in percentage points, 95 % intervals" in shown.output
    for words in ("mCE", "REGRESSED", "lost/gained", "detectable", "Cells, worst first (20 of 76)", "signature: rbl1|"):
        assert words in shown.output
    assert max(map(len, shown.output.splitlines())) < 250


def test_compare_in_every_format(stored_runs: Path, tmp_path: Path) -> None:
    good, bad = stored_runs / "good", stored_runs / "bad"
    assert json.loads(call("compare", good, bad, "--format", "json").output)["schema"] == 1
    assert call("compare", good, bad, "--format", "csv").output.startswith("name,baseline,candidate")
    assert "| mCE |" in call("compare", good, bad, "--format", "markdown").output
    shown = call("compare", good, bad, "--out", tmp_path / "t.txt")
    assert f"wrote {tmp_path / 't.txt'}" in shown.output.replace("\n", "")
    assert "mCE" in (tmp_path / "t.txt").read_text()


def test_a_run_against_itself(stored_runs: Path) -> None:
    shown = call("compare", stored_runs / "good", stored_runs / "same")
    assert "In all 76 cells the same images are right." in shown.output


def test_gate_fails_with_the_command_that_accepts(stored_runs: Path) -> None:
    shown = call("gate", stored_runs / "good", stored_runs / "bad")
    assert shown.exit_code == 1
    assert shown.output.rstrip().endswith(
        f"robustbench-lift gate robustness-baseline.json {stored_runs / 'bad'} --accept"
    )


def test_gate_passes(stored_runs: Path) -> None:
    assert call("gate", stored_runs / "bad", stored_runs / "good").exit_code == 0
    shown = call("gate", stored_runs / "good", stored_runs / "same")
    assert shown.exit_code == 0
    assert "identity gate: pass" in shown.output


def test_a_margin_and_a_policy_file(stored_runs: Path, tmp_path: Path) -> None:
    policy = tmp_path / "gate.toml"
    policy.write_text('metrics = ["mce"]\n[margins]\nmce = 60\n')
    good, bad = stored_runs / "good", stored_runs / "bad"
    assert call("gate", good, bad, "--policy", policy).exit_code == 0
    assert call("gate", good, bad, "--policy", policy, "--margin", "mce=0.5").exit_code == 1
    assert call("gate", good, bad, "--metric", "mce", "--margin", "mce=60").exit_code == 0


def test_the_answer_of_require_power(stored_runs: Path) -> None:
    good, bad = stored_runs / "good", stored_runs / "bad"
    shown = call("gate", good, bad, "--metric", "mce", "--margin", "mce=60", "--require-power", "0.01")
    assert shown.exit_code == 4
    assert "inconclusive" in shown.output


def test_advisory_tells_and_passes(stored_runs: Path, tmp_path: Path) -> None:
    shown = call("gate", stored_runs / "good", stored_runs / "bad", "--advisory", "--junit", tmp_path / "j.xml")
    assert shown.exit_code == 0
    assert "advisory: exit code 1 was not used." in shown.output
    assert ElementTree.parse(tmp_path / "j.xml").find(".//failure") is None


def test_files_for_ci(stored_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    shown = call(
        "gate", stored_runs / "good", stored_runs / "bad", "--junit", tmp_path / "a" / "j.xml",
        "--comment", tmp_path / "c.md", "--json", tmp_path / "o.json", "--format", "json",
    )  # fmt: skip
    assert shown.exit_code == 1
    assert json.loads(shown.stdout)["exit_code"] == 1
    assert "::error title=robustness gate::" in shown.stderr
    assert ElementTree.parse(tmp_path / "a" / "j.xml").getroot().tag == "testsuites"
    assert json.loads((tmp_path / "o.json").read_text()) == json.loads(shown.stdout)
    assert (tmp_path / "summary.md").read_text().rstrip() == (tmp_path / "c.md").read_text().rstrip()


def test_accept_then_gate(stored_runs: Path, tmp_path: Path) -> None:
    baseline = tmp_path / "b.json"
    shown = call("gate", baseline, stored_runs / "good", "--accept", "--note", "release 1")
    assert shown.exit_code == 0
    assert f"git add {baseline} {tmp_path / 'b.npz'}" in shown.output.replace("\n", "")
    assert json.loads(baseline.read_text())["accepted"]["note"] == "release 1"
    assert call("gate", baseline, stored_runs / "same").exit_code == 0
    shown = call("gate", baseline, stored_runs / "bad")
    assert shown.exit_code == 1
    assert shown.output.rstrip().endswith(f"robustbench-lift gate {baseline} {stored_runs / 'bad'} --accept")


def test_accept_refuses_a_changed_checkout(stored_runs: Path, tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    (tmp_path / "code.py").write_text("1")
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *command], check=True)
    (tmp_path / "code.py").write_text("2")
    baseline = tmp_path / "b.json"
    refused = call("gate", baseline, stored_runs / "good", "--accept")
    assert refused.exit_code == 2
    assert "files in git are changed (code.py)" in refused.output
    assert not baseline.exists()
    assert call("gate", baseline, stored_runs / "good", "--accept", "--force").exit_code == 0
    assert baseline.exists()


def test_several_seeds(
    stored_runs: Path, tmp_path: Path, make_run: Callable[..., Any], store: Callable[..., Any]
) -> None:
    for name, quality in (("before", 1.4), ("after", 0.6)):
        for seed in range(2):
            store(tmp_path / name / str(seed), make_run(f"{name}{seed}", quality=quality + 0.01 * seed))
    shown = call("gate", tmp_path / "before", tmp_path / "after")
    assert "recipe gate" in shown.output
    assert shown.exit_code == 1
    shown = call("gate", stored_runs / "good", stored_runs / "bad", "--mode", "recipe")
    assert shown.exit_code == 4
    assert "cannot be judged from one" in shown.output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("compare", "good", "absent"), 3, "is not a run"),
        (("compare", "good", "."), 2, "holds 3 runs (bad, good, same)"),
        (("compare", "good", "bad", "--format", "yaml"), 2, "unknown format 'yaml'"),
        (("compare", "good", "bad", "--correction", "bhh"), 2, "'bh'"),
        (("compare", "good", "bad", "--margin", "mce"), 2, "mce=0.5"),
        (("gate", "good", "bad", "--margin", "mcee=1"), 2, "Did you mean 'mce'"),
        (("gate", "good", "bad", "--alpha", "5"), 2, "field alpha is 5"),
        (("gate", "good", "bad", "--policy", "absent.toml"), 2, "cannot be read"),
        (("gate", "absent.json", "bad"), 3, "there is no baseline"),
        (("gate", "good", "good", "--mode", "recipe"), 2, "the same weights"),
        (("gate", "good", "bad", "--accept"), 2, "--accept writes a file"),
    ],
)  # fmt: skip
def test_mistakes_end_in_one_message(
    stored_runs: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, message: str
) -> None:
    monkeypatch.chdir(stored_runs)
    if arguments == ("gate", "good", "good", "--mode", "recipe"):
        arguments = ("gate", ".", "good", "--mode", "recipe")
    shown = call(*arguments)
    assert shown.exit_code == code
    assert message in shown.output.replace("\n", " ")
    assert "Traceback" not in shown.output


def test_ci_is_told_when_nothing_could_be_decided(
    stored_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    shown = call("gate", tmp_path / "absent.json", stored_runs / "bad", "--junit", tmp_path / "j.xml")
    assert shown.exit_code == 3
    assert "::error title=robustness gate::there is no baseline" in shown.stderr
    assert "there is no baseline" in str(ElementTree.parse(tmp_path / "j.xml").find(".//error").get("message"))


def test_files_and_folders_that_are_written_are_told(stored_runs: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    arguments = ("gate", stored_runs / "good", stored_runs / "good", "--format", "json")
    files = ("--junit", new / "j.xml", "--comment", new / "c.md", "--json", new / "g.json", "--badge", new / "b.json")
    shown = call(*arguments, *files)
    assert shown.exit_code == 0
    told = shown.stderr.splitlines()
    assert told == [
        f"wrote {new / 'j.xml'} (made the folder {new})",
        f"wrote {new / 'c.md'}",
        f"wrote {new / 'g.json'}",
        f"wrote {new / 'b.json'}",
    ]
    assert json.loads((new / "b.json").read_text())["message"].startswith("pass")
    json.loads(shown.stdout)
