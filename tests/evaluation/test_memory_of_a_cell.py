"""What a long cell needs in memory is what it stores: some hundred bytes an image."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import resource, sys
import numpy as np, torch
from robustbench_lift import evaluate
from robustbench_lift.data.geometry import CenterCrop
from robustbench_lift.protocols.clean import Clean

class Tiny:
    name, class_names = "tiny", tuple("abcdefghij")
    def __init__(self, n):
        self.ids, self.labels = tuple(f"{i:07d}" for i in range(n)), np.arange(n) % 10
    def read(self, index):
        return np.full((8, 8, 3), index % 256, np.uint8)

peaks = []
evaluate(
    lambda x: x[:, :, 0, 0] @ torch.arange(30.0).view(3, 10), Clean(source=Tiny(20_000), geometry=CenterCrop(8)),
    run=sys.argv[1], batch_size=16, allow_chance=True,
    progress=lambda state: peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss),
)
print(peaks[len(peaks) // 10], peaks[-1])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts in kilobytes")
def test_memory_grows_by_what_is_stored(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OMP_NUM_THREADS": "1"}
    call = [sys.executable, "-c", PROGRAM, str(tmp_path / "run")]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=True)
    early, late = map(int, done.stdout.split()[-2:])
    assert (late - early) * 1024 / 18_000 < 800  # bytes an image; batches that are kept would be 3,000
