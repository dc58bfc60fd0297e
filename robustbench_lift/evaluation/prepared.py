"""Images as a protocol takes them, decoded once: what the reading processes read from.

The 75 cells of a generated ImageNet-C show the same images. Their pixels, decoded, resized and cropped, are kept in one
temporary file that all processes map, and label maps with them: the first cell fills it, the others copy from it. The
file has no name from the moment it exists, so that nothing stays behind however the process ends, and its space is
reserved at once, so that a full disk is found before the first image. Where there is no room for it, images are decoded
for every cell.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import queue
import shutil
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from robustbench_lift.data.base import ImageSet
from robustbench_lift.data.geometry import Geometry
from robustbench_lift.errors import DataError
from robustbench_lift.protocols.base import EvaluationProtocol
from robustbench_lift.shares import Share
from robustbench_lift.text import printable

ROOM = 2
"""Times the size of the kept pixels that must be free: others write there too."""
LOOKED_AT = 8
"""Images whose sizes are looked at where a geometry leaves them as they are; larger ones are decoded for every cell."""
_PAGE = 4096
_PARTS, _DIMENSIONS = 2, 4
"""Arrays of a row, pixels and label maps, and dimensions that each may have."""
_HEAD = 1 + _PARTS * _DIMENSIONS
"""Numbers before the arrays of a row: their checksum and their shapes, 0 where there is none."""


@dataclass(frozen=True, eq=False)
class PreparedImages:
    """Images as a protocol takes them; what the reading processes read from."""

    protocol: EvaluationProtocol
    images: ImageSet
    kept: KeptPixels | None = None
    """Where prepared pixels are kept."""

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        """uint8 [..., 3, h, w], and what the answer is measured by: the label, or the protocol's own `target`."""
        pixels, *rest = (None if self.kept is None else self.kept.get(row)) or self.read(row)
        # a label needs no room: it is in memory
        return torch.from_numpy(pixels), torch.as_tensor(rest[0] if rest else self.images.labels[row])

    def read(self, row: int) -> list[npt.NDArray[Any]]:
        """Pixels and, where answers are measured by something else than the label, that: read and kept."""
        read = self.images.read(row)
        try:
            found = [np.ascontiguousarray(self.protocol.prepare(read).swapaxes(-1, -2).swapaxes(-2, -3))]
        except DataError as error:  # the geometry does not know whose pixels it has
            raise DataError(f"{printable(self.images.ids[row])}: {error}") from None
        target = getattr(self.protocol, "target", None)
        if target is not None and (measured := target(self.images, row, read.shape[:2])).ndim:
            found.append(measured)
        if self.kept is not None:
            self.kept.put(row, found)
        return found


class KeptPixels:
    """Arrays by row in a file without a name, written and read by any process.

    A row counts as kept when its checksum is that of its arrays, which also holds while another process writes it.

    >>> kept = KeptPixels.reserve(range(1, 9, 2), room=12)
    >>> pixels = np.ones((3, 2, 2), np.uint8)
    >>> kept is None or (kept.get(3) is None and kept.put(3, [pixels]) and np.array_equal(kept.get(3), [pixels]))
    True
    """

    def __init__(self, file: int, rows: range, room: int) -> None:
        self._file, self._rows, self._room = file, rows, room
        self._map: mmap.mmap | None = None
        self._owned = True

    @staticmethod
    def size(rows: Sequence[int], room: int) -> int:
        """Bytes of the file.

        >>> KeptPixels.size(range(50_000), 3 * 224 * 224) / 1e9
        7.530000384
        """
        return _heads(rows) + len(rows) * room

    @classmethod
    def reserve(cls, rows: range, room: int) -> KeptPixels | None:
        """Room for the pixels of some rows; None where there is none, or the system has no such files.

        Args:
            rows: of the images of this job.
            room: bytes for the arrays of one image.
        """
        if not (hasattr(os, "posix_fallocate") and Path("/proc/self/fd").is_dir()):
            return None
        size = cls.size(rows, room)
        try:
            folder = tempfile.gettempdir()
            if shutil.disk_usage(folder).free < ROOM * size:
                return None
            with tempfile.TemporaryFile() as unnamed:
                file = os.dup(unnamed.fileno())
        except OSError:
            return None
        try:
            os.posix_fallocate(file, 0, size)
        except OSError:
            os.close(file)
            return None
        return cls(file, rows, room)

    def get(self, row: int) -> list[npt.NDArray[np.uint8]] | None:
        """A copy of the arrays of a row; None where they are not kept (yet)."""
        shared, place = self._views(row)
        head = shared.copy()  # another process may be writing it
        shapes = [[n for n in one if n] for one in head[1:].reshape(_PARTS, -1).tolist() if any(one)]
        sizes = [math.prod(shape) for shape in shapes]
        if not head[0] or sum(sizes) > self._room:
            return None
        copy = place[: sum(sizes)].copy()
        if int(head[0]) != _checksum(head[1:], copy):
            return None
        parts = np.split(copy, np.cumsum(sizes)[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    def put(self, row: int, arrays: Sequence[npt.NDArray[np.uint8]]) -> bool:
        """Keep the arrays of a row; those that need more room are not kept, and False says so."""
        if sum(array.size for array in arrays) > self._room or any(array.dtype != np.uint8 for array in arrays):
            return False
        head, place = self._views(row)
        whole = np.concatenate([array.ravel() for array in arrays])
        shapes = np.zeros((_PARTS, _DIMENSIONS), np.uint64)
        for shape, array in zip(shapes[: len(arrays)], arrays, strict=True):
            shape[: array.ndim] = array.shape
        place[: len(whole)] = whole
        head[1:] = shapes.ravel()
        head[0] = _checksum(shapes, whole)
        return True

    def close(self) -> None:
        """Give the room back; a second time does nothing."""
        self._map = None
        if self._owned:
            os.close(self._file)
            self._owned = False

    def _views(self, row: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint8]]:
        if self._map is None:
            self._map = mmap.mmap(self._file, self.size(self._rows, self._room))
        place = self._rows.index(row)
        head = np.frombuffer(self._map, np.uint64, _HEAD, offset=8 * _HEAD * place)
        return head, np.frombuffer(self._map, np.uint8, self._room, offset=_heads(self._rows) + place * self._room)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": f"/proc/{os.getpid()}/fd/{self._file}", "rows": self._rows, "room": self._room}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(os.open(state["path"], os.O_RDWR), state["rows"], state["room"])  # type: ignore[misc]

    def __del__(self) -> None:
        if self.__dict__.get("_owned"):
            self.close()


def _heads(rows: Sequence[int]) -> int:
    return -(-8 * _HEAD * len(rows) // _PAGE) * _PAGE


def _checksum(shapes: npt.NDArray[np.uint64], pixels: npt.NDArray[np.uint8]) -> int:
    return zlib.crc32(pixels.data, zlib.crc32(shapes.tobytes())) | 1 << 32  # never 0, which is no row


class KeptImages:
    """The kept pixels of an evaluation: one file for images that several cells show alike, whatever their protocol."""

    def __init__(self, protocols: Iterable[EvaluationProtocol], share: Share) -> None:
        """Nothing is reserved before the images of a cell are read.

        Args:
            protocols: one entry a cell that is to be shown.
            share: of the images that this job reads.
        """
        self._share = share
        self._cells = Counter(key for one in protocols if (key := _alike(one)) is not None)
        self._kept: dict[tuple[int, str], KeptPixels | None] = {}
        self._notes: queue.SimpleQueue[str] = queue.SimpleQueue()  # filled by the thread that reads

    def shared(self, protocol: EvaluationProtocol) -> tuple[int, str] | None:
        """What names the images of a protocol, the same for protocols that show them alike; None if shown once."""
        key = _alike(protocol)
        return None if key is None or self._cells[key] < 2 else key

    def of(self, protocol: EvaluationProtocol, images: ImageSet) -> KeptPixels | None:
        """Where the pixels of these images are kept; None where each is shown once or there is no room."""
        key = self.shared(protocol)
        if key is None or key[0] != id(images):
            return None
        if key not in self._kept:
            self._kept[key] = self._reserve(protocol, images)
        return self._kept[key]

    def size(self, protocol: EvaluationProtocol) -> int | None:
        """Bytes of the file that keeps the pixels of a protocol's images; None where it keeps none."""
        if self.shared(protocol) is None:
            return None
        images = protocol.images(protocol.cells()[0])
        rows = self._rows(images)
        room = _room(protocol, images, rows)
        return KeptPixels.size(rows, room) if room else None

    def _rows(self, images: ImageSet) -> range:
        return range(self._share.index, len(images.ids), self._share.count)

    def _reserve(self, protocol: EvaluationProtocol, images: ImageSet) -> KeptPixels | None:
        rows = self._rows(images)
        room = _room(protocol, images, rows)
        if not room:
            return None
        kept = KeptPixels.reserve(rows, room)
        size, where = KeptPixels.size(rows, room) / 1e9, tempfile.gettempdir()
        if kept is None:
            self._notes.put(
                f"images are decoded again for every cell: {where} has not twice the {size:.2g} GB of their pixels free"
            )
        elif size > 0.1:
            self._notes.put(f"images are decoded once: their pixels, {size:.2g} GB, are kept in {where} until the end")
        return kept

    def notes(self) -> Iterator[str]:
        """What is to be said since the last call: that images are kept, or that there is no room."""
        while not self._notes.empty():
            yield self._notes.get()

    def close(self) -> None:
        """Give all room back."""
        for kept in self._kept.values():
            if kept is not None:
                kept.close()


def _room(protocol: EvaluationProtocol, images: ImageSet, rows: range) -> int:
    """Bytes that the arrays of one image need; 0 where none can be read."""
    samples, side = PreparedImages(protocol, images), protocol.geometry.side  # type: ignore[attr-defined]
    room = 0
    for row in rows[:: -(-len(rows) // LOOKED_AT)]:
        with contextlib.suppress(DataError):  # named when it is its turn
            arrays = samples.read(row)
            room = max(room, sum(array.nbytes for array in arrays))
            if arrays[0].shape[-2:] == (side, side):  # as all others
                break
    return room


def _alike(protocol: EvaluationProtocol) -> tuple[int, str] | None:
    """What cells have in common whose images can be kept; None where nothing is gained.

    Images in memory need no decoding.
    """
    geometry: Geometry | None = getattr(protocol, "geometry", None)
    if geometry is None:
        return None
    images = protocol.images(protocol.cells()[0])
    return None if hasattr(images, "content") else (id(images), geometry.text)
