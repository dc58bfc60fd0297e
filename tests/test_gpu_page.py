"""The page about a GPU runs without one, in small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_the_whole_page_runs_on_a_cpu():
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--device", "cpu", "--quick"]
    page = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert page.returncode == 0, page.stderr
    for part in ("network forward", "corruptions", "ImageNet-P", "evaluation", "lift layer", "training step", "bounds"):
        assert part in page.stdout
