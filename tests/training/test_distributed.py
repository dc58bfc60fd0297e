"""Two processes and one give the same training; without BatchNorm and dropout there is nothing to excuse."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from robustbench_lift.training import distributed, state

PROGRAM = """
import importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("tiny", sys.argv[2])
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)
from robustbench_lift.training import ArraySource, Network, Recipe, Settings, train
from robustbench_lift.training.sets import array_images

recipe = Recipe(name="tiny", source="a test", data="arrays", size=8, epochs=3, batch_size=9, learning_rate=0.05,
                weight_decay=1e-3, schedule="cosine", augmentation="crop-flip", padding=1, drop_last=False)
source = ArraySource(*tiny.make_arrays(50, 1), class_names=tiny.CLASSES, recipe=recipe, name="tiny")
images = array_images(*tiny.make_arrays(23, 2), class_names=tiny.CLASSES, name="tiny-test")
settings = Settings(device="cpu", micro_batch=3)
count = 0
def stop():
    global count
    count += 1
    return count == 8
for _ in range(2):  # stopped once, in the second epoch; the next call goes on
    train(Network("plain", "lift"), recipe, source, images, out=Path(sys.argv[1]), settings=settings,
          builder=tiny.tiny_builder, stop=stop)
"""


def test_one_process_needs_no_group() -> None:
    assert distributed.world() == (0, 1)
    distributed.join(torch.device("cpu"))
    assert not torch.distributed.is_initialized()
    assert distributed.total(torch.tensor(3.0)) == 3


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    """50 images in batches of 9 (the last of 5) and 23 test images divide evenly by nothing here."""
    helper = str(Path(__file__).with_name("conftest.py"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, ranks in (("one", 1), ("two", 2)):
        started = [
            subprocess.Popen(
                [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path / name), helper],
                env={
                    **os.environ,
                    "WORLD_SIZE": str(ranks),
                    "RANK": str(rank),
                    "LOCAL_RANK": str(rank),
                    "MASTER_ADDR": "127.0.0.1",
                    "MASTER_PORT": str(port),
                    "OMP_NUM_THREADS": "1",
                },
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(ranks)
        ]
        try:
            for process in started:
                _, complaint = process.communicate(timeout=120)
                assert process.returncode == 0, complaint
        finally:
            for process in started:
                process.kill()
    one, two = (load_file(tmp_path / name / state.FINAL) for name in ("one", "two"))
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-6)
    lines = [
        [json.loads(line) for line in (tmp_path / name / state.LOG).read_text().splitlines()] for name in ("one", "two")
    ]
    for a, b in zip(*lines, strict=True):
        assert (a["train_images"], a["test_images"]) == (b["train_images"], b["test_images"]) == (50, 23)
        assert a["test_error"] == pytest.approx(b["test_error"], abs=1e-12)
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-5)
        assert a["auxiliary_loss"] == pytest.approx(b["auxiliary_loss"], rel=1e-5)
