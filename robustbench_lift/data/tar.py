"""Plain tar files read in place: every file of an archive by its name, offset and size, found once and cached.

Nothing is ever extracted, and still a name that would leave its folder, a link or a device is refused, by name: such
an archive is not one of the published ones. Header blocks are parsed by `tarfile`; the walk over them is ours, because
`tarfile` takes a damaged header for the end of the archive, skips what it cannot parse in an extended header, and reads
one of any declared size into memory.

The cache is $ROBUSTBENCH_LIFT_CACHE, else $XDG_CACHE_HOME/robustbench-lift, else ~/.cache/robustbench-lift. An index
holds for one size and modification time of the archive, and is checked against its size when it is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from robustbench_lift.errors import DataError, StorageError
from robustbench_lift.files import write_atomic
from robustbench_lift.text import printable

BLOCK = tarfile.BLOCKSIZE
"""Bytes of a tar record."""
HEADER_LIMIT = 1_000_000
"""Largest extended header (long name or pax) that is read, in bytes."""
NAME_LIMIT = 4096
"""Longest name of a member, in bytes."""
INDEX_VERSION = 2
"""Of the cached file."""

_REFUSED = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a named pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
    b"M": "a part of another archive",
}
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_EXTENDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_COMPRESSED = (
    (b"\x1f\x8b", "gzip", "gzip -d"),
    (b"BZh", "bzip2", "bzip2 -d"),
    (b"\xfd7zXZ", "xz", "xz -d"),
    (b"\x28\xb5\x2f\xfd", "zstd", "zstd -d"),
    (b"PK\x03\x04", "zip", "unzip"),
)


class TarMember(NamedTuple):
    """One file of an archive."""

    name: str
    """Path inside the archive, without a leading `./`."""
    offset: int
    """Of the content, in bytes from the beginning of the archive."""
    size: int
    """Of the content, in bytes."""


@dataclass(frozen=True, eq=False)
class TarIndex:
    """All files of an archive, sorted by name."""

    path: Path
    names: tuple[str, ...]
    offsets: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    stamp: tuple[int, int]
    """(size in bytes, modification time in ns) of the archive that was indexed."""


def stamp_of(path: Path) -> tuple[int, int]:
    """(size in bytes, modification time in ns) of a file.

    Raises:
        DataError: it is not there.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise DataError(f"{printable(path)} cannot be read: {error.strerror}.") from None
    return found.st_size, found.st_mtime_ns


def open_index(path: Path) -> TarIndex:
    """The index of an archive: from the cache when it still holds, made and stored otherwise.

    Raises:
        DataError: no archive, a compressed or damaged one, or one with members that are refused.
    """
    stamp = stamp_of(path)
    cached = cache_file(path)
    with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        found = _load(path, cached.read_bytes(), stamp)
        if found is not None:
            return found
    members = sorted(scan(path))
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
    return folder / "tar-index" / f"{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]}.npz"


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


def scan(path: Path) -> Iterator[TarMember]:
    """All files of an archive in its order; archives inside it (ImageNet's train) are looked into, one level deep.

    A file of the inner archive `n01440764.tar` is named `n01440764/<its name>`.

    Raises:
        DataError: no archive, a compressed or damaged one, or one with members that are refused.
    """
    size, _ = stamp_of(path)
    with path.open("rb") as stream:
        head = stream.read(BLOCK)
        for magic, kind, command in _COMPRESSED:
            if head.startswith(magic):
                raise DataError(
                    f"{printable(path)} is compressed ({kind}), so that a file in the middle cannot be reached. "
                    f"Unpack it once: {command} {printable(path.name)}"
                )
        for member in _members(stream, path, 0, size):
            if member.name.lower().endswith(".tar"):
                folder = member.name[:-4]
                for inner in _members(stream, path, member.offset, member.offset + member.size):
                    yield TarMember(f"{folder}/{inner.name}", inner.offset, inner.size)
            else:
                yield member


def _members(stream: BinaryIO, path: Path, start: int, end: int) -> Iterator[TarMember]:
    """The files of an archive that begins and ends at these bytes."""
    position, long_name, pax_size, empty = start, None, None, 0
    while position + BLOCK <= end:
        stream.seek(position)
        block = stream.read(BLOCK)
        position += BLOCK
        if not block.strip(b"\0"):
            empty += 1
            if empty == 2:
                return
            continue
        empty = 0
        header = _header(block, path, position - BLOCK)
        size = header.size
        if header.type in _FILES and pax_size is not None:
            size = pax_size
        folder = header.isdir() or (header.type in _FILES and header.name.endswith("/"))
        if folder:
            size = 0
        if position + size > end:
            raise DataError(
                f"{printable(path)} is cut short: {printable(long_name or header.name)} should have {size:,} bytes at "
                f"{position:,}, the archive ends at {end:,}. Download the rest (most tools resume) or get it again."
            )
        if header.type in _EXTENDED:
            if size > HEADER_LIMIT:
                raise DataError(
                    f"{printable(path)} has an extended header of {size:,} bytes at {position - BLOCK:,}; refused: "
                    f"names need less than {HEADER_LIMIT:,}. Get the archive from its publisher."
                )
            content = stream.read(size)
            if header.type == tarfile.GNUTYPE_LONGNAME:
                long_name = _text(content.split(b"\0", 1)[0])
            elif header.type == tarfile.XHDTYPE:
                fields = _pax(content, path)
                if any(key.startswith(b"GNU.sparse") for key in fields):
                    raise _refusal(path, header.name, "a sparse file")
                long_name = _text(fields[b"path"]) if b"path" in fields else long_name
                pax_size = _pax_size(fields, path)
        else:
            name = long_name or header.name
            long_name = pax_size = None
            if header.type in _REFUSED:
                raise _refusal(path, name, _REFUSED[header.type])
            if header.type not in _FILES and not folder:
                raise _refusal(path, name, f"of the unknown kind {header.type!r}")
            clean = safe_name(name, path)
            if clean and not folder:
                yield TarMember(clean, position, size)
        position += (size + BLOCK - 1) // BLOCK * BLOCK
    if not empty:  # two empty blocks end an archive; without one it may have been cut between two files
        where = "within a block" if position != end else "without the empty blocks that end an archive"
        raise DataError(
            f"{printable(path)} is cut short: it ends at byte {end:,}, {where}. Download the rest (most tools resume) "
            "or get it again."
        )


def _header(block: bytes, path: Path, position: int) -> tarfile.TarInfo:
    """A header whose checksum holds."""
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        size = header.size
    except (tarfile.HeaderError, ValueError):
        size = -1
    if size < 0:
        raise DataError(
            f"{printable(path)} is not a tar file, or damaged: no valid header at byte {position:,}. Get it again "
            "and compare its md5."
        )
    if block[257:263] != b"ustar\0":  # other formats have other things where POSIX has the prefix of a long name
        header.name = _text(block[:100].split(b"\0", 1)[0])
    return header


def _pax(content: bytes, path: Path) -> dict[bytes, bytes]:
    """`<length> <key>=<value>\\n` records."""
    fields: dict[bytes, bytes] = {}
    rest = content
    while rest.strip(b"\0"):
        length, _, _ = rest.partition(b" ")
        if not length.isdigit() or len(length) > 7 or not len(length) + 2 < int(length) <= len(rest):
            raise DataError(f"{printable(path)} has a damaged extended header. Get it again and compare its md5.")
        key, _, value = rest[len(length) + 1 : int(length)].removesuffix(b"\n").partition(b"=")
        fields[key], rest = value, rest[int(length) :]
    return fields


def _pax_size(fields: dict[bytes, bytes], path: Path) -> int | None:
    value = fields.get(b"size")
    if value is None:
        return None
    if not value.isdigit() or len(value) > 15:
        raise DataError(f"{printable(path)} declares the size {printable(value)} for a member. Get it again.")
    return int(value)


def _text(name: bytes) -> str:
    return name[: NAME_LIMIT + 1].decode("utf-8", "surrogateescape")


def safe_name(name: str, path: Path) -> str:
    """The name of a member without `./`; empty for the top folder itself.

    Raises:
        DataError: the name is absolute, climbs with `..`, or holds control characters.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\\" in name or (len(name) > 1 and name[1] == ":"):
        raise _refusal(path, name, "a path that leads out of the archive's folder")
    if len(name) > NAME_LIMIT or any(ord(c) < 32 or ord(c) == 127 for c in name):
        raise _refusal(path, name, "a name with control characters, or of more than 4,096 bytes")
    return "/".join(parts)


def _refusal(path: Path, name: str, what: str) -> DataError:
    return DataError(
        f"{printable(path)} holds {printable(name)}, {what}: refused. None of the published archives has such a "
        "member; get it from its publisher and compare its md5."
    )
