"""The 14 perturbation sequences of ImageNet-P as streams of frames; `corruptions.perturb` is the way in.

images, table, draws -> frame 0, frame 1, ...       one frame of the whole batch in memory at a time
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor

from corruptions.randomness import Source
from corruptions.sequences import blur, geometry, noise, weather
from corruptions.sequences.tables import EXTRA_PERTURBATIONS, NOISE, PERTURBATIONS, TABLES, SequenceTable
from corruptions.sequences.warps import Window, centre_window, shown

__all__ = [
    "EXTRA_PERTURBATIONS",
    "NOISE",
    "PERTURBATIONS",
    "TABLES",
    "WHOLE_IMAGE",
    "SequenceTable",
    "centre_window",
    "frames",
]

WHOLE_IMAGE: dict[str, Callable[[Tensor, SequenceTable, Window], Iterator[Tensor]]] = {
    "zoom_blur": geometry.zoom_blur,
    "translate": geometry.translate,
    "rotate": geometry.rotate,
    "tilt": geometry.tilt,
    "scale": geometry.scale,
    "shear": geometry.shear,
}
"""Sequences that warp the base image and show a window of it; all others work on the window alone."""

_FIXED: dict[str, Callable[[Tensor, SequenceTable], Iterator[Tensor]]] = {
    "motion_blur": blur.motion_blur,
    "gaussian_blur": blur.gaussian_blur,
    "brightness": weather.brightness,
}

_LAYERED: dict[str, Callable[[Tensor, SequenceTable, Source], Iterator[Tensor]]] = {
    "snow": weather.snow,
    "spatter": weather.spatter,
}

_NOISY: dict[str, Callable[[Tensor, SequenceTable, Source, int], Iterator[Tensor]]] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "speckle_noise": noise.speckle_noise,
}


def frames(
    images: Tensor, name: str, table: SequenceTable, draws: Source, *, difficulty: int = 1, crop: int | None = None
) -> Iterator[Tensor]:
    """The frames of a sequence, in order, each uint8 [N, 3, h, w].

    Args:
        images: uint8 [N, 3, H, W], the base images.
        name: one of the 14.
        table: the parameters.
        draws: randomness of these images.
        difficulty: 1..3; parameter of the noise sequences, of no effect on the others.
        crop: side of the centre window that the frames show; the whole image without one.
    """
    window = centre_window(images.shape[-2], images.shape[-1], crop)
    if name in WHOLE_IMAGE:
        return WHOLE_IMAGE[name](images, table, window)
    visible = shown(images, window).contiguous()
    if name in _FIXED:
        return _FIXED[name](visible, table)
    if name in _LAYERED:
        return _LAYERED[name](visible, table, draws)
    return _NOISY[name](visible, table, draws, difficulty)
