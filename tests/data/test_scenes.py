"""The embedded scenes: always the same, exact, and of other pixels for testing than for training."""

from __future__ import annotations

import numpy as np
import pytest

from robustbench_lift.data.base import fingerprint
from robustbench_lift.data.kinds import open_images
from robustbench_lift.data.scenes import CLASSES, SIZE, Scenes, inside, scene
from robustbench_lift.errors import UsageError


def test_scenes_are_the_same_everywhere() -> None:
    scenes = Scenes(count=4)
    assert fingerprint(scenes.ids, scenes.labels, scenes.content())[:12] == "31a6b20e4f78"
    assert open_images("scenes").name == "scenes"
    assert open_images("scenes", limit=4).name == "scenes-limit4"
    with pytest.raises(UsageError, match="60 scenes"):
        open_images("scenes", limit=61)


def test_parts_and_seeds_differ() -> None:
    first = scene(0, "test", 0)[0]
    assert not np.array_equal(first, scene(0, "train", 0)[0])
    assert not np.array_equal(first, scene(1, "test", 0)[0])


@pytest.mark.parametrize("shape", range(1, len(CLASSES)))
def test_outlines_have_the_area_of_their_formula(shape: int) -> None:
    radius, angle = 16.0, 0.4
    line = (np.arange(800) + 0.5) / 10 - 40
    area = inside(shape, radius, angle, line[None, :], line[:, None]).sum() / 100
    expected = {
        "disc": np.pi * 0.81 * radius**2,
        "square": 2 * radius**2,
        "triangle": 3 * np.sqrt(3) / 4 * radius**2,
        "ring": np.pi * radius**2 * (1 - 0.55**2),
        "cross": radius**2 * (2 * 1.0 - 0.25),
    }
    assert area == pytest.approx(expected[CLASSES[shape]], rel=0.01)


def test_every_class_is_there_and_maps_fit() -> None:
    scenes = Scenes(count=12)
    pixels = np.bincount(
        np.concatenate([scenes.target(k, (SIZE, SIZE)).ravel() for k in range(12)]), minlength=len(CLASSES)
    )
    assert (pixels > 0).all()
    assert len(pixels) == len(CLASSES)
