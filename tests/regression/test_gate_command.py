"""`compare` and `gate` as their users meet them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

from robustbench_lift.cli import app
from robustbench_lift.runs import Cell, Run


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


# ---------------------------------------------------------------- what a gate says, wherever it says it


def everywhere(tmp_path: Path, *arguments: object, code: int) -> dict[str, str]:
    """All that a gate says: on the terminal and in every file, by where it is said."""
    files = {name: tmp_path / f"said.{name}" for name in ("junit", "comment", "json", "badge")}
    options = [part for name, file in files.items() for part in (f"--{name}", file)]
    said = call("gate", *arguments, *options)
    assert said.exit_code == code, said.output
    markdown = call("gate", *arguments, "--format", "markdown").output
    return {"terminal": said.output, "markdown": markdown} | {name: file.read_text() for name, file in files.items()}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Any], store: Callable[..., Any]) -> Path:
    """Runs of two of the four protocols: `better`, `worse` and `good` (the weights of the stored run of that name)."""
    folder = tmp_path_factory.mktemp("parts")
    cells = [Cell("clean", "clean", 0), Cell("shift", "crop", 0)]
    for name, quality in (("better", 2.4), ("good", 1.4), ("worse", 0.6)):
        store(folder / name, make_run(name, quality=quality, cells=cells))
    return folder


def test_a_passing_gate_says_regressed_nowhere(stored_runs: Path, tmp_path: Path) -> None:
    rules = ("--metric", "consistency", "--margin", "consistency=90")
    for name, text in everywhere(tmp_path, stored_runs / "good", stored_runs / "bad", *rules, code=0).items():
        assert "REGRESSED" not in text, name
    said = call("gate", stored_runs / "good", stored_runs / "bad", *rules).output
    assert "worse, not gated" in said
    assert "candidate gate: pass" in said
    failing = everywhere(tmp_path, stored_runs / "good", stored_runs / "bad", code=1)
    assert all("REGRESSED" in failing[name] for name in ("terminal", "markdown", "comment", "junit"))


@pytest.mark.parametrize(
    ("candidate", "rules", "code"),
    [
        ("better", (), 3),
        ("better", ("--metric", "clean_error"), 0),
        ("worse", ("--metric", "consistency"), 1),
        ("good", (), 3),
        ("good", ("--metric", "clean_error", "--metric", "consistency"), 0),
    ],
)
def test_a_run_that_lacks_cells_is_offered_as_a_baseline_nowhere(
    stored_runs: Path, parts: Path, tmp_path: Path, candidate: str, rules: tuple[str, ...], code: int
) -> None:
    baseline = stored_runs / ("bad" if candidate == "better" else "good")
    for name, text in everywhere(tmp_path, baseline, parts / candidate, *rules, code=code).items():
        assert "--accept" not in text, name
    if candidate == "better":
        whole = everywhere(tmp_path, baseline, stored_runs / "good", *rules, code=0)
        for name in ("terminal", "markdown", "comment", "json", "junit"):
            assert f"{stored_runs / 'good'} --accept" in whole[name], name


def test_a_run_with_holes_is_neither_judged_nor_accepted(
    stored_runs: Path, tmp_path: Path, make_run: Callable[..., Any], store: Callable[..., Any]
) -> None:
    holes = store(tmp_path / "holes", make_run("holes", quality=2.2))
    holes.file(Cell("corruption", "fog", 3)).unlink()
    for arguments in ((stored_runs / "good", holes.path), (tmp_path / "b.json", holes.path, "--accept")):
        said = call("gate", *arguments)
        assert said.exit_code == 3
        assert "corruption/fog/3" in said.output.replace("\n", " ")
        assert "To accept" not in said.output
    assert not (tmp_path / "b.json").exists()


def test_identity_compares_the_labels_that_the_named_numbers_are_of(
    stored_runs: Path, parts: Path, tmp_path: Path, change_top1: Callable[..., Any]
) -> None:
    """Of other protocols neither a missing cell nor a changed label counts."""
    good, part = stored_runs / "good", parts / "good"
    said = call("gate", good, part)
    assert said.exit_code == 3
    assert "85 cells are on one side only" in said.output
    assert "2 cells" in call("gate", good, part, "--metric", "consistency", "--metric", "clean_error").output
    changed = Run.open(shutil.copytree(good, tmp_path / "changed"))
    fog = Cell("corruption", "fog", 3)
    changed.write(fog, change_top1(changed.read(fog), np.arange(7)))
    said = call("gate", good, changed.path, "--metric", "mean_error")
    assert said.exit_code == 1
    assert "corruption/fog/3: 7 of 60 labels changed" in said.output
    assert call("gate", good, changed.path, "--metric", "consistency").exit_code == 0
    assert call("gate", good, changed.path).exit_code == 1


def test_a_run_copied_without_its_normaliser_says_so_in_every_command(
    tmp_path: Path, make_run: Callable[..., Any], store: Callable[..., Any]
) -> None:
    store(tmp_path / "there" / "alexnet", make_run("alexnet", quality=0.4))
    whole = store(tmp_path / "there" / "net", make_run("net", normaliser="../alexnet"))
    lonely = shutil.copytree(whole.path, tmp_path / "here" / "net")
    words = f"there is no run in {(tmp_path / 'here' / 'alexnet').resolve()}"
    advice = "A run is copied together with its normaliser: copy that folder too."
    for arguments in (
        ("gate", lonely, lonely),
        ("compare", lonely, whole.path),
        ("gate", tmp_path / "b.json", lonely, "--accept"),
    ):
        said = call(*arguments)
        assert said.exit_code == 3, said.output
        assert words in said.output.replace("\n", "")
        assert advice in said.output
    said = CliRunner().invoke(app, ["report", str(lonely), "--out", str(tmp_path / "report")])
    assert said.exit_code == 0
    told = f"Nothing is normalised: {words}, which the run names as its normaliser. {advice}"
    assert "".join(told.split()) in "".join(said.output.split())
    said = CliRunner().invoke(app, ["report", str(whole.path), "--out", str(tmp_path / "report")])
    assert "Nothing is normalised" not in said.output
