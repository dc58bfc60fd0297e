"""The embedded photographs as a training source: random 64-pixel crops outside the test bands, on the device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from robustbench_lift.data import photos
from robustbench_lift.data.base import fingerprint
from robustbench_lift.training import draws
from robustbench_lift.training.recipe import Recipe

CROPS = 128
"""Crops a photograph in one epoch."""


class PhotoSource:
    """Crops of the training bands: every photograph equally often, every position of its bands equally likely.

    >>> from robustbench_lift.training.recipes import RECIPES
    >>> source = PhotoSource(recipe=RECIPES["photos"])
    >>> images, labels = source.batch(torch.tensor([0, 1, 15]), 0, 0, torch.device("cpu"))
    >>> images.shape, labels.tolist()
    (torch.Size([3, 3, 64, 64]), [0, 1, 0])
    """

    name = "photos"

    def __init__(self, *, recipe: Recipe, crops: int = CROPS) -> None:
        """Read the photographs; `crops` of each make an epoch."""
        self.class_names = tuple(p.name for p in photos.PHOTOGRAPHS)
        self.size = recipe.size
        self._flip = recipe.flip and recipe.augmentation != "none"
        self._crops = crops
        pixels, corners = [], []
        offset = 0
        for label, photograph in enumerate(photos.PHOTOGRAPHS):
            array = photos.pixels(photograph)
            height, width = array.shape[:2]
            # a pixel is one int32 (red, green, blue, unused): one gather instead of three, and NHWC memory
            pixels.append(torch.from_numpy(np.pad(array.reshape(-1, 3), ((0, 0), (0, 1)))).view(torch.int32)[:, 0])
            for top, bottom in photos.training_bands(height):
                # one row of the table a band: label, first corner, rows and columns of corners, width, offset
                corners.append((label, top, bottom - top - self.size + 1, width - self.size + 1, width, offset))
            offset += height * width
        self._pixels = torch.cat(pixels)
        table = torch.tensor([row for row in corners if row[2] > 0])
        counts = table[:, 2] * table[:, 3]
        self._table = table
        # cumulative corners of each photograph, so that one integer names a corner of any of its bands
        self._first = torch.stack([torch.where(table[:, 0] < k, counts, 0).sum() for k in range(len(self.class_names))])
        self._total = torch.stack(
            [torch.where(table[:, 0] == k, counts, 0).sum() for k in range(len(self.class_names))]
        )
        self._ends = counts.cumsum(0)
        ids = [f"{photograph.name}/{photograph.sha256}" for photograph in photos.PHOTOGRAPHS]
        self.fingerprint = fingerprint(ids, np.arange(len(ids)), table.numpy().tobytes())

    def __len__(self) -> int:
        """Crops of an epoch."""
        return self._crops * len(self.class_names)

    def batch(self, indices: Tensor, epoch: int, seed: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Crops by number; the photograph is the number modulo their count."""
        if self._pixels.device != device:
            for field in ("_pixels", "_table", "_first", "_total", "_ends"):
                setattr(self, field, getattr(self, field).to(device))
        indices = indices.to(device)
        labels = indices % len(self.class_names)
        corner = self._first[labels] + draws.integers(indices, self._total[labels], seed=seed, epoch=epoch, stream=0)
        band = torch.searchsorted(self._ends, corner, right=True)
        _, top, rows, columns, width, offset = self._table[band].unbind(1)
        within = corner - (self._ends[band] - rows * columns)
        start = offset + (top + within // columns) * width + within % columns
        line = torch.arange(self.size, device=device)
        across = line.expand(len(indices), -1)
        if self._flip:
            mirrored = draws.uniform(indices, seed=seed, epoch=epoch, stream=2) < 0.5
            across = torch.where(mirrored[:, None], self.size - 1 - across, across)
        places = start[:, None, None] + line[:, None] * width[:, None, None] + across[:, None, :]
        packed = self._pixels[places].view(torch.uint8).view(-1, self.size, self.size, 4)
        return packed[..., :3].permute(0, 3, 1, 2), labels
