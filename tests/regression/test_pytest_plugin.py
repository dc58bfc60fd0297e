"""The pytest plugin, run in a pytest of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

import robustbench_lift
from robustbench_lift.cli import app

ROOT = Path(robustbench_lift.__file__).parents[1]
"""Where the package that is tested lies: installed, or a checkout on the path."""
PLUGIN = "robustbench_lift.regression.pytest_plugin"


def run_pytest(folder: Path, body: str, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(body)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-p", PLUGIN, *options, "test_it.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    )


def test_it_passes_fails_and_skips(tmp_path: Path, stored_runs: Path) -> None:
    body = f"""
ROOT = {str(stored_runs)!r}

def test_better(robustness_gate):
    outcome = robustness_gate(ROOT + "/bad", ROOT + "/good", replicates=100)
    assert outcome.word == "pass"

def test_worse(robustness_gate):
    robustness_gate(ROOT + "/good", ROOT + "/bad", replicates=100, metrics=["mce"])

def test_within_margin(robustness_gate):
    robustness_gate(ROOT + "/good", ROOT + "/bad", replicates=100, metrics=["mce"], margins={{"mce": 60}})

def test_absent(robustness_gate):
    robustness_gate(ROOT + "/absent.json", ROOT + "/bad")

def test_unknown(robustness_gate):
    robustness_gate(ROOT + "/good", ROOT + "/bad", alfa=1)

def test_not_asked(robustness_gate):
    robustness_gate()
"""
    shown = run_pytest(tmp_path, body)
    assert "3 failed, 2 passed, 1 skipped" in shown.stdout
    assert "robustness gate (candidate): regression" in shown.stdout
    assert f"robustbench-lift gate robustness-baseline.json {stored_runs}/bad --accept" in shown.stdout
    assert "there is no baseline" in shown.stdout
    assert "unknown policy field 'alfa'. Did you mean 'alpha'" in shown.stdout
    assert "no robustness run to judge: give --robustness-baseline and --robustness-run" in shown.stdout
    assert "Traceback" not in shown.stdout


def test_options_stand_in_for_arguments(tmp_path: Path, stored_runs: Path) -> None:
    (tmp_path / "gate.toml").write_text('metrics = ["mce"]\nreplicates = 100\n[margins]\nmce = 60\n')
    shown = run_pytest(
        tmp_path,
        "def test_it(robustness_gate):\n    assert robustness_gate().policy.metrics == ('mce',)\n",
        f"--robustness-baseline={stored_runs / 'good'}",
        f"--robustness-run={stored_runs / 'bad'}",
        "--robustness-policy=gate.toml",
    )
    assert "1 passed" in shown.stdout, shown.stdout


def test_one_drop_fails_one_case_where_the_gate_advises_and_pytest_decides(stored_runs: Path, tmp_path: Path) -> None:
    good, bad = str(stored_runs / "good"), str(stored_runs / "bad")
    options = ["--metric", "mce", "--replicates", "100", "--junit", str(tmp_path / "gate.xml"), "--advisory"]
    assert CliRunner().invoke(app, ["gate", good, bad, *options]).exit_code == 0
    body = f"def test_it(robustness_gate):\n    robustness_gate({good!r}, {bad!r}, metrics=['mce'], replicates=100)\n"
    run_pytest(tmp_path, body, "--junitxml=pytest.xml")
    files = [ElementTree.parse(tmp_path / name) for name in ("gate.xml", "pytest.xml")]
    assert [len(list(file.iter("failure"))) for file in files] == [0, 1]
    assert [len(list(file.iter("skipped"))) for file in files] == [1, 0]


@pytest.mark.parametrize("heavy", ["torch", "numpy", "scipy"])
def test_nothing_heavy_is_imported_to_collect(heavy: str) -> None:
    code = f"import sys, {PLUGIN}; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
