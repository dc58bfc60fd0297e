"""CIFAR-10/100-C and -P: one array a condition, mapped into memory where it lies, as a file or inside an archive.

CIFAR-10-C/<corruption>.npy            uint8 [50000, 32, 32, 3], severity after severity, and labels.npy
CIFAR-10-P/<perturbation>.npy          uint8 [10000, T, 32, 32, 3]; labels.npy is not published and by choice
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from corruptions import frame_count
from robustbench_lift.data.base import UNLABELLED, ImageSet, Pixels
from robustbench_lift.data.cifar import SIDE
from robustbench_lift.data.cifar import class_names as known_names
from robustbench_lift.data.memory import ARRAY_ERRORS, check_labels, npy_header, position_ids
from robustbench_lift.data.store import hidden
from robustbench_lift.data.subset import Subset, limited_name, subset_rows
from robustbench_lift.data.suites import suite_with
from robustbench_lift.data.tar import open_index
from robustbench_lift.data.tree import folder_name
from robustbench_lift.errors import DataError, IncompleteError
from robustbench_lift.text import listed, printable


class ArrayFile(NamedTuple):
    """An .npy file, or one in an archive."""

    path: Path
    """The file or the archive."""
    member: str = ""
    """Name in the archive; empty for a file."""
    offset: int = 0
    """Where it begins in the archive, in bytes."""
    size: int | None = None
    """Its length in bytes; None: to the end."""

    @property
    def shown(self) -> str:
        """The place, printable."""
        return f"{printable(self.path)}:{printable(self.member)}" if self.member else printable(self.path)


@dataclass(kw_only=True, eq=False)
class MappedImages:
    """Images or clips in an .npy file that is mapped into memory, in each process when it reads its first one."""

    name: str
    ids: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    file: ArrayFile
    """uint8 [N, (T,) 32, 32, 3]."""
    first: int = 0
    """Row of the first image: severity s begins at (s - 1) * 10,000."""
    _open: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def read(self, index: int) -> Pixels:
        """RGB uint8 [H, W, 3], or a clip [T, H, W, 3]."""
        if "array" not in self._open:
            self._open["array"] = map_array(self.file)
        image: Pixels = np.array(self._open["array"][self.first + index])
        return image

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}


def map_array(file: ArrayFile) -> npt.NDArray[Any]:
    """An .npy file mapped into memory, never unpickled.

    Raises:
        DataError: not an .npy file of plain numbers, or shorter than it says.
    """
    try:
        if file.path.exists() and not file.path.is_file():  # a pipe would be waited for
            raise DataError(f"{file.shown} cannot be read: it is no file.")
        with file.path.open("rb") as stream:
            end = stream.seek(0, 2) if file.size is None else file.offset + file.size
            stream.seek(file.offset)
            shape, fortran, dtype = npy_header(stream)
            start = stream.tell()
        if math.prod(shape) * dtype.itemsize > end - start:
            raise ValueError(f"{shape} of {dtype} need more bytes than the {end - start:,} that there are")
        return np.memmap(file.path, dtype, "r", start, shape, "F" if fortran else "C")
    except OSError as error:
        raise DataError(f"{file.shown} cannot be read: {error.strerror or error}.") from None
    except ARRAY_ERRORS as error:
        raise DataError(
            f"{file.shown} is not an .npy file of plain numbers, or cut short ({printable(str(error))}). Get it again."
        ) from None


def open_array(
    file: ArrayFile,
    labels_file: ArrayFile | None,
    *,
    name: str,
    classes: int,
    severity: int | None,
    frames: int | None = None,
    clean: ImageSet | None = None,
) -> MappedImages:
    """One cell of CIFAR-C (`severity` 1..5) or CIFAR-P (`frames`); without labels those of the clean images.

    Raises:
        DataError: another shape, or labels that do not fit; the message says which file.
    """
    array = map_array(file)
    tail = [SIDE, SIDE, 3] if frames is None else [frames, SIDE, SIDE, 3]
    if array.dtype != np.uint8 or list(array.shape[1:]) != tail or not len(array):
        hint = ""
        if array.ndim == 5 and frames is None:
            hint = f" These are sequences: say {name}-p: instead of {name}-c:."
        elif array.ndim == 4 and frames is not None:
            hint = f" These are single images: say {name}-c: instead of {name}-p:."
        raise DataError(
            f"{file.shown}: expected uint8 [N, {', '.join(map(str, tail))}], found {array.dtype} "
            f"{list(array.shape)}.{hint}"
        )
    count, first = len(array), 0
    if severity is not None:
        if count % 5:
            raise DataError(f"{file.shown} has {count:,} rows, which are no five severities of equal length.")
        count //= 5
        first = (severity - 1) * count
    labels = _labels(labels_file, count, classes, repeated=severity is not None, clean=clean)
    if clean is not None:
        _require_same(clean, labels, file if labels_file is None else labels_file)
    return MappedImages(
        name=name,
        ids=position_ids(count),
        labels=labels,
        class_names=known_names(None, classes) if clean is None else clean.class_names,
        file=file,
        first=first,
    )


def _require_same(clean: ImageSet, labels: npt.NDArray[np.int64], file: ArrayFile) -> None:
    """Refuse arrays whose rows are not the clean images of the same run, as far as numbers and labels tell.

    Raises:
        DataError: another number of images, or other labels; the message says how many.
    """
    if len(labels) != len(clean.labels):
        raise DataError(
            f"{file.shown} is of {len(labels):,} images, and the clean images of this run are {len(clean.labels):,}. "
            "All parts of a run show the same images: name the clean images that these were made of, or leave them out."
        )
    wrong = np.flatnonzero(labels != clean.labels)
    if len(wrong):
        raise DataError(
            f"{file.shown}: {len(wrong):,} of {len(labels):,} labels are not those of the clean images (the first in "
            f"row {wrong[0]}). All parts of a run show the same images in the same order: get both from one source."
        )


def _labels(
    file: ArrayFile | None, count: int, classes: int, *, repeated: bool, clean: ImageSet | None
) -> npt.NDArray[np.int64]:
    """Labels [count] from their file, where they may be `repeated` five times; else those of the clean images."""
    if file is None:
        known = clean is not None and len(clean.labels) == count
        return clean.labels if known and clean is not None else np.full(count, UNLABELLED, dtype=np.int64)
    labels = map_array(file)
    if repeated and labels.ndim and len(labels) == 5 * count:
        if not (labels.reshape(5, count, -1) == labels[:count].reshape(1, count, -1)).all():
            raise DataError(
                f"{file.shown} does not repeat the same labels for the five severities, which lie one after the other "
                f"in each file. Is it of one severity alone ({5 * count:,} images)? Then put all five into one file."
            )
        labels = labels[:count]
    return check_labels(labels, count, classes, file.shown)


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
    clean: ImageSet | None = None
    """The clean images of the same run, whole: their class names, and labels where the tree has none."""
    size: int = 32

    _files: dict[str, ArrayFile] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.root.is_file():
            self._files, below = _in_archive(self.root)
        elif self.root.is_dir():
            self._files = {file.stem: ArrayFile(file) for file in self.root.glob("*.npy")}
            below = [inner for inner in sorted(self.root.iterdir()) if next(inner.glob("*.npy"), None) is not None]
        else:
            raise DataError(f"{printable(self.root)} does not exist. Name the folder of the .npy files, or their .tar.")
        if "labels" not in self._files and not (self.sequences and self._files):
            hint = f" Name {printable(below[0])}." if below else ""
            raise IncompleteError(
                f"{printable(self.root)} has no labels.npy.{hint} Expected <condition>.npy and labels.npy."
            )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "clean": None}  # workers read the images of a cell; these stay here

    def holds(self, condition: str, level: int) -> bool:
        """Whether the file of a cell is there."""
        return self._name(condition, level) in self._files

    def frames(self, condition: str) -> int:
        """Frames of each image: those of the sequence, or one."""
        return frame_count(condition, self.size) if self.sequences else 1

    def require(self, conditions: Sequence[str], levels: Sequence[int]) -> None:
        """Raise IncompleteError, naming every file that is missing."""
        lacking = [self._name(c, level) for c in conditions for level in levels if not self.holds(c, level)]
        missing = [f"{name}.npy" for name in dict.fromkeys(lacking)]
        if missing:
            other = suite_with(self._files, "perturbation" if self.sequences else "corruption")
            option = "--perturbations" if self.sequences else "--corruptions"
            hint = f"Extract the rest, or name what is there with {option}."
            if other is not None and not set(conditions) & set(self._files):
                hint = f"It has conditions of {other.title}; name the folder of {self.files.removesuffix('-npy')}."
            raise IncompleteError(f"{printable(self.root)} lacks {listed(missing, most=20)}. {hint}")

    def _name(self, condition: str, level: int) -> str:
        return folder_name(condition, level) if self.sequences else condition

    def images(self, condition: str, level: int) -> ImageSet:
        """The images of a cell."""
        self.require([condition], [level])
        found = open_array(
            self._files[self._name(condition, level)],
            self._files.get("labels"),
            name=self.name,
            classes=self.classes,
            severity=None if self.sequences else level,
            frames=self.frames(condition) if self.sequences else None,
            clean=self.clean,
        )
        if self.limit is None:
            return found
        rows = subset_rows(found.ids, found.labels, self.limit)
        return Subset(found, rows, name=limited_name(found.name, self.limit))


def _in_archive(path: Path) -> tuple[dict[str, ArrayFile], list[Path]]:
    """The arrays of an archive, at its top or in its one folder that has any; and the folders that have."""
    index = open_index(path)
    arrays = [name for name in index.names if name.endswith(".npy") and not any(map(hidden, name.split("/")))]
    labelled = [name.removesuffix("labels.npy") for name in arrays if f"/{name}".endswith("/labels.npy")]
    tops = labelled or sorted({name[: name.rfind("/") + 1] for name in arrays})
    if len(tops) != 1:
        return {}, [path / top for top in tops]
    return {
        name.removeprefix(tops[0]).removesuffix(".npy"): ArrayFile(path, name, int(offset), int(size))
        for name, offset, size in zip(index.names, index.offsets, index.sizes, strict=True)
        if name.startswith(tops[0]) and name.endswith(".npy") and "/" not in name.removeprefix(tops[0])
    }, []
