"""CIFAR-10/100-C and -P: one array a condition, mapped into memory.

<root>/<condition>.npy and labels.npy
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from corruptions.sequences import TABLES
from robustbench_lift.data.base import ImageSet
from robustbench_lift.data.mapped import ArrayFile, open_array
from robustbench_lift.data.places import folder_name
from robustbench_lift.data.subset import Subset, limited_name, subset_rows
from robustbench_lift.data.tar_index import open_index
from robustbench_lift.errors import DataError, IncompleteError
from robustbench_lift.text import printable, some


@dataclass(kw_only=True)
class ArrayTree:
    """CIFAR-10/100-C (`<corruption>.npy`) or -P (`<perturbation>.npy`), mapped into memory."""

    root: Path
    """Folder of the .npy files, or their archive."""
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

    _files: dict[str, ArrayFile] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.root.is_file():
            self._files, below = _in_archive(self.root)
        elif self.root.is_dir():
            self._files = {file.stem: ArrayFile(file) for file in self.root.glob("*.npy")}
            below = [inner for inner in self.root.iterdir() if (inner / "labels.npy").is_file()]
        else:
            raise DataError(f"{printable(self.root)} does not exist. Name the folder of the .npy files, or their .tar.")
        if "labels" not in self._files:
            hint = f" Name {printable(below[0])}." if below else ""
            raise IncompleteError(
                f"{printable(self.root)} has no labels.npy.{hint} Expected <condition>.npy and labels.npy."
            )

    def holds(self, condition: str, level: int) -> bool:
        """Whether the file of a cell is there."""
        return self._name(condition, level) in self._files

    def require(self, conditions: Sequence[str], levels: Sequence[int]) -> None:
        """Raise IncompleteError, naming every file that is missing."""
        lacking = [self._name(c, level) for c in conditions for level in levels if not self.holds(c, level)]
        missing = [f"{name}.npy" for name in dict.fromkeys(lacking)]
        if missing:
            raise IncompleteError(
                f"{printable(self.root)} lacks {some(missing, most=20)}. Extract the rest, or ask for what is there."
            )

    def _name(self, condition: str, level: int) -> str:
        return folder_name(condition, level) if self.sequences else condition

    def images(self, condition: str, level: int) -> ImageSet:
        """The images of a cell."""
        self.require([condition], [level])
        found = open_array(
            self._files[self._name(condition, level)],
            self._files["labels"],
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


def _in_archive(path: Path) -> tuple[dict[str, ArrayFile], list[Path]]:
    """The arrays of an archive, at its top or in its one folder that has labels; and the folders that have labels."""
    index = open_index(path)
    tops = [name.removesuffix("labels.npy") for name in index.names if f"/{name}".endswith("/labels.npy")]
    if len(tops) != 1:
        return {}, [path / top for top in tops]
    return {
        name.removeprefix(tops[0]).removesuffix(".npy"): ArrayFile(path, name, int(offset), int(size))
        for name, offset, size in zip(index.names, index.offsets, index.sizes, strict=True)
        if name.startswith(tops[0]) and name.endswith(".npy") and "/" not in name.removeprefix(tops[0])
    }, []
