"""A machine on which OpenCV cannot be imported gets one sentence with the remedy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("stand_in", "found"),
    [
        ("raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')", "libGL.so.1"),
        ("raise ModuleNotFoundError(\"No module named 'cv2'\", name='cv2')", "No module named 'cv2'"),
    ],
)
def test_the_remedy_is_said_without_a_traceback(tmp_path: Path, stand_in: str, found: str) -> None:
    library = tmp_path / "library"
    library.mkdir()
    (library / "cv2.py").write_text(stand_in + "\n")
    command = ("run", "photos/resnet-lift", "--protocols", "corruption", "--limit", "15", "--no-report")
    done = subprocess.run(
        [sys.executable, "-c", "from robustbench_lift.cli import main; main()", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{library}{os.pathsep}{ROOT}", "PYTHONSAFEPATH": "1", "COLUMNS": "400"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert found in done.stderr
    assert "libgl1" in done.stderr
    assert "opencv-python-headless" in done.stderr
    assert "Traceback" not in done.stderr
    assert "bug" not in done.stderr
