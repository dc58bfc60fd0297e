"""`from robustbench_lift import ...`: every public name is what it is called, at every access."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import robustbench_lift

PUBLIC = ("LoadedModel", "Policy", "Request", "Run", "Settings", "compare", "evaluate", "gate", "load_model")


def test_a_public_name_is_the_same_thing_at_every_access() -> None:
    code = (
        "import robustbench_lift as r\n"
        "for name in set(r.__all__) - {'__version__'}:\n"
        "    first = getattr(r, name)\n"
        "    exec(f'from robustbench_lift import {name} as again')\n"
        "    assert callable(first) and first is again is getattr(r, name), name\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_public_names_are_there() -> None:
    assert set(PUBLIC) <= set(robustbench_lift.__all__)
    folder = Path(robustbench_lift.__file__).parent
    modules = {path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert not modules & set(robustbench_lift.__all__), "a submodule would take the place of a public name"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="evaluat"):
        robustbench_lift.evaluat  # noqa: B018


def test_the_packages_are_reached_through_ours() -> None:
    import corruptions
    import metrics
    import robustbench_lift.metrics as through

    assert through is metrics
    assert robustbench_lift.corruptions is corruptions


def run_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)


CLEAN = ("run", "photos/resnet-lift", "--protocols", "clean", "--normaliser", "none", "--limit", "15", "--no-report")


@pytest.mark.parametrize("name", ["metrics", "corruptions"])
def test_a_module_of_the_users_with_our_name_breaks_nothing_and_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text("raise RuntimeError('imported')\n")
    done = run_in(tmp_path, "-m", "robustbench_lift", *CLEAN)
    assert done.returncode == 0, done.stderr
    assert f"{name}.py" in done.stderr


def test_a_package_folder_of_checkpoints_breaks_nothing(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "__init__.py").write_text("")
    done = run_in(tmp_path, "-m", "robustbench_lift", "list", "checkpoints")
    assert done.returncode == 0, done.stderr
    assert "photos/resnet-lift" in done.stdout


def test_a_module_that_is_imported_before_ours_is_a_clash_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.py").write_text("mine = 1\n")
    done = run_in(tmp_path, "-c", "import metrics, robustbench_lift")
    assert done.returncode == 1
    assert "NameClashError" in done.stderr
    assert "metrics.py" in done.stderr


def test_hiding_a_module_of_the_users_warns(tmp_path: Path) -> None:
    (tmp_path / "metrics.py").write_text("mine = 1\n")
    done = run_in(tmp_path, "-c", "import robustbench_lift, metrics; print(metrics.ALEXNET.name)")
    assert done.returncode == 0, done.stderr
    assert "metrics.py" in done.stderr
    assert "AlexNet" in done.stdout


NETWORK = """
import torch

def make(num_classes=15):
    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, num_classes))
"""


@pytest.mark.parametrize("entry", ["module", "script", "console"])
def test_a_factory_in_the_working_folder_is_found_by_every_entry(entry: str, tmp_path: Path) -> None:
    (tmp_path / "mynet.py").write_text(NETWORK)
    root = Path(robustbench_lift.__file__).parents[1]
    start = {
        "module": ("-m", "robustbench_lift"),
        "script": (str(root / "run_benchmark.py"),),
        "console": ("-c", "from robustbench_lift.cli import main; main()"),
    }[entry]
    spec = "mynet:make?num_classes=15@random"
    done = run_in(tmp_path, *start, "run", spec, *CLEAN[2:], "--allow-chance")
    assert done.returncode == 0, done.stderr


def test_six_lines_of_python(tmp_path: Path) -> None:
    import torch

    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 15))
    run = robustbench_lift.evaluate(
        network, "photos", run=tmp_path / "mine", protocols=("clean",), limit=15, allow_chance=True
    )
    assert run.scores()["clean_error"] == pytest.approx(1 - run.read(run.expected[0]).correct.mean())
    frame = robustbench_lift.Run.open(tmp_path / "mine").frame()
    assert list(frame.columns) == ["model", "protocol", "condition", "severity", "number", "value"]
    other = robustbench_lift.evaluate(
        "photos/resnet-max", "photos", run=tmp_path / "max", protocols=("clean",), limit=15, normaliser=None
    )
    comparison = robustbench_lift.compare(run, other)
    assert "clean_error" in set(comparison.frame()["number"])
