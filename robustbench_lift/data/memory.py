"""Images in memory, from arrays or an .npz file; ids are positions.

An .npz is a zip, so that a few bytes can declare any size: headers are read, and compared with what the file can hold,
before an array takes memory.
"""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from robustbench_lift.data.base import Pixels
from robustbench_lift.errors import DataError
from robustbench_lift.text import listed, printable

ARRAY_ERRORS = (
    OSError,
    ValueError,
    EOFError,
    SyntaxError,
    TypeError,
    KeyError,
    AttributeError,
    MemoryError,
    OverflowError,
    RecursionError,
    RuntimeError,
    NotImplementedError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What NumPy and zipfile raise for .npy and .npz files that are damaged, encrypted or something else."""
BOMB_BYTES, BOMB_RATIO = 256 * 2**20, 100
"""An array of an .npz that is larger than this, and so much larger than its compressed bytes, is refused."""

MOST_CLASSES = 1_000_000
"""No set of labels has more; each has a name."""


def position_ids(count: int) -> tuple[str, ...]:
    """Ids of images that have no names: positions, in five digits or as many as the last one needs.

    >>> position_ids(2)
    ('00000', '00001')
    """
    width = max(5, len(str(count - 1)))
    return tuple(f"{k:0{width}d}" for k in range(count))


@dataclass(kw_only=True, eq=False)
class MemoryImages:
    """Images in memory, an `ImageSet`."""

    name: str
    ids: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    images: Pixels
    """uint8 [N, H, W, 3]."""

    def read(self, index: int) -> Pixels:
        """RGB uint8 [H, W, 3]."""
        image: Pixels = self.images[index]
        return image

    def content(self) -> bytes:
        """All pixels, for the fingerprint."""
        return self.images.tobytes()


def array_images(
    images: npt.NDArray[Any], labels: npt.NDArray[Any], *, class_names: Sequence[str], name: str
) -> MemoryImages:
    """Arrays as an image set; ids are positions.

    Args:
        images: uint8 [N, H, W, 3].
        labels: integers [N].
        class_names: in index order.
        name: of the set.

    Raises:
        DataError: shapes, types or labels that do not fit.

    >>> array_images(np.zeros((2, 8, 8, 3), np.uint8), np.array([0, 1]), class_names=("a", "b"), name="two").ids
    ('00000', '00001')
    """
    labels = check_arrays(images, labels, len(class_names), name)
    return MemoryImages(
        name=name, ids=position_ids(len(images)), labels=labels, class_names=tuple(class_names), images=images
    )


def check_arrays(
    images: npt.NDArray[Any], labels: npt.NDArray[Any], classes: int, where: str, *, side: int | None = None
) -> npt.NDArray[np.int64]:
    """The labels as int64 [N], once images and labels are known to fit together.

    Args:
        images: should be uint8 [N, H, W, 3].
        labels: should be integers [N] or [N, 1], 0 to classes - 1.
        classes: number of classes.
        where: what to call the arrays in a message.
        side: the one side that images must have, in pixels.

    Raises:
        DataError: what was found and what was expected.
    """
    height, width = (side, side) if side else ("H", "W")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or not len(images):
        wrong = True
    else:
        wrong = side is not None and images.shape[1:3] != (side, side)
    if wrong:
        raise DataError(
            f"{where}: expected images as uint8 [N, {height}, {width}, 3], found {images.dtype} {list(images.shape)}."
        )
    return check_labels(labels, len(images), classes, where)


def check_labels(labels: npt.NDArray[Any], count: int, classes: int, where: str) -> npt.NDArray[np.int64]:
    """Labels as int64 [count]; a column [count, 1] is taken too, one-hot rows are refused with what to do.

    Raises:
        DataError: another shape or type, or labels beyond the classes.
    """
    found = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if found.dtype.kind not in "iu" or found.shape != (count,):
        one_hot = labels.ndim == 2 and labels.shape == (count, classes)
        hint = " They look one-hot: store labels.argmax(1) instead." if one_hot else ""
        raise DataError(
            f"{where}: expected one integer label an image, found {labels.dtype} {list(labels.shape)} for "
            f"{count:,}.{hint}"
        )
    if count and (int(found.min()) < 0 or int(found.max()) >= classes):
        raise DataError(f"{where}: labels go from {found.min()} to {found.max()}, expected 0 to {classes - 1}.")
    return np.array(found, dtype=np.int64)


def npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """(shape, Fortran order, type) of an .npy file whose first byte is next; never unpickles.

    Raises:
        ValueError: another format, or an array of Python objects (or another of `ARRAY_ERRORS`).
    """
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(stream)]
    shape, fortran, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    return shape, fortran, dtype


def read_npz(path: Path, *choices: tuple[str, ...], optional: Sequence[str] = ()) -> dict[str, npt.NDArray[Any]]:
    """Arrays of an .npz file, by name.

    Args:
        path: the file.
        choices: names of arrays that belong together; the first choice of which all are there is read.
        optional: arrays that are read too if they are there.

    Raises:
        DataError: another file, damaged, without these arrays, or one that declares far more than it holds.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            there = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            names = next((choice for choice in choices if set(choice) <= set(there)), None)
            if names is None:
                expected = ", or ".join(" and ".join(choice) for choice in choices)
                raise DataError(f"{printable(path)} holds {listed(list(there))}; expected the arrays {expected}.")
            wanted = [*names, *(name for name in optional if name in there)]
            held = [info.filename.removesuffix(".npy") for info in archive.infolist()]
            if doubled := [name for name in wanted if held.count(name) > 1]:
                raise DataError(f"{printable(path)} holds {listed(doubled)} twice. Store it again with numpy.savez.")
            for name in wanted:
                info = there[name]
                with archive.open(info) as stream:
                    shape, _, dtype = npy_header(stream)
                size = math.prod(shape) * dtype.itemsize
                if size > info.file_size:
                    raise ValueError(f"{name} of shape {shape} needs more than the {info.file_size:,} bytes it has")
                if size > BOMB_BYTES and size > BOMB_RATIO * info.compress_size:
                    raise DataError(
                        f"{printable(path)}: {name} declares {size:,} bytes and holds {info.compress_size:,}: a "
                        "decompression bomb. Store it with numpy.savez, without compression, if it is meant."
                    )
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in wanted}
    except ARRAY_ERRORS as error:
        raise DataError(f"{printable(path)} is not an .npz of plain arrays ({printable(str(error))}).") from None


def open_npz(path: Path) -> MemoryImages:
    """The arrays of an .npz as an image set: `x` uint8 [N, H, W, 3], `y` integers [N], `class_names` by choice.

    Raises:
        DataError: the file is not an .npz, lacks x or y, or they do not fit together.
    """
    found = read_npz(path, ("x", "y"), optional=("class_names",))
    images, labels = found["x"], found["y"]
    if "class_names" in found:
        names = [printable(str(name)) for name in found["class_names"].reshape(-1)]
    else:
        count = int(labels.max()) + 1 if labels.size and labels.dtype.kind in "iu" else 0
        if count > MOST_CLASSES:
            raise DataError(
                f"{printable(path)}: labels go up to {count - 1:,}; at most {MOST_CLASSES:,} classes are read."
            )
        names = [str(k) for k in range(count)]
    return array_images(images, labels, class_names=names, name=path.stem)
