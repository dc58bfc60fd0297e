"""CIFAR-10/100-C and -P: one array a condition, mapped into memory.

<root>/<condition>.npy and labels.npy
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from corruptions.sequences import TABLES
from robustbench_lift.data.base import ImageSet
from robustbench_lift.data.cifar import open_array
from robustbench_lift.data.names import printable, some
from robustbench_lift.data.places import folder_name
from robustbench_lift.data.subset import Subset, limited_name, subset_rows
from robustbench_lift.errors import DataError, IncompleteError


@dataclass(kw_only=True)
class ArrayTree:
    """CIFAR-10/100-C (`<corruption>.npy`) or -P (`<perturbation>.npy`), mapped into memory."""

    root: Path
    """Folder of the .npy files."""
    name: str
    """cifar10 or cifar100."""
    classes: int
    """10 or 100."""
    files: str
    """What the files are, for the signature."""
    sequences: bool = False
    """Whether rows are clips."""
    limit: int | None = None
    """A fixed, class-balanced subset of so many images."""
    class_names: tuple[str, ...] | None = None
    """In index order; None: CIFAR-10's names, numbers for CIFAR-100."""
    size: int = 32

    def __post_init__(self) -> None:
        if not self.root.is_dir():
            raise DataError(f"{printable(self.root)} is not a folder. Name the folder of the .npy files, unpacked.")
        inner = [p for p in self.root.iterdir() if p.is_dir() and (p / "labels.npy").is_file()]
        if not (self.root / "labels.npy").is_file():
            hint = f" Name {printable(inner[0])}." if inner else ""
            raise IncompleteError(
                f"{printable(self.root)} has no labels.npy.{hint} Expected <condition>.npy and labels.npy."
            )

    def holds(self, condition: str, level: int) -> bool:
        """Whether the file of a cell is there."""
        return (self.root / f"{folder_name(condition, level) if self.sequences else condition}.npy").is_file()

    def require(self, conditions: Sequence[str], levels: Sequence[int]) -> None:
        """Raise IncompleteError, naming every file that is missing."""
        names = [folder_name(c, d) if self.sequences else c for c in conditions for d in levels]
        missing = [f"{name}.npy" for name in dict.fromkeys(names) if not (self.root / f"{name}.npy").is_file()]
        if missing:
            raise IncompleteError(
                f"{printable(self.root)} lacks {some(missing, most=20)}. Extract the rest, or ask for what is there."
            )

    def images(self, condition: str, level: int) -> ImageSet:
        """The images of a cell."""
        self.require([condition], [level])
        file = folder_name(condition, level) if self.sequences else condition
        found = open_array(
            self.root / f"{file}.npy",
            self.root / "labels.npy",
            name=self.name,
            classes=self.classes,
            severity=None if self.sequences else level,
            frames=TABLES[32].count(condition) if self.sequences else None,
            class_names=self.class_names,
        )
        if self.limit is None:
            return found
        rows = subset_rows(found.ids, found.labels, self.limit)
        return Subset(found, rows, name=limited_name(found.name, self.limit))
