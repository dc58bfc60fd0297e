"""A plug-in of one file adds one of everything, and every command knows it; run in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("sketch.py")
CALLS = """
import json, sys
from typer.testing import CliRunner
from robustbench_lift import names
from robustbench_lift.cli import app
names.working_folder_last()
results = []
for arguments in json.load(sys.stdin):
    done = CliRunner().invoke(app, arguments)
    results.append([done.exit_code, done.output + done.stderr])
json.dump(results, open("results.json", "w"))
"""


def call(folder: Path, *commands: list[str], plugins: str = "") -> list[tuple[int, str]]:
    """Exit code and output of commands, run one after another in one process."""
    variables = {**os.environ, "ROBUSTBENCH_LIFT_PLUGINS": plugins, "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", CALLS], input=json.dumps(commands), cwd=folder, env=variables, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [(code, text) for code, text in json.loads((folder / "results.json").read_text())]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder that holds the plug-in."""
    shutil.copy(SOURCE, tmp_path / "mine.py")
    return tmp_path


@pytest.mark.parametrize("name", ["mine", "mine.py"])
def test_lists_show_what_a_plug_in_adds(name: str, folder: Path) -> None:
    kinds = {
        "poolings": "weighted", "models": "two-layers", "corruptions": "stripes", "suites": "striped",
        "data": "squares", "protocols": "mirror", "numbers": "mirror_consistency", "plugins": "mine",
    }  # fmt: skip
    shown = call(folder, *(["--plugin", name, "list", kind, "--backbone", "resnet8"] for kind in kinds))
    for (code, text), added in zip(shown, kinds.values(), strict=True):
        assert code == 0, text
        assert added in text
        assert "mine" in text


def test_a_plug_in_is_run_reported_and_gated(folder: Path) -> None:
    run = ["run", "two-layers/weighted?num_classes=4@random", "--data", "squares", "--normaliser", "none"]
    run += ["--protocols", "clean,corruption,mirror", "--out", "runs", "--allow-chance"]
    ran, reported, accepted, gated = call(
        folder,
        run,
        ["report", "runs", "--format", "csv,json", "--replicates", "50"],
        ["gate", "baseline.json", "runs/two-layers-weighted-random", "--accept"],
        ["gate", "baseline.json", "runs/two-layers-weighted-random"],
        plugins="mine",
    )
    assert ran[0] == 0, ran[1]
    assert (folder / "runs/two-layers-weighted-random/cells/corruption/stripes/5.npz").is_file()
    manifest = json.loads((folder / "runs/two-layers-weighted-random/run.json").read_text())
    assert manifest["signature"]["mirror"] == {"geometry": "crop64"}
    assert reported[0] == 0, reported[1]
    (model,) = json.loads((folder / "runs/report/document.json").read_text())["models"]
    assert model["headline"]["mirror_consistency"]["value"] is not None
    assert accepted[0] == 0, accepted[1]
    assert gated[0] == 0, gated[1]
    assert "pass" in gated[1]


def test_a_checkpoint_names_the_plug_in_that_it_needs(folder: Path) -> None:
    train = ["train", "photos", "--model", "two-layers/weighted", "--set", "epochs=1", "--out", "out"]
    trained, checked = call(folder, train, ["check", "@out/final.safetensors"], plugins="mine")
    assert trained[0] == 0, trained[1]
    assert checked[0] == 0, checked[1]
    run = ["run", "@out/final.safetensors", "--protocols", "clean", "--normaliser", "none"]
    checked, ran = call(folder, ["check", "@out/final.safetensors"], run)
    assert (checked[0], ran[0]) == (3, 2)
    assert "--plugin mine" in checked[1]
    assert "--plugin mine" in ran[1]


@pytest.mark.parametrize(
    ("content", "named"),
    [("import no_such_module\n", "no_such_module"), ("x = 1 / 0\n", "ZeroDivisionError"), ("def f(:\n", "SyntaxError")],
)
def test_a_plug_in_that_fails_is_the_users_error(content: str, named: str, folder: Path) -> None:
    (folder / "mine.py").write_text(content)
    ((code, text),) = call(folder, ["--plugin", "mine", "list"])
    assert code == 2
    assert named in text
    assert "mine.py" in text
    assert "Traceback" not in text


def test_a_name_that_is_taken_names_both_modules(folder: Path) -> None:
    text = (folder / "mine.py").read_text().replace('@pooling("weighted")', '@pooling("lift")')
    (folder / "mine.py").write_text(text)
    ((code, shown),) = call(folder, ["--plugin", "mine", "list"])
    assert code == 2
    assert "'lift'" in shown
    assert "robustbench_lift.pooling.lift" in shown


def test_an_absent_plug_in_is_named(tmp_path: Path) -> None:
    absent, file = call(tmp_path, ["--plugin", "absent", "list"], ["--plugin", "no/such/mine.py", "list"])
    assert absent[0] == file[0] == 2
    assert "absent" in absent[1]
    assert "no such file" in file[1]


def test_an_installed_package_is_a_plug_in_by_its_entry_point(folder: Path) -> None:
    information = folder / "mine-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[robustbench_lift.plugins]\nmine = mine\n")
    ((code, text),) = call(folder, ["list", "poolings", "--backbone", "resnet8"])
    assert code == 0, text
    assert "weighted" in text
