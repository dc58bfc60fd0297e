"""Two processes and one give the same training; without BatchNorm and dropout there is nothing to excuse."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from robustbench_lift.training import Recipe, distributed, state
from robustbench_lift.training.samples import normalise

Line = dict[str, Any]

PROGRAM = """
import importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("tiny", sys.argv[2])
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)
from robustbench_lift.training import ArraySource, Network, Recipe, TrainingSettings, train
from robustbench_lift.data.memory import array_images

recipe = Recipe(name="tiny", source="a test", data="arrays", size=8, epochs=3, batch_size=9, learning_rate=0.05,
                weight_decay=1e-3, schedule="cosine", augmentation="crop-flip", padding=1, drop_last=False)
source = ArraySource(*tiny.make_arrays(50, 1), class_names=tiny.CLASSES, recipe=recipe, name="tiny")
images = array_images(*tiny.make_arrays(23, 2), class_names=tiny.CLASSES, name="tiny-test")
settings = TrainingSettings(device="cpu", micro_batch=3)
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


def start(program: str, out: Path, *, ranks: int, words: str = "") -> list[tuple[int, str]]:
    """Run a program in processes as torchrun starts them; exit code and standard error of each."""
    helper = str(Path(__file__).with_name("conftest.py"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program, str(out), helper, words],
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
        said = [process.communicate(timeout=400)[1] for process in started]
        return [(process.returncode, text) for process, text in zip(started, said, strict=True)]
    finally:
        for process in started:
            process.kill()


def by_one_and_by_two(program: str, out: Path, *, atol: float) -> list[tuple[Line, Line]]:
    """Train by one process and by two: the weights are equal, and these are the lines of both logs."""
    for name, ranks in (("one", 1), ("two", 2)):
        for code, complaint in start(program, out / name, ranks=ranks):
            assert code == 0, complaint
    one, two = (load_file(out / name / state.FINAL) for name in ("one", "two"))
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=atol)
    logs = [(out / name / state.LOG).read_text().splitlines() for name in ("one", "two")]
    return [(json.loads(a), json.loads(b)) for a, b in zip(*logs, strict=True)]


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    """50 images in batches of 9 (the last of 5) and 23 test images divide evenly by nothing here."""
    for a, b in by_one_and_by_two(PROGRAM, tmp_path, atol=1e-6):
        assert (a["train_images"], a["test_images"]) == (b["train_images"], b["test_images"]) == (50, 23)
        assert a["test_error"] == pytest.approx(b["test_error"], abs=1e-12)
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-5)
        assert a["auxiliary_loss"] == pytest.approx(b["auxiliary_loss"], rel=1e-5)


NORM = """
import dataclasses, errno
from pathlib import Path as PathType
from robustbench_lift.errors import RobustbenchError

recipe = dataclasses.replace(recipe, batch_size=10, drop_last=True, ema_decay=0.5)
words = sys.argv[3].split()
if "full" in words and int(__import__("os").environ["RANK"]) == 0:
    original = PathType.open
    def full(self, mode="r", *args, **kwargs):
        if self.name.startswith(".state.pt") and "x" in mode:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(self, mode, *args, **kwargs)
    PathType.open = full
if "other" in words:
    recipe = dataclasses.replace(recipe, learning_rate=0.01)
if "wild" in words:
    recipe = dataclasses.replace(recipe, learning_rate=1e6, schedule="constant")
class Broken:
    def __getattr__(self, name): return getattr(source, name)
    def __len__(self): return len(source)
    def batch(self, indices, *rest):
        if int(__import__("os").environ["RANK"]) == 1:
            raise RobustbenchError("an image is broken")
        return source.batch(indices, *rest)
try:
    train(Network("norm", "lift"), recipe, Broken() if "broken" in words else source, images, out=Path(sys.argv[1]),
          settings=TrainingSettings(device="cpu"), builder=tiny.tiny_builder)
except RobustbenchError as error:
    print(type(error).__name__, error, file=sys.stderr)
    sys.exit(error.exit_code)
"""
ENDS = PROGRAM[: PROGRAM.index("settings = ")] + NORM


MAPS = """
import sys
from pathlib import Path
from torch import nn
from robustbench_lift.data.scenes import Scenes
from robustbench_lift.networks import backbone
from robustbench_lift.training import RECIPES, Network, TrainingSettings, override, train
from robustbench_lift.training.maps import MapSource

@backbone("plain-maps", idea="Without BatchNorm, whose statistics differ between processes.", input_size=72,
          task="segmentation")
def plain(pools, *, placement, num_classes, input_size):
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, num_classes, 3, padding=1))

recipe = override(RECIPES["scenes"], {"epochs": 2, "batch_size": 6, "class_weights": "median-frequency"})
train(Network("plain-maps", "max"), recipe, MapSource(Scenes("train", 13), recipe=recipe), Scenes(count=5),
      out=Path(sys.argv[1]), settings=TrainingSettings(device="cpu", micro_batch=2))
"""


@pytest.mark.slow
def test_two_processes_equal_one_where_every_pixel_has_a_class(tmp_path: Path) -> None:
    """13 images in batches of 6, 5 test images, weights of classes: sums over pixels, not means of means."""
    for a, b in by_one_and_by_two(MAPS, tmp_path, atol=1e-5):
        assert (a["train_images"], a["test_images"]) == (b["train_images"], b["test_images"])
        assert a["test_error"] == pytest.approx(b["test_error"], abs=1e-4)
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-4)


@pytest.mark.slow
def test_what_is_tested_is_what_is_handed_over(tmp_path: Path, tiny_build, tiny_arrays) -> None:
    """BatchNorm's statistics differ between processes, and so do those in the averaged weights."""
    assert [code for code, _ in start(ENDS, tmp_path / "out", ranks=2)] == [0, 0]
    line = json.loads((tmp_path / "out" / state.LOG).read_text().splitlines()[-1])
    module = tiny_build("norm", "lift", num_classes=3)
    module.load_state_dict(load_file(tmp_path / "out" / state.FINAL))
    pixels, labels = (torch.from_numpy(array) for array in tiny_arrays(23, 2))
    recipe = Recipe(
        name="tiny",
        source="a test",
        data="arrays",
        size=8,
        epochs=1,
        batch_size=1,
        learning_rate=1.0,
        weight_decay=0.0,
        schedule="cosine",
        augmentation="none",
    )
    with torch.no_grad():
        logits = module.eval()(normalise(pixels.permute(0, 3, 1, 2), recipe))
    loss = torch.nn.functional.cross_entropy(logits, labels)
    assert line["test_loss"] == pytest.approx(float(loss), rel=1e-5)


@pytest.mark.slow
def test_all_processes_end_when_one_fails(tmp_path: Path) -> None:
    """The first tells; the others end with the same code and without a traceback."""
    for words, code, message in (
        ("full", 2, "StorageError cannot write"),
        ("wild", 3, "DivergedError the training diverged: the loss was"),
    ):
        (first, said), (second, _) = ends = start(ENDS, tmp_path / words, ranks=2, words=words)
        assert (first, second) == (code, code), ends
        assert message in said
        assert "Traceback" not in "".join(text for _, text in ends)
    (first, said), (second, complaint) = start(ENDS, tmp_path / "broken", ranks=2, words="broken")
    assert (first, second) == (3, 2)
    assert "OtherProcessError another process of this training has ended; its message says why" in said
    assert "RobustbenchError an image is broken" in complaint
    assert [code for code, _ in start(ENDS, tmp_path / "full", ranks=2)] == [0, 0]
    (first, said), (second, other) = start(ENDS, tmp_path / "full", ranks=2, words="other")
    assert (first, second) == (3, 3)
    assert "IncomparableError" in said
    assert "OtherProcessError" in other
