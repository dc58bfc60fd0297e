"""SIGKILL at any moment: the training that is started again ends with the weights it would have had."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from robustbench_lift.training import state

PROGRAM = """
import importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("tiny", sys.argv[2])
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)
from robustbench_lift.training import ArraySource, Network, Recipe, TrainingSettings, train
from robustbench_lift.data.memory import array_images

recipe = Recipe(name="tiny", source="a test", data="arrays", size=8, epochs=30, batch_size=10, learning_rate=0.05,
                weight_decay=1e-3, schedule="cosine", augmentation="crop-flip", padding=1)
source = ArraySource(*tiny.make_arrays(50, 1), class_names=tiny.CLASSES, recipe=recipe, name="tiny")
images = array_images(*tiny.make_arrays(23, 2), class_names=tiny.CLASSES, name="tiny-test")
print("ready", flush=True)
train(Network("norm", "lift"), recipe, source, images, out=Path(sys.argv[1]), settings=TrainingSettings(device="cpu"),
      builder=tiny.tiny_builder)
"""


def start(out: Path) -> subprocess.Popen[str]:
    helper = str(Path(__file__).with_name("conftest.py"))
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(out), helper],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def finish(out: Path) -> None:
    with start(out) as process:
        assert process.wait(120) == 0


@pytest.mark.slow
def test_killed_processes_reach_the_same_weights(tmp_path: Path) -> None:
    finish(tmp_path / "whole")
    moments = random.Random(0)
    kills = 0
    for _ in range(8):
        with start(tmp_path / "parts") as process:
            time.sleep(moments.uniform(0.2, 1.2))
            process.kill()
            kills += process.wait(60) == -9
        if (tmp_path / "parts" / state.RESULT).exists():
            break
    assert kills >= 3
    finish(tmp_path / "parts")
    whole, parts = (load_file(tmp_path / name / state.FINAL) for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert (tmp_path / "parts" / state.LOG).read_text().count("\n") == 30
