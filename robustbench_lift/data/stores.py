"""Where files are: a folder, or a tar file read in place. Both list folders and hand out the bytes of files."""

from __future__ import annotations

import bisect
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from robustbench_lift.data.tar import stamp_of
from robustbench_lift.data.tar_index import TarIndex, open_index
from robustbench_lift.errors import DataError
from robustbench_lift.text import printable, some


class Blobs(Protocol):
    """The bytes of a list of files; reading one needs no other, in any process."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> bytes:
        """The content of a file."""
        ...

    def name(self, index: int) -> str:
        """The file, printable, for messages."""
        ...


class Store(Protocol):
    """A tree of folders and files; paths are relative, with slashes, and empty for the top."""

    location: str
    """Where it is, printable, for messages."""

    def folders(self, path: str) -> list[str]:
        """Names of the folders in a folder, sorted, hidden ones left out."""
        ...

    def files(self, path: str) -> list[str]:
        """Names of the files in a folder, sorted, hidden ones left out."""
        ...

    def blobs(self, paths: Sequence[str]) -> Blobs:
        """Files to read, in this order."""
        ...


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


class FolderStore:
    """A folder. Links are followed: it is the user's own disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.location = printable(root)

    def _list(self, path: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.root / path) as entries:
                return sorted((e for e in entries if not hidden(e.name)), key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise DataError(f"{printable(self.root / path)} cannot be listed: {error.strerror}.") from None

    def folders(self, path: str) -> list[str]:
        """Names of the folders in a folder."""
        return [entry.name for entry in self._list(path) if entry.is_dir()]

    def files(self, path: str) -> list[str]:
        """Names of the files in a folder."""
        return [entry.name for entry in self._list(path) if entry.is_file()]

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
        """The content of a file."""
        try:
            return (self.root / self.prefix / self.paths[index]).read_bytes()
        except OSError as error:
            raise DataError(f"{self.name(index)} cannot be read: {error.strerror}. It was there when listed.") from None

    def name(self, index: int) -> str:
        """The file, printable."""
        return printable(self.root / self.prefix / self.paths[index])


class TarStore:
    """A tar file, or a folder in one."""

    def __init__(self, path: Path, top: str = "") -> None:
        """Index an archive; paths are relative to `top`."""
        self.index: TarIndex = open_index(path)
        self.top = top
        self.location = join(printable(path), printable(top))

    def _children(self, path: str, *, folders: bool) -> list[str]:
        names = self.index.names
        inner = join(self.top, path)
        prefix = f"{inner}/" if inner else ""
        position, found = bisect.bisect_left(names, prefix), []
        while position < len(names) and names[position].startswith(prefix):
            name, slash, _ = names[position][len(prefix) :].partition("/")
            if folders == bool(slash) and not hidden(name):
                found.append(name)
            # a folder's files are one after the other: jump over them ('0' follows '/')
            position = bisect.bisect_left(names, f"{prefix}{name}0", position) if slash else position + 1
        return found if not folders else sorted(set(found))

    def folders(self, path: str) -> list[str]:
        """Names of the folders in a folder."""
        return self._children(path, folders=True)

    def files(self, path: str) -> list[str]:
        """Names of the files in a folder."""
        return self._children(path, folders=False)

    def blobs(self, paths: Sequence[str]) -> TarBlobs:
        """Files to read."""
        whole = [join(self.top, path) for path in paths]
        rows = np.array([bisect.bisect_left(self.index.names, path) for path in whole], dtype=np.int64)
        return TarBlobs(self.index, rows)


class TarBlobs:
    """Members of a tar file, read at their offsets; it holds what it needs of the index and travels to workers."""

    def __init__(self, index: TarIndex, rows: np.ndarray[Any, np.dtype[np.int64]]) -> None:
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
        """The content of a member; safe from any thread."""
        with self._lock:
            if self._descriptor is None:
                if stamp_of(self.path) != self.stamp:
                    raise DataError(f"{printable(self.path)} has changed since the run began. Start the run again.")
                self._descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        size = int(self.sizes[index])
        content = os.pread(self._descriptor, size, int(self.offsets[index]))
        if len(content) != size:
            raise DataError(f"{self.name(index)} ends after {len(content):,} of {size:,} bytes. Get the archive again.")
        return content

    def name(self, index: int) -> str:
        """Archive and member, printable."""
        return f"{printable(self.path)}:{printable(self.names[index])}"


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
        if archive != path and not store.folders("") and not store.files(""):
            there = TarStore(archive).folders("")
            raise DataError(
                f"{printable(archive)} has no folder {printable(store.top)}; it holds {some(there) or 'no folders'}."
            )
        return store
    parent = path.parent
    hint = ""
    if parent.is_dir():
        import difflib

        near = difflib.get_close_matches(path.name, os.listdir(parent), n=3)  # noqa: PTH208 - names only
        hint = f" In {printable(parent)} there is {', '.join(map(printable, near))}." if near else ""
    raise DataError(f"{printable(path)} does not exist.{hint} Name a folder or a plain .tar file.")
