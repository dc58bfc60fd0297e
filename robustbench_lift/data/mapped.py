"""Arrays of CIFAR-10/100-C and -P, mapped into memory where they lie: as files, or inside an archive.

CIFAR-10-C/<corruption>.npy            uint8 [50000, 32, 32, 3], severity after severity, and labels.npy
CIFAR-10-P/<perturbation>.npy          uint8 [10000, T, 32, 32, 3], and labels.npy
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from robustbench_lift.data.cifar import SIDE, position_ids
from robustbench_lift.data.cifar import class_names as known_names
from robustbench_lift.data.decode import Pixels
from robustbench_lift.errors import DataError
from robustbench_lift.text import printable


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
        with file.path.open("rb") as stream:
            end = stream.seek(0, 2) if file.size is None else file.offset + file.size
            stream.seek(file.offset)
            read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(stream)]
            shape, fortran, dtype = read(stream)
            start = stream.tell()
        if dtype.hasobject:
            raise ValueError("it holds Python objects")
        if math.prod(shape) * dtype.itemsize > end - start:
            raise ValueError(f"{shape} of {dtype} need more bytes than the {end - start:,} that there are")
        return np.memmap(file.path, dtype, "r", start, shape, "F" if fortran else "C")
    except OSError as error:
        raise DataError(f"{file.shown} cannot be read: {error.strerror or error}.") from None
    except (ValueError, EOFError, SyntaxError, TypeError, KeyError, MemoryError, OverflowError) as error:
        raise DataError(
            f"{file.shown} is not an .npy file of plain numbers, or cut short ({printable(str(error))}). Get it again."
        ) from None


def open_array(
    file: ArrayFile,
    labels_file: ArrayFile,
    *,
    name: str,
    classes: int,
    severity: int | None,
    frames: int | None = None,
    class_names: Sequence[str] | None = None,
) -> MappedImages:
    """One cell of CIFAR-C (`severity` 1..5) or CIFAR-P (`frames`).

    Raises:
        DataError: another shape, or labels that do not fit; the message says which file.
    """
    array, labels = map_array(file), map_array(labels_file)
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
        if len(labels) == 5 * count:
            if not np.array_equal(labels.reshape(5, count), np.broadcast_to(labels[:count], (5, count))):
                raise DataError(f"{labels_file.shown} does not repeat the same labels for the five severities.")
            labels = labels[:count]
    if labels.shape != (count,) or labels.dtype.kind not in "iu" or int(labels.max()) >= classes or labels.min() < 0:
        raise DataError(
            f"{labels_file.shown}: expected {count:,} labels 0 to {classes - 1}"
            f"{' (or five times as many)' if severity else ''}, found {labels.dtype} {list(labels.shape)}."
        )
    return MappedImages(
        name=name,
        ids=position_ids(count),
        labels=np.array(labels, dtype=np.int64),
        class_names=tuple(class_names or known_names(None, classes)),
        file=file,
        first=first,
    )
