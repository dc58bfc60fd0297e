"""Where files are: a folder, or a tar file read in place. Both list folders and hand out the bytes of files."""

from __future__ import annotations

import bisect
import difflib
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from robustbench_lift.data.tar import TarIndex, open_index, stamp_of
from robustbench_lift.errors import DataError
from robustbench_lift.text import listed, printable

FILE_LIMIT = 512 * 2**20
"""Largest image or video file that is read, in bytes; the largest of ImageNet has 16 million."""


class Blobs(Protocol):
    """The bytes of a list of files; reading one needs no other, in any process."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> bytes:
        """The content of a file."""
        ...

    def name(self, index: int) -> str:
        """The file, printable, for messages."""
        ...

    def taken(self, rows: Sequence[int]) -> Blobs:
        """Some of the files, in this order."""
        ...


class Entries(NamedTuple):
    """What lies in one folder, each list sorted; names that are none of the data set's are left out (`hidden`)."""

    folders: list[str]
    files: list[str]
    broken: list[str]
    """Links to nothing, sockets, pipes: neither files nor folders."""
    apple: list[str]
    """AppleDouble files of macOS, `._<name>`."""


class Store(ABC):
    """A tree of folders and files; paths are relative, with slashes, and empty for the top."""

    location: str
    """Where it is, printable, for messages."""

    @abstractmethod
    def entries(self, path: str) -> Entries:
        """What lies in a folder; nothing where there is no such folder."""

    @abstractmethod
    def blobs(self, paths: Sequence[str]) -> Blobs:
        """Files to read, in this order."""

    def identity(self, path: str) -> object:
        """What is equal for two paths of one folder, where links can give it two; None where they cannot."""
        return None

    def folders(self, path: str) -> list[str]:
        """Names of the folders in a folder, sorted, hidden ones left out."""
        return self.entries(path).folders

    def files(self, path: str) -> list[str]:
        """Names of the files in a folder, sorted, hidden ones left out."""
        return self.entries(path).files


def hidden(name: str) -> bool:
    """Whether a name is none of the data set's: dot files, AppleDouble files and folders of macOS and of a NAS.

    >>> [hidden(name) for name in ("._a.JPEG", "__MACOSX", "n01440764")]
    [True, True, False]
    """
    return name.startswith(".") or name in ("__MACOSX", "@eaDir", "lost+found")


def join(*parts: str) -> str:
    """Relative paths put together.

    >>> join("", "fog", "3")
    'fog/3'
    """
    return "/".join(part for part in parts if part)


class FolderStore(Store):
    """A folder. Links are followed: it is the user's own disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.location = printable(root)

    def entries(self, path: str) -> Entries:
        """What lies in a folder."""
        found = Entries([], [], [], [])
        try:
            with os.scandir(self.root / path) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    if hidden(entry.name):
                        if entry.name.startswith("._"):
                            found.apple.append(entry.name)
                    elif entry.is_dir():
                        found.folders.append(entry.name)
                    else:
                        (found.files if entry.is_file() else found.broken).append(entry.name)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise DataError(f"{printable(self.root / path)} cannot be listed: {error.strerror}.") from None
        return found

    def identity(self, path: str) -> object:
        """Device and number of a folder."""
        try:
            found = (self.root / path).stat()
        except OSError as error:
            raise DataError(f"{printable(self.root / path)} cannot be read: {error.strerror}.") from None
        return found.st_dev, found.st_ino

    def blobs(self, paths: Sequence[str]) -> FolderBlobs:
        """Files to read."""
        return FolderBlobs(self.root, tuple(paths))


class FolderBlobs:
    """Files below a folder."""

    def __init__(self, root: Path, paths: tuple[str, ...], prefix: str = "") -> None:
        self.root, self.paths, self.prefix = root, paths, prefix

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> bytes:
        """The content of a file.

        Raises:
            DataError: it is gone, cannot be read, or is larger than any image.
        """
        try:
            with (self.root / self.prefix / self.paths[index]).open("rb") as stream:
                check_size(os.fstat(stream.fileno()).st_size, self.name(index))
                return stream.read()
        except OSError as error:
            raise DataError(f"{self.name(index)} cannot be read: {error.strerror}. It was there when listed.") from None

    def name(self, index: int) -> str:
        """The file, printable."""
        return printable(self.root / self.prefix / self.paths[index])

    def taken(self, rows: Sequence[int]) -> FolderBlobs:
        """Some of the files."""
        return FolderBlobs(self.root, tuple(self.paths[row] for row in rows), self.prefix)


class TarStore(Store):
    """A tar file, or a folder in one."""

    def __init__(self, path: Path, top: str = "") -> None:
        """Index an archive; paths are relative to `top`."""
        self.index: TarIndex = open_index(path)
        self.top = top
        self.location = join(printable(path), printable(top))

    def entries(self, path: str) -> Entries:
        """What lies in a folder."""
        names = self.index.names
        inner = join(self.top, path)
        prefix = f"{inner}/" if inner else ""
        found, folders = Entries([], [], [], []), set()
        position = bisect.bisect_left(names, prefix)
        while position < len(names) and names[position].startswith(prefix):
            name, slash, _ = names[position][len(prefix) :].partition("/")
            if not hidden(name):
                folders.add(name) if slash else found.files.append(name)
            elif name.startswith("._"):
                found.apple.append(name)
            # a folder's files are one after the other: jump over them ('0' follows '/')
            position = bisect.bisect_left(names, f"{prefix}{name}0", position) if slash else position + 1
        found.folders.extend(sorted(folders))
        return found

    def blobs(self, paths: Sequence[str]) -> TarBlobs:
        """Files to read."""
        whole = [join(self.top, path) for path in paths]
        rows = np.array([bisect.bisect_left(self.index.names, path) for path in whole], dtype=np.int64)
        return TarBlobs(self.index, rows)


class TarBlobs:
    """Members of a tar file, read at their offsets; it holds what it needs of the index and travels to workers."""

    def __init__(self, index: TarIndex, rows: npt.NDArray[np.int64]) -> None:
        self.path, self.stamp = index.path, index.stamp
        self.offsets, self.sizes = index.offsets[rows], index.sizes[rows]
        self.names = tuple(index.names[row] for row in rows)
        self._open()

    def _open(self) -> None:
        self._lock = threading.Lock()
        self._descriptor: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_lock", "_descriptor")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def __del__(self) -> None:
        descriptor = getattr(self, "_descriptor", None)
        if descriptor is not None:
            os.close(descriptor)

    def __len__(self) -> int:
        return len(self.offsets)

    def read(self, index: int) -> bytes:
        """The content of a member; safe from any thread.

        Raises:
            DataError: the archive has changed, ends too early, or the member is larger than any image.
        """
        with self._lock:
            if self._descriptor is None:
                if stamp_of(self.path) != self.stamp:
                    raise DataError(f"{printable(self.path)} has changed since the run began. Start the run again.")
                self._descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        size = int(self.sizes[index])
        check_size(size, self.name(index))
        content = os.pread(self._descriptor, size, int(self.offsets[index]))
        if len(content) != size:
            raise DataError(f"{self.name(index)} ends after {len(content):,} of {size:,} bytes. Get the archive again.")
        return content

    def taken(self, rows: Sequence[int]) -> TarBlobs:
        """Some of the members."""
        some = object.__new__(TarBlobs)
        some.__setstate__(
            {
                **self.__getstate__(),
                "offsets": self.offsets[list(rows)],
                "sizes": self.sizes[list(rows)],
                "names": tuple(self.names[row] for row in rows),
            }
        )
        return some

    def name(self, index: int) -> str:
        """Archive and member, printable."""
        return f"{printable(self.path)}:{printable(self.names[index])}"


def check_size(size: int, name: str) -> None:
    """Refuse a file that no data set has, before it takes memory."""
    if size > FILE_LIMIT:
        raise DataError(
            f"{name} has {size:,} bytes, more than the {FILE_LIMIT:,} that are read of one image or video. Remove or "
            "replace it."
        )


def open_store(path: Path) -> Store:
    """A folder, a tar file, or a folder in a tar file (`images.tar/val`).

    Raises:
        DataError: none of them is there.
    """
    if path.is_dir():
        return FolderStore(path)
    archive = next((place for place in (path, *path.parents) if place.is_file()), None)
    if archive is not None:
        store = TarStore(archive, path.relative_to(archive).as_posix().removeprefix("."))
        if archive != path and not any(store.entries("")):
            there = TarStore(archive).folders("")
            raise DataError(
                f"{printable(archive)} has no folder {printable(store.top)}; it holds {listed(there) or 'no folders'}."
            )
        return store
    hint = ""
    if path.parent.is_dir():
        near = difflib.get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=3)
        hint = f" In {printable(path.parent)} there is {', '.join(map(printable, near))}." if near else ""
    raise DataError(f"{printable(path)} does not exist.{hint} Name a folder or a plain .tar file.")
