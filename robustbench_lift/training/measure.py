"""The test after an epoch: error and loss of a network over a whole image set."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from robustbench_lift.device import autocast
from robustbench_lift.training import distributed
from robustbench_lift.training.maps import MapTestImages, map_counts, map_error, map_loss
from robustbench_lift.training.recipe import Recipe
from robustbench_lift.training.samples import TestImages, normalise


class Measured(NamedTuple):
    """Error and loss over a whole image set."""

    error: float
    """Fraction of images whose top-1 class is wrong; 1 - mIoU where every pixel has a class."""
    loss: float
    """Mean cross-entropy, nats."""
    images: int
    """How many images were counted."""


def measure(
    module: nn.Module,
    images: TestImages | MapTestImages,
    *,
    recipe: Recipe,
    device: torch.device,
    precision: str = "fp32",
    channels_last: bool = False,
    stop: Callable[[], bool] | None = None,
) -> Measured | None:
    """Error and loss of a network in eval mode, every image once; it goes back to the mode it was in.

    Returns:
        Sums over all processes: every image counts once, however they are batched and divided. None when `stop`, asked
        after each batch, ended it.
    """
    was_training = module.training
    module.eval()
    sums = torch.zeros(3, dtype=torch.float64, device=device)
    counts: Tensor | None = None
    try:
        with torch.no_grad(), autocast(device, precision), contextlib.closing(images.batches(device)) as batches:
            for batch, labels in batches:
                logits = module(normalise(batch, recipe, channels_last=channels_last)).float()
                if labels.dim() == 3:
                    found = map_counts(logits, labels)
                    counts = found if counts is None else counts + found
                    if logits.shape[2:] != labels.shape[1:]:
                        logits = functional.interpolate(logits, labels.shape[1:], mode="bilinear")
                    loss = map_loss(logits, labels, weights=None).sum()
                    correct = torch.zeros((), device=device)
                else:
                    loss = functional.cross_entropy(logits, labels, reduction="sum")
                    correct = (logits.argmax(1) == labels).sum()
                count = torch.tensor(len(labels), device=device)
                sums += torch.stack([loss.double(), correct.double(), count.double()])
                if stop is not None and stop():
                    return None
    finally:
        module.train(was_training)
    loss_sum, correct_sum, count_sum = distributed.total(sums).tolist()
    if counts is not None:
        return Measured(map_error(distributed.total(counts)), loss_sum / count_sum, round(count_sum))
    return Measured(1 - correct_sum / count_sum, loss_sum / count_sum, round(count_sum))
