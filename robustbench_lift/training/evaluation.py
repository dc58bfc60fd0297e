"""Clean error on an image set, every image once: no padded samples, whatever the batch size and number of processes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing, nullcontext
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from robustbench_lift.data.base import ImageSet
from robustbench_lift.errors import DataError
from robustbench_lift.training import distributed
from robustbench_lift.training.images import fit
from robustbench_lift.training.reading import batches_in, make_loader
from robustbench_lift.training.recipe import Recipe

KEEP_BYTES = 1 << 30
"""Test images that take less than this stay in memory after they were read once."""


class Measured(NamedTuple):
    """Error and loss over a whole image set."""

    error: float
    """Fraction of images whose top-1 class is wrong."""
    loss: float
    """Mean cross-entropy, nats."""
    images: int
    """How many images were counted."""


def normalise(images: Tensor, recipe: Recipe, *, channels_last: bool = False) -> Tensor:
    """uint8 [n, 3, H, W] to float32 (x / 255 - mean) / std.

    >>> from robustbench_lift.training.recipes import RECIPES
    >>> float(normalise(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8), RECIPES["imagenet"])[0, 0])
    2.2489082...
    """
    scaled = images.float() / 255
    scaled = scaled.sub_(_channels(recipe.mean, images.device)).div_(_channels(recipe.std, images.device))
    return scaled.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


@functools.cache
def _channels(values: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device)[:, None, None]


class _Fitted(Dataset[tuple[Tensor, int]]):
    def __init__(self, images: ImageSet, recipe: Recipe) -> None:
        self.images, self.recipe = images, recipe

    def __len__(self) -> int:
        return len(self.images.ids)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = fit(self.images.read(index), size=self.recipe.size, resize=self.recipe.resize)
        return torch.from_numpy(image.transpose(2, 0, 1).copy()), int(self.images.labels[index])


class TestImages:
    """An image set as batches of one size; small sets stay in memory."""

    __test__ = False  # not a test class, whatever its name says to pytest

    def __init__(self, images: ImageSet, *, recipe: Recipe, workers: int = 0, batch_size: int = 250) -> None:
        """Take any image set whose images can be resized and cropped to the recipe's size."""
        if len(images.ids) == 0:
            raise DataError(f"{images.name} holds no test images.")
        rank, ranks = distributed.world()
        self._keep = len(images.ids) // ranks * 3 * recipe.size**2 <= KEEP_BYTES
        self._loader = make_loader(
            torch.utils.data.Subset(_Fitted(images, recipe), range(rank, len(images.ids), ranks)),
            workers=workers,
            batch_size=batch_size,
            persistent_workers=workers > 0 and not self._keep,
        )
        self._kept: list[tuple[Tensor, Tensor]] = []

    def batches(self, device: torch.device) -> Generator[tuple[Tensor, Tensor]]:
        """This process's share: uint8 [n, 3, H, W] and labels int64 [n], on the device."""
        if self._kept:
            yield from self._kept
            return
        kept = []
        for images, labels in batches_in(self._loader):
            pair = images.to(device), labels.to(device)
            if self._keep:
                kept.append(pair)
            yield pair
        self._kept = kept


def measure(
    module: nn.Module,
    images: TestImages,
    *,
    recipe: Recipe,
    device: torch.device,
    autocast: AbstractContextManager[object] | None = None,
    channels_last: bool = False,
    stop: Callable[[], bool] | None = None,
) -> Measured | None:
    """Error and loss of a network in eval mode; it goes back to the mode it was in.

    Args:
        module: the network.
        images: what it is tested on.
        recipe: mean and std of its input.
        device: where it is.
        autocast: context of the forward pass.
        channels_last: NHWC input.
        stop: asked after each batch; True ends the test without a result.

    Returns:
        The same numbers in every process; None when it was stopped.
    """
    was_training = module.training
    module.eval()
    sums = torch.zeros(3, dtype=torch.float64, device=device)
    try:
        with torch.no_grad(), autocast or nullcontext(), closing(images.batches(device)) as batches:
            for batch, labels in batches:
                logits = module(normalise(batch, recipe, channels_last=channels_last)).float()
                loss = functional.cross_entropy(logits, labels, reduction="sum")
                correct = (logits.argmax(1) == labels).sum()
                count = torch.tensor(len(labels), device=device)
                sums += torch.stack([loss.double(), correct.double(), count.double()])
                if stop is not None and stop():
                    return None
    finally:
        module.train(was_training)
    loss_sum, correct_sum, count = distributed.total(sums).tolist()
    return Measured(1 - correct_sum / count, loss_sum / count, int(np.rint(count)))
