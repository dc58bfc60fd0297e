"""A machine on which OpenCV cannot be imported gets one sentence with the remedy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


COMMAND = (sys.executable, "-c", "from robustbench_lift.cli import main; main()")
MISSING = "raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')"


def without_opencv(folder: Path, *arguments: str, stand_in: str = MISSING) -> subprocess.CompletedProcess[str]:
    """Run a command where OpenCV cannot be imported."""
    library = folder / "library"
    library.mkdir(exist_ok=True)
    (library / "cv2.py").write_text(stand_in + "\n")
    path = {"PYTHONPATH": f"{library}{os.pathsep}{ROOT}", "PYTHONSAFEPATH": "1", "COLUMNS": "400"}
    return subprocess.run(
        [*COMMAND, *arguments], cwd=folder, env=os.environ | path, capture_output=True, text=True, check=False
    )


ONE_RUN = ("run", "photos/resnet-lift", "--normaliser", "none", "--limit", "15", "--no-report", "--protocols")
WRITING = "corrupt images out --conditions brightness --levels 1 --size 32"


@pytest.mark.parametrize(
    ("arguments", "stand_in", "found"),
    [
        ((*ONE_RUN, "corruption"), MISSING, "libGL.so.1"),
        (
            (*ONE_RUN, "perturbation"),
            "raise ModuleNotFoundError(\"No module named 'cv2'\", name='cv2')",
            "No module named 'cv2'",
        ),
        (("plan", "photos/resnet-lift", "--protocols", "clean,corruption"), MISSING, "libGL.so.1"),
        ((*WRITING.split(), "--workers", "1"), MISSING, "libGL.so.1"),
        ((*WRITING.split(), "--workers", "2"), MISSING, "libGL.so.1"),
    ],
)
def test_the_remedy_is_said_without_a_traceback(
    tmp_path: Path, arguments: tuple[str, ...], stand_in: str, found: str
) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (40, 40), "red").save(tmp_path / "images" / "one.png")
    done = without_opencv(tmp_path, *arguments, stand_in=stand_in)
    assert done.returncode == 2, done.stderr
    assert found in done.stderr
    assert "libgl1" in done.stderr
    assert "opencv-python-headless" in done.stderr
    assert "Traceback" not in done.stderr
    assert "bug" not in done.stderr
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("list",),
        ("list", "corruptions"),
        ("list", "suites"),
        ("paper",),
        ("check", "photos", "photos/resnet-lift"),
        (*ONE_RUN, "clean,shift", "--draws", "1"),
    ],
)
def test_what_corrupts_no_image_needs_no_opencv(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = without_opencv(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
