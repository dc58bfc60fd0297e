"""An installed wheel works outside the checkout, package data included."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MEGABYTE = 2**20


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
    )
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def run(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the unpacked wheel first on its path, far from the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def test_the_wheel_carries_its_data_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "checkpoints/index.toml" in names
    assert any(name.endswith(".safetensors") for name in names)
    assert {name.partition("/")[0].partition("-")[0] for name in names} <= {
        "robustbench_lift",
        "corruptions",
        "metrics",
        "checkpoints",
    }
    assert not [name for name in names if "/test" in f"/{name}" or name.endswith((".jpg", ".JPEG"))]
    assert "robustbench_lift/data/imagenet_wnids.tsv" in names
    assert {Path(name).suffix for name in names if "report/templates/" in name} >= {".html", ".css", ".js"}


def test_the_image_is_built_from_all_that_the_wheel_is_built_from(wheel: Path, tmp_path: Path) -> None:
    first, *lines = [one for one in (ROOT / ".dockerignore").read_text().splitlines() if not one.startswith("#")]
    assert first == "*"
    for name in [one.removeprefix("!") for one in lines if one.startswith("!")]:
        there = ROOT / name
        if there.is_dir():
            shutil.copytree(there, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(there, tmp_path)
    build = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(tmp_path)]
    subprocess.run([sys.executable, *build], check=True, capture_output=True)
    (made,) = (tmp_path / "dist").glob("*.whl")
    assert set(zipfile.ZipFile(made).namelist()) == set(zipfile.ZipFile(wheel).namelist())


def test_shipped_weights_are_small(wheel: Path) -> None:
    weights = [info for info in zipfile.ZipFile(wheel).infolist() if info.filename.endswith(".safetensors")]
    assert sum(info.file_size for info in weights if "photos" in info.filename) < 10 * MEGABYTE
    assert sum(info.file_size for info in weights) < 40 * MEGABYTE


def test_an_installed_wheel_evaluates_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    code = "import robustbench_lift, corruptions, metrics, checkpoints; print(robustbench_lift.__file__)"
    where = run(installed, tmp_path, "-c", code)
    assert where.stdout.startswith(str(installed)), where.stderr
    done = run(
        installed,
        tmp_path,
        "-c",
        "from robustbench_lift.cli import main; main()",
        *("run", "photos/resnet-lift", "--protocols", "clean", "--normaliser", "none", "--no-report", "--limit", "15"),
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "photos" / "resnet-lift" / "cells" / "clean" / "clean" / "0.npz").exists()
