"""Small files, safely: written whole or not at all, and read only when they are ordinary files and not huge."""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import filelock

from robustbench_lift.errors import DataError, StorageError

try:
    import fcntl
except ImportError:  # Windows: what a killed process leaves behind stays there
    fcntl = None  # type: ignore[assignment]

TEXT_LIMIT = 32 << 20
"""Largest file of text that is read, in bytes; ours have some thousands."""
ATTEMPTS = 5
"""How often a temporary file is made anew when somebody took it for a dead writer's."""


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: to a temporary name of its own beside it, then renamed.

    Any number of processes, on any number of machines, may write one file at a time: one of them wins. What a killed
    writer of the same file left behind is removed. A file that holds this content already stays as it is, so that a
    folder where nothing changes may be read-only. A device, a pipe, or a link of /dev such as /dev/stdout is written
    into and stays what it is.

    Raises:
        StorageError: the folder is read-only, the disk is full, a parent is a file.
    """
    try:
        if _is_stream(path):
            _pour(path, content)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        if _holds(path, content):
            return
        for attempt in range(ATTEMPTS):
            try:
                _write(path, content)
                break
            except FileNotFoundError:
                if attempt == ATTEMPTS - 1:
                    raise
        _sync_folder(path.parent)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}. Choose a folder that can be written and has room; "
            "what is already stored is kept, and the same command goes on from there."
        ) from None


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.stat().st_size == len(content) and read_bytes(path, limit=len(content)) == content
    except OSError:
        return False


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")
    with temporary.open("xb") as stream:  # never through a link that somebody placed there
        try:
            _lock(stream)  # until it is closed, which is after the rename: shows that its writer lives
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is the one to tell
                temporary.unlink(missing_ok=True)
            raise


def _is_stream(path: Path) -> bool:
    """Whether content goes into what is there: /dev/null, a named pipe, /dev/stdout, the /dev/fd/63 of `>(command)`."""
    try:
        kind = path.lstat().st_mode
    except OSError:
        return False
    links = ("/dev", "/dev/fd", "/proc/self/fd")
    return not (stat.S_ISREG(kind) or stat.S_ISDIR(kind) or stat.S_ISLNK(kind)) or (
        stat.S_ISLNK(kind) and os.fspath(path.parent) in links
    )


def _pour(path: Path, content: bytes) -> None:
    """Write into a device or a pipe; a pipe that nobody reads is an error, not waited for."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_NONBLOCK", 0))
    try:
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISBLK(kind):
            raise OSError(errno.EINVAL, "it is a disk, no file")
        os.set_blocking(descriptor, True)
        with os.fdopen(descriptor, "wb", closefd=False) as stream:
            stream.write(content)
    finally:
        os.close(descriptor)


def _lock(stream: BinaryIO) -> bool:
    """Whether this process has the file's lock now; False where another one has it, or where nothing can be locked."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (OSError, AttributeError):
        return False
    return True


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files of this file whose writers are dead: nobody holds their locks."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        with contextlib.suppress(OSError), leftover.open("r+b") as stream:
            if _lock(stream):
                leftover.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power loss, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_bytes(path: Path, *, limit: int) -> bytes:
    """The content of an ordinary file of limited size; nothing is read of another one.

    Raises:
        OSError: it cannot be opened, or is a pipe, a device or a folder.
        DataError: it is larger than `limit` bytes.

    >>> len(read_bytes(Path(__file__), limit=1 << 20)) > 1000
    True
    """
    # a pipe would otherwise block until somebody writes to it
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is not an ordinary file", str(path))
        if found.st_size > limit:
            raise DataError(f"{path} has {found.st_size:,} bytes, more than the {limit:,} that are read")
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            content = stream.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise DataError(f"{path} grows while it is read")
    return content


def read_json(path: Path, *, limit: int = TEXT_LIMIT) -> Any:
    """The content of a JSON file; NaN and infinity, which JSON does not know, are refused.

    Raises:
        OSError: it cannot be opened, or is no ordinary file.
        DataError: it is too large, or no JSON; the message says what was found.
    """
    content = read_bytes(path, limit=limit)

    def refuse(name: str) -> None:
        raise DataError(f"{name} is no number")

    try:
        return json.loads(content.decode("utf-8"), parse_constant=refuse)
    except RecursionError:
        raise DataError("nested too deeply") from None
    except ValueError as error:  # no UTF-8, no JSON, a number of thousands of digits
        raise DataError(str(error)[:200]) from None


@contextlib.contextmanager
def folder_lock(folder: Path, name: str, *, timeout: float = 120.0) -> Iterator[None]:
    """Held by one process at a time, on any machine that shares the folder; released when a process dies.

    Raises:
        StorageError: another process holds it for too long, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / name, timeout=timeout)
        lock.acquire()
    except filelock.Timeout:
        raise StorageError(
            f"another process has held {folder / name} for {timeout:g} seconds. Wait for it, or end it, and run the "
            "same command again."
        ) from None
    except (OSError, NotImplementedError) as error:
        raise StorageError(
            f"cannot write {folder}: {getattr(error, 'strerror', None) or error}. Choose a folder that can be written "
            "and has room; what is already stored is kept, and the same command goes on from there."
        ) from None
    try:
        yield
    finally:
        lock.release()
