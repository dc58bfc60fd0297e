"""A run of many batches keeps memory, descriptors and threads flat."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from robustbench_lift import evaluate

STATUS = Path("/proc/self/status")
BATCHES = 10_000
WARM = 2_000


def network(x: torch.Tensor) -> torch.Tensor:
    return x.mean((2, 3)).repeat(1, 5)


@pytest.mark.slow
@pytest.mark.skipif(not STATUS.exists(), reason="reads Linux's counters")
def test_ten_thousand_batches_leave_nothing_behind(tmp_path: Path) -> None:
    seen: list[tuple[int, int, int]] = []
    count = 0

    def watch(state: object) -> None:
        nonlocal count
        count += 1
        if count % 500 == 0:
            memory = next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith("VmRSS"))
            seen.append((memory, len(list(Path("/proc/self/fd").iterdir())), threading.active_count()))

    run = 0
    while count < BATCHES:  # 16 cells of 240 images a run, one an image
        run += 1
        evaluate(
            network,
            "photos",
            run=tmp_path / str(run),
            protocols=("clean", "corruption"),
            corruptions=("brightness", "contrast", "saturate"),
            limit=240,
            batch_size=1,
            allow_chance=True,
            progress=watch,
        )
    warm, end = seen[WARM // 500 - 1], seen[-1]
    assert end[0] - warm[0] < 20_000, f"resident memory grew from {warm[0]} to {end[0]} kB"
    assert end[1] <= warm[1], "file descriptors stay open"
    assert end[2] <= warm[2], "threads stay alive"
