"""Images as a protocol takes them, decoded once: what the reading processes read from.

The 75 cells of a generated ImageNet-C show the same images. Their pixels, decoded, resized and cropped, are kept in one
temporary file that all processes map: the first cell fills it, the others copy from it. The file has no name from the
moment it exists, so that nothing stays behind however the process ends, and its space is reserved at once, so that a
full disk is found before the first image. Where there is no room for it, images are decoded for every cell.
"""

from __future__ import annotations

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

from robustbench_lift.data.base import ImageSet, has_maps
from robustbench_lift.data.geometry import Geometry
from robustbench_lift.errors import DataError
from robustbench_lift.protocols.base import EvaluationProtocol
from robustbench_lift.shares import Share
from robustbench_lift.text import printable

ROOM = 2
"""Times the size of the kept pixels that must be free: others write there too."""
_PAGE = 4096


@dataclass(frozen=True, eq=False)
class PreparedImages:
    """Images as a protocol takes them; what the reading processes read from."""

    protocol: EvaluationProtocol
    images: ImageSet
    kept: KeptPixels | None = None
    """Where prepared pixels are kept."""

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        """uint8 [..., 3, h, w], and what the answer is measured by: the label, or the protocol's own `target`."""
        if self.kept is not None:
            pixels = self.kept.get(row)
            if pixels is not None:
                return torch.from_numpy(pixels), torch.as_tensor(self.images.labels[row])
        read = self.images.read(row)
        try:
            prepared = np.ascontiguousarray(self.protocol.prepare(read).swapaxes(-1, -2).swapaxes(-2, -3))
        except DataError as error:  # the geometry does not know whose pixels it has
            raise DataError(f"{printable(self.images.ids[row])}: {error}") from None
        if self.kept is not None:
            self.kept.put(row, prepared)
        tensor = torch.from_numpy(prepared)
        target = getattr(self.protocol, "target", None)
        if target is None:
            return tensor, torch.as_tensor(self.images.labels[row])
        return tensor, torch.as_tensor(target(self.images, row, read.shape[:2]))


class KeptPixels:
    """Pixels by row in a file without a name, written and read by any process.

    A row counts as kept when its checksum is that of its pixels, which also holds while another process writes it.

    >>> kept = KeptPixels.reserve(range(1, 9, 2), (3, 2, 2))
    >>> kept is None or (kept.get(3) is None and kept.put(3, np.ones((3, 2, 2), np.uint8)) and int(kept.get(3).sum()))
    12
    """

    def __init__(self, file: int, rows: range, shape: tuple[int, ...]) -> None:
        self._file, self._rows, self._shape = file, rows, shape
        self._map: mmap.mmap | None = None
        self._owned = True

    @staticmethod
    def size(rows: Sequence[int], shape: tuple[int, ...]) -> int:
        """Bytes of the file.

        >>> KeptPixels.size(range(50_000), (3, 224, 224)) / 1e9
        7.526801408
        """
        return _head(rows) + len(rows) * math.prod(shape)

    @classmethod
    def reserve(cls, rows: range, shape: tuple[int, ...]) -> KeptPixels | None:
        """Room for the pixels of some rows; None where there is none, or the system has no such files.

        Args:
            rows: of the images of this job.
            shape: of one prepared image, uint8 [3, h, w].
        """
        if not (hasattr(os, "posix_fallocate") and Path("/proc/self/fd").is_dir()):
            return None
        size = cls.size(rows, shape)
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
        return cls(file, rows, shape)

    def get(self, row: int) -> npt.NDArray[np.uint8] | None:
        """A copy of the pixels of a row, uint8 [3, h, w]; None where they are not kept (yet)."""
        sums, pixels = self._views(row)
        if not sums[0]:
            return None
        copy: npt.NDArray[np.uint8] = pixels.copy()
        return copy if int(sums[0]) == _checksum(copy) else None

    def put(self, row: int, pixels: npt.NDArray[np.uint8]) -> bool:
        """Keep the pixels of a row; those of another shape are not kept, and False says so."""
        if pixels.shape != self._shape:
            return False
        sums, place = self._views(row)
        place[...] = pixels
        sums[0] = _checksum(pixels)
        return True

    def close(self) -> None:
        """Give the room back; a second time does nothing."""
        self._map = None
        if self._owned:
            os.close(self._file)
            self._owned = False

    def _views(self, row: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint8]]:
        if self._map is None:
            self._map = mmap.mmap(self._file, self.size(self._rows, self._shape))
        place, count = self._rows.index(row), math.prod(self._shape)
        sums = np.frombuffer(self._map, np.uint64, 1, offset=8 * place)
        pixels = np.frombuffer(self._map, np.uint8, count, offset=_head(self._rows) + place * count)
        return sums, pixels.reshape(self._shape)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": f"/proc/{os.getpid()}/fd/{self._file}", "rows": self._rows, "shape": self._shape}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(os.open(state["path"], os.O_RDWR), state["rows"], state["shape"])  # type: ignore[misc]

    def __del__(self) -> None:
        if self.__dict__.get("_owned"):
            self.close()


def _head(rows: Sequence[int]) -> int:
    return -(-8 * len(rows) // _PAGE) * _PAGE


def _checksum(pixels: npt.NDArray[np.uint8]) -> int:
    return zlib.crc32(pixels.data) | 1 << 32  # never 0, which is no row


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

    def _reserve(self, protocol: EvaluationProtocol, images: ImageSet) -> KeptPixels | None:
        rows = range(self._share.index, len(images.ids), self._share.count)
        try:
            shape = tuple(PreparedImages(protocol, images)[rows[0]][0].shape)
        except (DataError, IndexError):
            return None
        kept = KeptPixels.reserve(rows, shape)
        size, where = KeptPixels.size(rows, shape) / 1e9, tempfile.gettempdir()
        if kept is None:
            self._notes.put(
                f"images are decoded again for every cell: {where} has not twice the {size:.2g} GB of their pixels free"
            )
        elif size > 0.1:
            self._notes.put(f"images are decoded once: their pixels, {size:.2g} GB, are kept in {where} until the end")
        return kept

    def said(self) -> Iterator[str]:
        """What is to be said since the last call: that images are kept, or that there is no room."""
        while not self._notes.empty():
            yield self._notes.get()

    def close(self) -> None:
        """Give all room back."""
        for kept in self._kept.values():
            if kept is not None:
                kept.close()


def _alike(protocol: EvaluationProtocol) -> tuple[int, str] | None:
    """What cells have in common whose images can be kept; None where nothing is gained.

    Label maps are read with each image, images in memory need no decoding, and whole images differ in size.
    """
    geometry: Geometry | None = getattr(protocol, "geometry", None)
    if geometry is None or not geometry.side:
        return None
    images = protocol.images(protocol.cells()[0])
    if has_maps(images) or hasattr(images, "content"):
        return None
    return id(images), geometry.text
