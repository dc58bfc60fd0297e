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
    first, last = -origin, count - 1 - origin
    wide = torch.nn.functional.pad(images, (max(last, 0), max(-first, 0)))  # every frame is a part of it
    for shift in range(first, last + 1):
        start = max(last, 0) - shift
        yield shown(wide[..., start : start + width], window)
