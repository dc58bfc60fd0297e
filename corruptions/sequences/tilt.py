"""Tilt about both axes, seen in perspective. Rows: degrees between frames.

Source: Hendrycks and Dietterich, ICLR 2019, section 4.2, and the four generator scripts (see `corruptions.sequences`).
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from corruptions.randomness import RandomSource
from corruptions.registry import perturbation
from corruptions.sequences.warps import Window, tilt_frames


@perturbation("tilt", category="geometric", unprepared_at=(299,), rows={224: 1.0, 299: 1.0, 64: 1.0, 32: 0.75})
def tilt(images: Tensor, draws: RandomSource, step: float, count: int, *, window: Window) -> Iterator[Tensor]:
    """Frame i is tilted by (i - 15) step degrees about both axes; black outside."""
    return tilt_frames(images, [step * (i - 15) for i in range(count)], window)
