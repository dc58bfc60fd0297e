"""What a run will cost: what is counted is what the run does, and images that are kept are read once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from robustbench_lift.evaluation.engine import Engine
from robustbench_lift.evaluation.estimate import Sizes, estimates, sizes_of
from robustbench_lift.evaluation.settings import Settings
from robustbench_lift.protocols.request import Request
from robustbench_lift.weights import LoadedModel


def test_sizes_are_those_of_the_arrays() -> None:
    (protocol,) = Request(protocols=("corruption",), corruptions=("fog",), limit=15).build()
    # 5 cells of 15 images: a label of 8 bytes, five classes of 2, three probabilities of 4
    assert sizes_of(protocol, 75, 2) == Sizes(75, 10, 2 * 75 * (8 + 10 + 3 * 4))


def test_sizes_of_label_maps_count_classes_and_pairs() -> None:
    corruption, shift = Request(data="scenes", protocols=("corruption", "shift"), corruptions=("fog",)).build()
    images, classes = corruption.count(), len(corruption.data.class_names)
    # a block, and counts of three kinds for the whole image and in four bands, all of 4 bytes
    assert sizes_of(corruption, 5 * images, 1) == Sizes(5 * images, 5, 5 * images * (4 + 4 * 5 * classes * 3))
    assert sizes_of(shift, 10 * images, 1) == Sizes(images, 1, images * (4 + 4 * 5 * 4))


def test_images_that_several_protocols_show_are_read_once(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for k in range(6):
        file = tmp_path / "val" / "ab"[k % 2] / f"{k}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (80, 80, 3), dtype=np.uint8)).save(file)
    asked = Request(
        data=f"folder:{tmp_path / 'val'}?resize=72&crop=64",
        protocols=("clean", "corruption"),
        corruptions=("brightness", "contrast"),
        severities=(1, 3, 5),
    )
    model = LoadedModel.of(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)), name="mean")
    protocols = asked.build()
    with torch.inference_mode():
        clean, corruption = estimates(Engine(Settings(device="cpu")), protocols, [model])
        again = list(estimates(Engine(Settings(device="cpu", keep=False)), protocols, [model]))
    assert (clean.cost.frames, corruption.cost.frames) == (6, 6 * 6)
    assert clean.kept is not None
    assert clean.kept >= 6 * 3 * 64 * 64
    assert clean.cost.reading > 0
    assert (corruption.kept, corruption.cost.reading) == (None, 0.0)
    assert all(one.kept is None and one.cost.reading > 0 for one in again)
    assert corruption.seconds(0) > 0
