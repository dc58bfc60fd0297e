"""Where the files of an archive are: made once, kept in a cache folder, made anew when the archive changes.

The cache is $ROBUSTBENCH_LIFT_CACHE, else $XDG_CACHE_HOME/robustbench-lift, else ~/.cache/robustbench-lift. An index
holds for one size and modification time of the archive, and is checked against its size when it is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from robustbench_lift.data import tar
from robustbench_lift.errors import DataError, StorageError
from robustbench_lift.files import write_atomic
from robustbench_lift.text import printable

INDEX_VERSION = 1


@dataclass(frozen=True, eq=False)
class TarIndex:
    """All files of an archive, sorted by name."""

    path: Path
    names: tuple[str, ...]
    offsets: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    stamp: tuple[int, int]
    """(size in bytes, modification time in ns) of the archive that was indexed."""


def open_index(path: Path) -> TarIndex:
    """The index of an archive: from the cache when it still holds, made and stored otherwise.

    Raises:
        DataError: no archive, a compressed or damaged one, or one with members that are refused.
    """
    stamp = tar.stamp_of(path)
    cached = cache_file(path)
    with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        found = _load(path, cached.read_bytes(), stamp)
        if found is not None:
            return found
    members = sorted(tar.scan(path))
    for first, second in itertools.pairwise(members):
        if first.name == second.name:
            raise DataError(f"{printable(path)} holds {printable(first.name)} twice; get the archive again.")
    index = TarIndex(
        path,
        tuple(member.name for member in members),
        np.array([member.offset for member in members], dtype=np.int64),
        np.array([member.size for member in members], dtype=np.int64),
        stamp,
    )
    with contextlib.suppress(StorageError):  # a cache that cannot be written costs time, nothing else
        write_atomic(cached, _dump(index))
    return index


def cache_file(path: Path) -> Path:
    """Where the index of an archive is kept."""
    own, shared = os.environ.get("ROBUSTBENCH_LIFT_CACHE"), os.environ.get("XDG_CACHE_HOME")
    folder = Path(own) if own else Path(shared or Path.home() / ".cache") / "robustbench-lift"
    mark = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]
    return folder / "tar-index" / f"{mark}.npz"


def _dump(index: TarIndex) -> bytes:
    names = "\n".join(index.names).encode("utf-8", "surrogateescape")
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        version=np.int64(INDEX_VERSION),
        stamp=np.array(index.stamp, dtype=np.int64),
        names=np.frombuffer(names, dtype=np.uint8),
        offsets=index.offsets,
        sizes=index.sizes,
    )
    return buffer.getvalue()


def _load(path: Path, content: bytes, stamp: tuple[int, int]) -> TarIndex | None:
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        if int(stored["version"]) != INDEX_VERSION or tuple(stored["stamp"].tolist()) != stamp:
            return None
        text = stored["names"].tobytes().decode("utf-8", "surrogateescape")
        offsets, sizes = stored["offsets"], stored["sizes"]
    names = tuple(text.split("\n")) if text else ()
    whole = offsets.shape == sizes.shape == (len(names),) and offsets.dtype == sizes.dtype == np.int64
    if not whole or (len(names) and (int(sizes.min()) < 0 or int((offsets + sizes).max()) > stamp[0])):
        return None
    return TarIndex(path, names, offsets, sizes, stamp)
