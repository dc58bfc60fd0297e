"""Noise sequences: frame 0 is clean, every later frame draws anew.

Shapes: N images, C channels, H x W pixels; `images` is uint8 [N, C, H, W].
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from corruptions.channel import Gaussian, Law, Shot, Speckle
from corruptions.randomness import Source
from corruptions.sequences.tables import SequenceTable


def _noisy(images: Tensor, law: Law, draws: Source, count: int) -> Iterator[Tensor]:
    yield images
    for _ in range(1, count):
        yield draws.through(images, law)


def gaussian_noise(images: Tensor, table: SequenceTable, draws: Source, difficulty: int) -> Iterator[Tensor]:
    """clip(x + N(0, sd)), fraction dropped, independently for every value of frames 1, 2, ..."""
    law = Gaussian(table.gaussian_noise[difficulty - 1])
    return _noisy(images, law, draws, table.count("gaussian_noise"))


def shot_noise(images: Tensor, table: SequenceTable, draws: Source, difficulty: int) -> Iterator[Tensor]:
    """clip(Poisson(photons x) / photons), fraction dropped, independently for every value of frames 1, 2, ..."""
    law = Shot(table.shot_noise[difficulty - 1])
    return _noisy(images, law, draws, table.count("shot_noise"))


def speckle_noise(images: Tensor, table: SequenceTable, draws: Source, difficulty: int) -> Iterator[Tensor]:
    """clip(x + x N(0, sd)), fraction dropped, independently for every value of frames 1, 2, ..."""
    law = Speckle(table.speckle_noise[difficulty - 1])
    return _noisy(images, law, draws, table.count("speckle_noise"))
