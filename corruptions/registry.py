"""All corruptions by name; to add one, write its kernel and add a line here and one to each severity table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from corruptions import blur, colour, digital, elastic, fog, frost, glass, motion, noise, snow, spatter, zoom
from corruptions.tables import parameters

Kernel = Callable[..., Tensor]
"""kernel(images uint8 [N, 3, H, W], draws, parameters, **context) -> uint8 [N, 3, H, W]."""


@dataclass(frozen=True, slots=True)
class Corruption:
    """A kernel and what else it must be told."""

    kernel: Kernel
    group: str
    """noise, blur, weather, digital or extra."""
    context: tuple[str, ...] = ()
    """Which of variant and table the kernel takes as keywords."""
    piece: int = 4
    """Images of 224 pixels that a CPU handles at once: few stay in its caches, convolutions want 16 planes or more."""


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": Corruption(noise.gaussian_noise, "noise", piece=8),
    "shot_noise": Corruption(noise.shot_noise, "noise", piece=8),
    "impulse_noise": Corruption(noise.impulse_noise, "noise", piece=8),
    "defocus_blur": Corruption(blur.defocus_blur, "blur", piece=5),
    "glass_blur": Corruption(glass.glass_blur, "blur", piece=5),
    "motion_blur": Corruption(motion.motion_blur, "blur", ("variant",)),
    "zoom_blur": Corruption(zoom.zoom_blur, "blur", ("variant",), piece=16),
    "snow": Corruption(snow.snow, "weather", ("variant",)),
    "frost": Corruption(frost.frost, "weather", ("variant", "table")),
    "fog": Corruption(fog.fog, "weather", piece=8),
    "brightness": Corruption(colour.brightness, "weather"),
    "contrast": Corruption(colour.contrast, "digital"),
    "elastic_transform": Corruption(elastic.elastic_transform, "digital"),
    "pixelate": Corruption(digital.pixelate, "digital", ("variant",)),
    "jpeg_compression": Corruption(digital.jpeg_compression, "digital"),
    "speckle_noise": Corruption(noise.speckle_noise, "extra", piece=8),
    "gaussian_blur": Corruption(blur.gaussian_blur, "extra", piece=5),
    "spatter": Corruption(spatter.spatter, "extra", piece=8),
    "saturate": Corruption(colour.saturate, "extra"),
}
"""The 19 corruptions in benchmark order."""

BENCHMARK: tuple[str, ...] = tuple(name for name, entry in CORRUPTIONS.items() if entry.group != "extra")
"""The 15 corruptions of the benchmark, in its order."""

EXTRA: tuple[str, ...] = tuple(name for name, entry in CORRUPTIONS.items() if entry.group == "extra")
"""The 4 corruptions for validation; they enter no headline number."""


def apply(images: Tensor, draws: Any, name: str, severity: int, *, variant: str, table: int) -> Tensor:
    """Run one kernel on uint8 [N, 3, H, W]."""
    entry = CORRUPTIONS[name]
    everything = {"variant": variant, "table": table}
    context = {key: everything[key] for key in entry.context}
    return entry.kernel(images, draws, parameters(name, severity, table, variant), **context)
