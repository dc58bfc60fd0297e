"""The GitHub Action's script, run in bash as a runner would, and the example workflow's options."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ACTION = (ROOT / "action.yml").read_text()
EXAMPLE = (ROOT / "docs" / "examples" / "robustness.yml").read_text()


def gate_script() -> str:
    """The shell lines of the step that judges."""
    step = ACTION[ACTION.index("id: gate") :]
    block = re.search(r"      run: \|\n((?:        .*\n|\n)+)", step)
    assert block is not None
    return textwrap.dedent(block[1])


def judge(folder: Path, **inputs: str) -> tuple[int, str]:
    """Exit code of the step, and what it leaves in GITHUB_OUTPUT."""
    command = folder / "bin" / "robustbench-lift"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m robustbench_lift "$@"\n')
    command.chmod(0o755)
    output = folder / "github-output"
    environment = {
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "GITHUB_OUTPUT": str(output),
        "POLICY": "",
        "ARGUMENTS": "",
        "OUTPUT": str(folder / "results"),
        **inputs,
    }
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", gate_script()],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, output.read_text()


def test_the_action_judges_and_leaves_its_files(tmp_path: Path, stored_runs: Path) -> None:
    code, output = judge(
        tmp_path,
        BASELINE=str(stored_runs / "good"),
        RUNS=f"{stored_runs / 'bad'}\n",
        ARGUMENTS="--metric=mce\n--replicates=100\n",
    )
    assert code == 1
    assert output == "exit-code=1\n"
    assert json.loads((tmp_path / "results" / "gate.json").read_text())["verdict"] == "regression"
    assert {path.name for path in (tmp_path / "results").iterdir()} == {
        "gate.xml", "gate.json", "comment.md", "badge.json",
    }  # fmt: skip


def test_inputs_are_never_run_as_shell(tmp_path: Path, stored_runs: Path) -> None:
    assert "${{" not in gate_script()
    policy = tmp_path / "a policy.toml"
    policy.write_text('metrics = ["mce"]\nreplicates = 100\n')
    evil = "$(touch hacked); touch hacked"
    code, output = judge(tmp_path, BASELINE=str(stored_runs / "good"), RUNS=evil, POLICY=str(policy))
    assert (code, output) == (3, "exit-code=3\n")
    assert not (tmp_path / "hacked").exists()


def test_the_action_passes(tmp_path: Path, stored_runs: Path) -> None:
    code, output = judge(tmp_path, BASELINE=str(stored_runs / "good"), RUNS=str(stored_runs / "same"))
    assert (code, output) == (0, "exit-code=0\n")


def test_the_example_uses_options_and_inputs_that_exist() -> None:
    from typer.testing import CliRunner

    from robustbench_lift.cli import app

    shown = CliRunner().invoke(app, ["run", "--help"], env={"COLUMNS": "200"}).output
    command = next(line for line in EXAMPLE.splitlines() if "robustbench-lift run" in line)
    for option in re.findall(r"--[a-z-]+", command):
        assert option in shown
    inputs = set(re.findall(r"^  ([a-z]+):$", ACTION[ACTION.index("inputs:") : ACTION.index("outputs:")], re.MULTILINE))
    given = EXAMPLE[EXAMPLE.index("        with:\n          install") :]
    assert {"baseline", "run", "arguments", "install"} <= inputs
    assert set(re.findall(r"^          ([a-z]+):", given, re.MULTILINE)) <= inputs


@pytest.mark.parametrize("pair", [("good", "same", 0), ("bad", "good", 0), ("good", "bad", 1)])
def test_the_example_arguments_judge(
    stored_runs: Path, monkeypatch: pytest.MonkeyPatch, pair: tuple[str, str, int]
) -> None:
    from typer.testing import CliRunner

    from robustbench_lift.cli import app

    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    arguments = re.findall(r"^            (--\S+)$", EXAMPLE, re.MULTILINE)
    assert len(arguments) == 8
    before, after, code = pair
    shown = CliRunner().invoke(app, ["gate", *arguments, "--", str(stored_runs / before), str(stored_runs / after)])
    assert shown.exit_code == code
