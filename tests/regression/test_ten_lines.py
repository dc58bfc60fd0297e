"""The workflow with which docs/gate.md begins, followed word by word in a repository of a user's."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from robustbench_lift.errors import UsageError
from robustbench_lift.regression.sides import open_runs
from robustbench_lift.runs import Run

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")
SECTION = PAGE[PAGE.index("## In CI, in ten lines") : PAGE.index("## Choosing margins")]
WORKFLOW = re.search(r"```yaml\n(.*?)```", SECTION, re.DOTALL)[1].splitlines()  # type: ignore[index]
NETWORK = """
import torch

def build():
    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 2, bias=False))
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A package with a network that tells red from blue, its weights, twenty images; all committed."""
    (tmp_path / "mypackage").mkdir()
    (tmp_path / "mypackage" / "nets.py").write_text(NETWORK)
    (tmp_path / ".gitignore").write_text("runs/\n")
    for channel, name in ((0, "red"), (2, "blue")):
        folder = tmp_path / "tests" / "images" / name
        folder.mkdir(parents=True)
        for seed in range(10):
            pixels = np.random.default_rng(seed).integers(0, 100, (64, 64, 3), dtype=np.uint8)
            pixels[..., channel] += 120
            Image.fromarray(pixels).save(folder / f"{seed}.png")
    write_weights(tmp_path, 1.0)
    for words in ("init --quiet", "add --all", "-c user.name=a -c user.email=a@b.c commit --quiet --message first"):
        subprocess.run(["git", *words.split()], cwd=tmp_path, check=True)
    return tmp_path


def write_weights(folder: Path, blue: float) -> None:
    """Of a network that answers `blue` (class 0, first by name) where there is more blue; -1 is always wrong."""
    torch.save({"2.weight": torch.tensor([[-blue, 0.0, blue], [blue, 0.0, -blue]])}, folder / "weights.pt")


def do(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """One line of the page, without the corruptions, which take most of the time."""
    words = shlex.split(line.replace("clean,corruption,shift", "clean,shift"))
    program = ["-c", "from robustbench_lift.cli import main; main()"]
    called = [sys.executable, *program, *words[1:]] if words[0] == "robustbench-lift" else words
    return subprocess.run(called, cwd=folder, capture_output=True, text=True, check=False)


def test_the_workflow_has_ten_lines_at_most() -> None:
    assert len(WORKFLOW) <= 10
    assert len(yaml.safe_load("\n".join(WORKFLOW))["jobs"]["robustness"]["steps"]) == 5


def test_the_build_passes_with_the_same_weights_and_fails_with_worse_ones(repository: Path) -> None:
    for line in re.search(r"```sh\n(.*?)```", SECTION, re.DOTALL)[1].splitlines():  # type: ignore[index]
        done = do(line, repository)
        assert done.returncode == 0, done.stdout + done.stderr
    run, gate = (line.partition("- run: ")[2] for line in WORKFLOW if "- run: robustbench-lift" in line)
    for blue, code in ((1.0, 0), (-1.0, 1)):
        write_weights(repository, blue)
        shutil.rmtree(repository / "runs" / "new", ignore_errors=True)
        assert do(run, repository).returncode == 0
        done = do(gate, repository)
        assert done.returncode == code, done.stdout + done.stderr
        assert "candidate gate" in done.stdout


def test_a_report_among_the_runs_says_where_the_runs_are(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "document.json").write_text("{}")
    with pytest.raises(UsageError, match=f"Name the folder that holds them: {tmp_path}"):
        open_runs([tmp_path / "report"])


def test_a_folder_of_runs_is_judged_without_its_normaliser(stored_runs: Path, tmp_path: Path) -> None:
    for name in ("good", "same"):
        shutil.copytree(stored_runs / name, tmp_path / name)
    assert [run.path.name for run in open_runs([tmp_path])] == ["good", "same"]
    for name in ("good", "same"):  # a normaliser is divided by itself
        file = tmp_path / name / "run.json"
        manifest = json.loads(file.read_text())
        manifest["normaliser"] = "../same" if name == "good" else "."
        file.write_text(json.dumps(manifest))
    assert Run.open(tmp_path / "good").manifest.normaliser == "../same"
    assert [run.path.name for run in open_runs([tmp_path])] == ["good"]
