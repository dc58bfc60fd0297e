"""A task that trains in milliseconds: 8-pixel images whose mean colour says the class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from robustbench_lift.data.memory import MemoryImages, array_images
from robustbench_lift.pooling import LiftDownPool
from robustbench_lift.training import ArraySource, Network, Recipe, TrainingSettings

CLASSES = ("red", "green", "blue")


def make_arrays(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise images [count, 8, 8, 3] with one channel brighter, and their labels."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, count)
    images = generator.integers(0, 200, (count, 8, 8, 3), dtype=np.uint8)
    images[np.arange(count), :, :, labels] += 55
    return images, labels


def tiny_builder(
    arch: str, pooling: str, *, num_classes: int, placement: str | None = None, options: object = None
) -> nn.Module:
    """`norm`: BatchNorm and dropout, which remember; `plain`: neither, so that a batch may be cut in pieces."""
    memory: list[nn.Module] = [nn.BatchNorm2d(6), nn.Dropout(0.2)] if arch == "norm" else []
    pool = LiftDownPool(6, constraint="mse") if pooling == "lift" else nn.MaxPool2d(2)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), *memory, nn.ReLU(), pool, nn.Flatten(), nn.Linear(6 * 16, num_classes)
    )


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(
        name="tiny",
        source="a test",
        data="arrays",
        size=8,
        epochs=3,
        batch_size=10,
        learning_rate=0.05,
        weight_decay=1e-3,
        schedule="cosine",
        augmentation="crop-flip",
        padding=1,
    )


@pytest.fixture
def source(recipe: Recipe) -> ArraySource:
    images, labels = make_arrays(50, 1)
    return ArraySource(images, labels, class_names=CLASSES, recipe=recipe, name="tiny")


@pytest.fixture
def images() -> MemoryImages:
    return array_images(*make_arrays(23, 2), class_names=CLASSES, name="tiny-test")


@pytest.fixture
def network() -> Network:
    return Network("norm", "lift")


@pytest.fixture
def cpu() -> TrainingSettings:
    return TrainingSettings(device="cpu")


@pytest.fixture
def weights_of():
    """The tensors of a finished training."""
    from safetensors.torch import load_file

    def read(folder: Path, name: str = "final.safetensors") -> dict[str, torch.Tensor]:
        return load_file(folder / name)

    return read


@pytest.fixture
def tiny_build():
    return tiny_builder


@pytest.fixture
def tiny_arrays():
    return make_arrays
