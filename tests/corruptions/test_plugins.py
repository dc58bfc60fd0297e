"""A corruption and a perturbation of a user's own: one function with a decorator each."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
import torch

import corruptions
from corruptions import CORRUPTIONS, SEQUENCES, CorruptionError, corrupt, corruption, perturb, perturbation
from corruptions.tree import TreeSpec, verify_tree, write_tree


@pytest.fixture
def stripes():
    """Registers for the time of a test."""
    before = dict(CORRUPTIONS), dict(SEQUENCES)

    @corruption("stripes", category="mine", rows=(0.1, 0.2, 0.3, 0.4, 0.5))
    def stripes(images, draws, share):
        result = images.clone()
        result[..., : int(share * images.shape[-1])] = 0
        return result

    @perturbation("curtain", category="mine", rows=2, count=5)
    def curtain(images, draws, step, count):
        for i in range(count):
            frame = images.clone()
            frame[..., : step * i] = 0
            yield frame

    yield stripes
    for registry, names in zip((CORRUPTIONS, SEQUENCES), before, strict=True):
        registry.clear()
        registry.update(names)


def test_it_is_used_by_name_and_enters_no_benchmark(stripes):
    image = np.full((64, 64, 3), 9, np.uint8)
    assert (corrupt(image, "stripes", 5)[:, :32] == 0).all()
    assert (corrupt(image, "stripes", 5)[:, 32:] == 9).all()
    assert "stripes" not in (*corruptions.BENCHMARK, *corruptions.EXTRA)
    frames = perturb(torch.full((2, 3, 32, 32), 9, dtype=torch.uint8), "curtain")
    assert frames.shape == (2, 5, 3, 32, 32)
    assert (frames[:, 3, :, :, :6] == 0).all()
    assert not corruptions.is_noise("curtain")
    assert corruptions.frame_count("curtain", 224) == 5


def test_trees_of_it_are_written(stripes, tmp_path):
    from PIL import Image

    (tmp_path / "val/a").mkdir(parents=True)
    Image.new("RGB", (64, 64), (9, 9, 9)).save(tmp_path / "val/a/1.png")
    spec = TreeSpec(conditions=("stripes",), levels=(1,), size=64)
    assert write_tree(tmp_path / "val", tmp_path / "c", spec, workers=1).written == 1
    assert verify_tree(tmp_path / "c", workers=1).problems == ()


def test_worker_processes_know_it(tmp_path, monkeypatch):
    from PIL import Image

    (tmp_path / "my_stripes.py").write_text(
        "from corruptions import corruption\n\n\n"
        '@corruption("my_stripes", category="mine", rows=(1, 2, 3, 4, 5))\n'
        "def my_stripes(images, draws, level):\n    return images // level\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        import_module("my_stripes")
        (tmp_path / "val/a").mkdir(parents=True)
        Image.new("RGB", (64, 64), (9, 9, 9)).save(tmp_path / "val/a/1.png")
        spec = TreeSpec(conditions=("my_stripes",), levels=(1, 2), size=64)
        assert write_tree(tmp_path / "val", tmp_path / "c", spec, workers=2).written == 2
    finally:
        CORRUPTIONS.pop("my_stripes", None)


def test_a_taken_name_names_both_modules(stripes):
    with pytest.raises(
        CorruptionError, match=r"'fog' is registered twice, by corruptions\.kernels\.fog and by .*test_"
    ):

        @corruption("fog", category="mine", rows=(1, 2, 3, 4, 5))
        def mist(images, draws, strength):
            return images


def test_rows_are_five_and_for_sizes_that_exist():
    with pytest.raises(CorruptionError, match="5 severities, found 2"):
        corruption("x", category="mine", rows=(1, 2))
    with pytest.raises(CorruptionError, match=r"found \[128\]"):
        corruption("x", category="mine", rows={128: (1, 2, 3, 4, 5)})


def test_a_size_without_rows_says_which_there_are(stripes):
    @corruption("late", category="mine", rows={224: (1, 2, 3, 4, 5)})
    def late(images, draws, strength):
        return images

    with pytest.raises(CorruptionError, match=r"no severities for images of 64 pixels .*table=224"):
        corrupt(np.zeros((64, 64, 3), np.uint8), "late", 1)
    assert corrupt(np.zeros((64, 64, 3), np.uint8), "late", 1, table=224).shape == (64, 64, 3)
