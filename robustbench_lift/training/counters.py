"""Sums over the images of an epoch, kept where the network is: a step never waits for the host to read them."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from robustbench_lift.training import distributed


class Counted(NamedTuple):
    """Sums over all processes since the last reading."""

    loss: float
    """Sum of the task loss over the images."""
    auxiliary: float
    """Sum of the weighted auxiliary loss over the images."""
    correct: float
    """Images that were classified correctly."""
    images: float
    """Images."""
    diverged: bool
    """Whether any process met a loss beyond the limit."""
    bad_step: int | None
    """The first such step of this process."""
    bad_loss: float
    """Its mean task loss."""


class Counters:
    """Sums of a part of an epoch, kept on the device so that a step never waits for the host.

    >>> counters = Counters(torch.device("cpu"), limit=10.0)
    >>> counters.add(torch.tensor(6.0), 0.0, torch.tensor(2), images=3)
    >>> counters.end_step(4)
    >>> counters.read()
    Counted(loss=6.0, auxiliary=0.0, correct=2.0, images=3.0, diverged=False, bad_step=None, bad_loss=0.0)
    """

    def __init__(self, device: torch.device, *, limit: float) -> None:
        """Count on a device; a step whose mean loss is beyond `limit`, or NaN, is bad."""
        self._limit = limit
        self._sums = torch.zeros(3, dtype=torch.float64, device=device)
        self._step = torch.zeros(1, dtype=torch.float64, device=device)
        # steps ended so far, the first bad one among them and its loss
        self._ended = torch.zeros((), dtype=torch.float64, device=device)
        self._bad = torch.tensor([math.inf, 0.0], dtype=torch.float64, device=device)
        self._images = self._step_images = self._first = self._count = 0

    def add(self, loss: Tensor, auxiliary: Tensor | float, correct: Tensor, *, images: int) -> None:
        """Count one forward pass: sum of its task loss, mean auxiliary loss, correct images."""
        sums = loss.detach().double()
        self._sums[0] += sums
        self._step += sums
        self._sums[1] += (auxiliary.detach() if isinstance(auxiliary, Tensor) else auxiliary) * images
        self._sums[2] += correct
        self._images += images
        self._step_images += images

    def end_step(self, step: int) -> None:
        """Judge the step that the last forward passes belong to; steps follow one another."""
        if self._count == 0:
            self._first = step
        self._count += 1
        mean = self._step[0] / self._step_images
        bad = ~(mean.abs() <= self._limit) & torch.isinf(self._bad[0])
        self._bad = torch.where(bad, torch.stack([self._ended, mean]), self._bad)
        self._ended += 1
        self._step.zero_()
        self._step_images = 0

    def read(self) -> Counted:
        """The sums over all processes since the last reading; waits for the device."""
        bad_index, bad_loss = self._bad.tolist()
        diverged = math.isfinite(bad_index)
        mine = torch.tensor([float(self._images), float(diverged)], dtype=torch.float64)
        loss, auxiliary, correct, images, spoiled = distributed.total(
            torch.cat([self._sums, mine.to(self._sums.device)])
        ).tolist()
        self._sums.zero_()
        self._images = 0
        step = self._first + int(bad_index) if diverged else None
        return Counted(loss, auxiliary, correct, images, spoiled > 0, step, bad_loss)
