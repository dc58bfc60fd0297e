"""A plug-in of one file, as a user would write it: one of everything that can be added from outside."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from corruptions import corruption
from robustbench_lift.data.geometry import CenterCrop
from robustbench_lift.data.kinds import Kind, Views, register_kind
from robustbench_lift.data.memory import MemoryImages
from robustbench_lift.data.spec import DataSpec
from robustbench_lift.networks import backbone
from robustbench_lift.pooling import PoolingLayer, pooling
from robustbench_lift.protocols import Clean, Suite, protocol, register_suite
from robustbench_lift.runs import Cell
from robustbench_lift.scores.numbers import Number, register_number


@pooling("weighted")
class WeightedPool(PoolingLayer):
    """A learned mixture of the maximum and the average, one weight a channel."""

    idea = "Learned mean of maximum and average."

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.weight = nn.Parameter(torch.zeros(channels))

    def pool(self, x: Tensor) -> Tensor:
        share = self.weight.sigmoid()[:, None, None]
        largest = nn.functional.max_pool2d(x, 2, ceil_mode=True)
        return share * largest + (1 - share) * nn.functional.avg_pool2d(x, 2, ceil_mode=True)


@backbone("two-layers", idea="Two convolutions with one pooling between them.", input_size=64)
def two_layers(pools, *, placement, num_classes, input_size):  # type: ignore[no-untyped-def]
    pool = pools.pool(8, input_size)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), pool,
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes),
    )  # fmt: skip


@corruption("stripes", category="mine", rows=(2, 4, 6, 8, 10))
def stripes(images, draws, width):  # type: ignore[no-untyped-def]
    """Every sixteenth column and some beside it turn black."""
    columns = torch.arange(images.shape[-1], device=images.device) % 16 < width
    return images.masked_fill(columns, 0)


register_suite(
    Suite(
        name="striped", title="Striped", protocol="corruption", conditions=("stripes",), severities=(1, 2, 3, 4, 5),
        source="none",
    )
)  # fmt: skip


def open_squares(spec: DataSpec) -> MemoryImages:
    """Squares of four colours."""
    labels = np.arange(24, dtype=np.int64) % 4
    colours = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [180, 180, 40]], np.uint8)
    noise = np.random.default_rng(0).integers(0, 30, (24, 72, 72, 3), dtype=np.uint8)
    pixels = colours[labels][:, None, None, :] + noise
    ids = tuple(f"square-{index:02d}" for index in range(24))
    return MemoryImages(name="squares", ids=ids, labels=labels, class_names=tuple("rgby"), images=pixels)


register_kind(
    Kind(
        name="squares", title="Squares of four colours.", images=open_squares, takes_path=False, storage=False,
        views=lambda spec: Views(geometry=CenterCrop(64), shift=CenterCrop(72), window=64),
        suites={"corruption": "striped", "perturbation": "imagenet-p"},
    )
)  # fmt: skip


@protocol("mirror")
class Mirror(Clean):
    """An image and its mirror image."""

    def cells(self) -> tuple[Cell, ...]:
        return (Cell("mirror", "mirror", 0),)

    def frames(self, cell: Cell) -> int:
        return 2

    def render(self, cell: Cell, batch: Tensor, ids: Sequence[str]) -> Tensor:
        return torch.stack([batch, batch.flip(-1)], dim=1)


register_number(
    Number(
        key="mirror_consistency",
        title="Mirror consistency",
        direction="higher",
        protocol="mirror",
        measure=lambda cell, predictions: predictions.top1[:, 0] == predictions.top1[:, 1],
        about="Share of images that are classified alike in the mirror.",
    )
)
