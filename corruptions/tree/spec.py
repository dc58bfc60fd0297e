"""What a tree holds: layout, conditions, levels, size, seed."""

from __future__ import annotations

from dataclasses import dataclass, field

from corruptions.errors import CorruptionError, unknown
from corruptions.kernels import BENCHMARK
from corruptions.registry import CORRUPTIONS, SEQUENCES, SIZES, VARIANTS
from corruptions.sequences import PERTURBATIONS

LAYOUTS: dict[str, str] = {
    "imagenet-c": "<corruption>/<severity>/<class>/<name>.JPEG, JPEG quality 85",
    "imagenet-p": "<perturbation>/<class>/<name>.mp4, H.264; harder noise in <perturbation>_2 and _3",
    "cifar-c": "<corruption>.npy uint8 [severities x images, side, side, 3], severity after severity, and labels.npy",
    "cifar-p": "<perturbation>.npy uint8 [images, frames, side, side, 3] and labels.npy; harder noise in ..._2 and _3",
}
"""Layout -> what is on disk."""


@dataclass(frozen=True, slots=True)
class TreeCell:
    """One condition at one level: a folder of files, or (a part of) one array."""

    condition: str
    level: int
    """Severity of a corruption, difficulty of a perturbation."""
    folder: str
    """Path below the root, for example `fog/3` or `gaussian_noise_2`."""


@dataclass(frozen=True, kw_only=True)
class TreeSpec:
    """Settings of a tree.

    Raises:
        CorruptionError: a layout, condition, level, size or variant that does not exist.

    >>> TreeSpec(layout="imagenet-p", conditions=("tilt", "shot_noise"), levels=(1, 2)).folders
    ('tilt', 'shot_noise', 'shot_noise_2')
    """

    layout: str = "imagenet-c"
    """One of `LAYOUTS`."""
    conditions: tuple[str, ...] = ()
    """Names of corruptions or perturbations; the 15 or 10 of the benchmark when empty."""
    levels: tuple[int, ...] = ()
    """Severities 1..5 of corruptions (all when empty); difficulties 1..3 of noise sequences (1 when empty)."""
    size: int = 224
    """Side of the images: 224, 299, 64 or 32; it fixes the preparation of the base image and the parameter table."""
    seed: int = 0
    """Every draw comes from (seed, condition, level, image id)."""
    variant: str = "imagenet-c"
    """Variant of the corruptions; sequences have one only."""
    cells: tuple[TreeCell, ...] = field(init=False)
    """All cells, condition by condition."""

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise unknown("layout", self.layout, LAYOUTS)
        known = tuple(SEQUENCES) if self.sequences else tuple(CORRUPTIONS)
        if not self.conditions:
            object.__setattr__(self, "conditions", PERTURBATIONS if self.sequences else BENCHMARK)
        if not self.levels:
            object.__setattr__(self, "levels", (1,) if self.sequences else (1, 2, 3, 4, 5))
        for name in self.conditions:
            if name not in known:
                raise unknown("perturbation" if self.sequences else "corruption", name, known)
        highest, word = (3, "difficulties") if self.sequences else (5, "severities")
        for level in self.levels:
            if not 1 <= level <= highest:
                raise CorruptionError(f"level {level} does not exist in layout {self.layout}: {word} are 1..{highest}.")
        for what, values in (("condition", self.conditions), ("level", self.levels)):
            if len(set(values)) < len(values):
                raise CorruptionError(f"a {what} is named twice: {', '.join(map(str, values))}.")
        if self.size not in SIZES:
            raise CorruptionError(f"size {self.size} has no preparation and no table: choose 224, 299, 64 or 32.")
        if self.variant not in VARIANTS:
            raise unknown("variant", self.variant, VARIANTS)
        object.__setattr__(self, "cells", tuple(self._cells()))

    def _cells(self) -> list[TreeCell]:
        if not self.sequences:
            return [TreeCell(c, s, f"{c}/{s}") for c in self.conditions for s in self.levels]
        cells = []
        for name in self.conditions:
            for level in self.levels if SEQUENCES[name].noise else (1,):
                cells.append(TreeCell(name, level, name if level == 1 else f"{name}_{level}"))
        return cells

    @property
    def sequences(self) -> bool:
        """Whether the layout holds perturbation sequences."""
        return self.layout.endswith("-p")

    @property
    def arrays(self) -> bool:
        """Whether the layout is .npy files."""
        return self.layout.startswith("cifar")

    @property
    def suffix(self) -> str:
        """Ending of a file of a tree."""
        return ".mp4" if self.sequences else ".JPEG"

    @property
    def folders(self) -> tuple[str, ...]:
        """Folder of each cell."""
        return tuple(cell.folder for cell in self.cells)

    @property
    def settings(self) -> dict[str, object]:
        """What must be equal for two calls to write into one tree."""
        settings: dict[str, object] = {"layout": self.layout, "size": self.size, "seed": self.seed}
        if not self.sequences:
            settings["variant"] = self.variant
        if self.layout == "cifar-c":
            settings["severities"] = list(self.levels)
        return settings
