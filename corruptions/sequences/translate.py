"""Translation along the rows. Rows: the frame that is clean.

Source: Hendrycks and Dietterich, ICLR 2019, section 4.2, and the four generator scripts (see `corruptions.sequences`).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from corruptions.randomness import RandomSource
from corruptions.registry import perturbation
from corruptions.sequences.warps import Window, shown


@perturbation(
    "translate",
    category="geometric",
    count={224: 41, 299: 41, 64: 31, 32: 16},
    unprepared_at=(299,),
    rows={224: 20, 299: 20, 64: 15, 32: 7},
)
def translate(images: Tensor, draws: RandomSource, origin: int, count: int, *, window: Window) -> Iterator[Tensor]:
    """Frame i is shifted right by i - origin pixels; black comes in from the side."""
    width = images.shape[-1]
    for i in range(count):
        shift = i - origin
        moved = torch.zeros_like(images)
        if shift >= 0:
            moved[..., shift:] = images[..., : width - shift]
        else:
            moved[..., :shift] = images[..., -shift:]
        yield shown(moved, window)
