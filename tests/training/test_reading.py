"""Workers that read images: their errors arrive without tracebacks, and Ctrl-C does not reach them."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from robustbench_lift.data.folders import open_folder
from robustbench_lift.errors import DataError
from robustbench_lift.training import ImageSource, Recipe
from robustbench_lift.training.samples import TestImages

CPU = torch.device("cpu")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two classes of eight images."""
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "tree" / name).mkdir(parents=True)
        for k in range(8):
            pixels = generator.integers(0, 256, (70, 80, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "tree" / name / f"{k}.jpg")
    return tmp_path / "tree"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_told_in_one_line(tree: Path, recipe: Recipe, workers: int) -> None:
    broken = tree / "dog" / "3.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    folders = dataclasses.replace(recipe, augmentation="resized-crop-flip", data="folders", resize=8)
    images = open_folder(tree)
    source = ImageSource(images, recipe=folders, workers=workers)
    tests = TestImages(images, recipe=folders, workers=workers)
    for batches in (source.stream([torch.arange(16)], 0, 0, CPU), tests.batches(CPU)):
        with pytest.raises(DataError) as caught:
            list(batches)
        assert str(broken) in str(caught.value)
        assert "Traceback" not in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="process groups of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_stops_with_a_state(tree: Path, tmp_path: Path, number: signal.Signals) -> None:
    """A terminal sends Ctrl-C, and torchrun SIGTERM, to the readers too."""
    root = Path(__file__).resolve().parents[2]
    call = [
        *(sys.executable, "-W", "error", str(root / "run_benchmark.py"), "train", "imagenette-64"),
        *("--model", "resnet8/max", "--data", str(tree), "--hold-out", "0.25", "--workers", "2", "--device", "cpu"),
        *("--set", "epochs=500", "--set", "batch_size=4", "--out", str(tmp_path / "out")),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        call, cwd=tmp_path, env=environment, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        deadline = time.monotonic() + 120
        while not (tmp_path / "out" / "state.pt").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, number)
        said = process.communicate(timeout=120)[0].decode()
    assert process.returncode == 130, said
    assert "the same command goes on from" in said
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_readers_end_when_the_training_is_killed_while_they_start(tree: Path, tmp_path: Path) -> None:
    mark = tmp_path / "readers"
    program = (
        "import dataclasses, sys, torch\n"
        "from pathlib import Path\n"
        "from robustbench_lift.training import RECIPES, ImageSource\n"
        "from robustbench_lift.data.folders import open_folder\n"
        "source = ImageSource(open_folder(Path(sys.argv[1])), recipe=RECIPES['imagenette-64'], workers=2)\n"
        "if __name__ == '__main__':\n"
        "    stream = source.stream([torch.arange(4)] * 9, 0, 0, torch.device('cpu'))\n"
        "    import multiprocessing, os, threading, time\n"
        "    def note():\n"
        "        while len(multiprocessing.active_children()) < 2: time.sleep(0.001)\n"
        "        names = ' '.join(str(p.pid) for p in multiprocessing.active_children())\n"
        f"        Path({str(mark)!r}).write_text(names)\n"
        "        os.kill(os.getpid(), 9)\n"
        "    threading.Thread(target=note).start()\n"
        "    next(stream)\n"
    )
    (tmp_path / "program.py").write_text(program)
    call = [sys.executable, str(tmp_path / "program.py"), str(tree)]
    # no pipes: readers that live on would keep them open
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    assert subprocess.run(call, check=False, timeout=120, **quiet).returncode == -9
    readers = [int(pid) for pid in mark.read_text().split()]
    assert len(readers) == 2
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in readers) and time.monotonic() < deadline:
        time.sleep(0.2)
    left = [pid for pid in readers if Path(f"/proc/{pid}").exists()]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left
