"""Training crops of the embedded photographs: 64x64 windows of the rows that no test region touches."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from robustbench_lift.data.photos import PHOTOGRAPHS, SIZE, pixels, training_bands

CROPS = 256
"""Crops of each photograph in an epoch."""


class PhotoTraining:
    """Random crops and mirror images, a new draw every epoch; classes are balanced.

    A crop is drawn from (seed, epoch, sample), so it does not depend on batch size, order or restarts.
    """

    name = "photos"
    size = SIZE

    def __init__(self) -> None:
        self.class_names = tuple(photograph.name for photograph in PHOTOGRAPHS)
        self._bands = [
            [np.ascontiguousarray(pixels(photograph)[top:bottom].transpose(2, 0, 1)) for top, bottom in bands]
            for photograph in PHOTOGRAPHS
            for bands in [training_bands(pixels(photograph).shape[0])]
        ]

    def __len__(self) -> int:
        return CROPS * len(PHOTOGRAPHS)

    def batch(
        self, indices: Tensor, epoch: int, seed: int, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, Tensor]:
        """uint8 crops [n, 3, 64, 64] and labels int64 [n] of the samples `indices` [n] of an epoch."""
        draws = _draws(seed, epoch, len(self))
        crops = np.empty((len(indices), 3, SIZE, SIZE), dtype=np.uint8)
        labels = np.empty(len(indices), dtype=np.int64)
        for row, sample in enumerate(indices.tolist()):
            label = sample % len(PHOTOGRAPHS)
            crops[row] = self._crop(label, draws[sample])
            labels[row] = label
        return torch.from_numpy(crops).to(device), torch.from_numpy(labels).to(device)

    def _crop(self, label: int, draw: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
        bands = self._bands[label]
        tops = [band.shape[1] - SIZE + 1 for band in bands]  # possible tops in each band: crops are equally likely
        place = int(draw[0] * sum(tops))
        which = 0
        while place >= tops[which]:
            place -= tops[which]
            which += 1
        left = int(draw[1] * (bands[which].shape[2] - SIZE + 1))
        crop = bands[which][:, place : place + SIZE, left : left + SIZE]
        return crop[:, :, ::-1] if draw[2] < 0.5 else crop


@functools.lru_cache(maxsize=2)
def _draws(seed: int, epoch: int, count: int) -> npt.NDArray[np.float64]:
    """Three uniforms for each sample of an epoch: row, column, mirror."""
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).random((count, 3))
