"""What the noise sequences share: frame 0 is clean, every later frame draws anew."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from corruptions.channel import Law, send
from corruptions.randomness import RandomSource


def noisy(images: Tensor, law: Law, draws: RandomSource, count: int) -> Iterator[Tensor]:
    """`count` frames of uint8 [N, 3, H, W]: the images themselves, then the images sent through a channel."""
    yield images
    for _ in range(1, count):
        yield send(images, law, draws)
