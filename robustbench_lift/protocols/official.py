"""Protocols over official files on disk: frames are read as they are; nothing is resized, nothing is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

import corruptions
from corruptions.sequences import TABLES
from robustbench_lift.data.base import ImageSet
from robustbench_lift.data.geometry import AsStored
from robustbench_lift.data.tree import Tree, origin
from robustbench_lift.errors import UsageError, unknown
from robustbench_lift.protocols.corruption import SEVERITIES, named_set
from robustbench_lift.runs import Cell

if TYPE_CHECKING:
    from torch import Tensor


ALL_CORRUPTIONS = (*corruptions.BENCHMARK, *corruptions.EXTRA)
ALL_PERTURBATIONS = (*corruptions.PERTURBATIONS, *corruptions.EXTRA_PERTURBATIONS)


@dataclass(kw_only=True, eq=False)
class OfficialCorruption:
    """ImageNet-C, CIFAR-10/100-C or Tiny-ImageNet-C from disk: corruptions x severities cells of one frame.

    Raises:
        UsageError: a corruption or severity that does not exist.
        IncompleteError: folders are missing; the message names them.
    """

    tree: Tree
    """Where the cells lie."""
    conditions: tuple[str, ...] = corruptions.BENCHMARK
    """Names of corruptions; the 15 of the benchmark unless told."""
    severities: tuple[int, ...] = SEVERITIES
    """Severities, 1..5."""
    name: str = "corruption"

    def __post_init__(self) -> None:
        for condition in self.conditions:
            if condition not in ALL_CORRUPTIONS:
                raise unknown("corruption", condition, ALL_CORRUPTIONS)
        for severity in self.severities:
            if severity not in SEVERITIES:
                raise UsageError(f"severity {severity} does not exist: severities are 1, 2, 3, 4 and 5.")
        self.tree.require(self.conditions, self.severities)

    def cells(self) -> tuple[Cell, ...]:
        """Corruption by corruption, severities ascending."""
        return tuple(Cell("corruption", c, s) for c in self.conditions for s in self.severities)

    def fields(self) -> dict[str, str]:
        """Which files, which cells, and that nothing is resized."""
        fields = origin(self.tree.root) | {
            "files": self.tree.files,
            "set": named_set(self.conditions, corruptions.BENCHMARK, "benchmark15"),
        }
        if set(self.severities) != set(SEVERITIES):
            fields["severities"] = "+".join(map(str, sorted(self.severities)))
        return fields | {"geometry": AsStored(self.tree.size).text}

    def images(self, cell: Cell) -> ImageSet:
        """The images of the cell's folder."""
        return self.tree.images(cell.condition, cell.severity)

    def frames(self, cell: Cell) -> int:
        """One."""
        return 1

    def prepare(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The image as it is; another size is refused."""
        return AsStored(self.tree.size)(image)

    def render(self, cell: Cell, batch: Tensor, ids: Sequence[str]) -> Tensor:
        """[n, 3, h, w] -> [n, 1, 3, h, w]."""
        return batch.unsqueeze(1)


@dataclass(kw_only=True, eq=False)
class OfficialPerturbation:
    """ImageNet-P or CIFAR-10/100-P from disk: one cell a perturbation, whole clips.

    Raises:
        UsageError: a perturbation or difficulty that does not exist.
        IncompleteError: folders are missing; the message names them.
    """

    tree: Tree
    """Where the cells lie."""
    conditions: tuple[str, ...] = corruptions.PERTURBATIONS
    """Names of perturbations; the 10 of the benchmark unless told."""
    difficulty: int = 1
    """1..3: another folder for noise, a stride between compared frames for the others."""
    name: str = "perturbation"

    def __post_init__(self) -> None:
        for condition in self.conditions:
            if condition not in ALL_PERTURBATIONS:
                raise unknown("perturbation", condition, ALL_PERTURBATIONS)
        if self.difficulty not in (1, 2, 3):
            raise UsageError(f"difficulty {self.difficulty} does not exist: difficulties are 1, 2 and 3.")
        self.tree.require(self.conditions, (self.difficulty,))

    def cells(self) -> tuple[Cell, ...]:
        """Perturbation by perturbation."""
        return tuple(Cell("perturbation", c, self.difficulty) for c in self.conditions)

    def fields(self) -> dict[str, str]:
        """Which files, which cells, and how many images."""
        return origin(self.tree.root) | {
            "files": self.tree.files,
            "set": named_set(self.conditions, corruptions.PERTURBATIONS, "benchmark10"),
            "difficulty": str(self.difficulty),
            "n": str(len(self.images(self.cells()[0]).ids)),
            "geometry": AsStored(self.tree.size).text,
        }

    def images(self, cell: Cell) -> ImageSet:
        """The clips of the cell's folder."""
        return self.tree.images(cell.condition, cell.severity)

    def frames(self, cell: Cell) -> int:
        """Frames of the sequence."""
        return TABLES[self.tree.size].count(cell.condition)

    def prepare(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The clip as it is; another size is refused."""
        return AsStored(self.tree.size)(image)

    def render(self, cell: Cell, batch: Tensor, ids: Sequence[str]) -> Tensor:
        """[n, T, 3, h, w], unchanged."""
        return batch
