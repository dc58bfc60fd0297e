"""Plain tar files read in place: every file of an archive by its name, offset and size.

Nothing is ever extracted, and still a name that would leave its folder, a link or a device is refused, by name: such
an archive is not one of the published ones. Sizes that headers declare are checked against the size of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from robustbench_lift.errors import DataError
from robustbench_lift.text import printable

BLOCK = 512
"""Bytes of a tar record."""
HEADER_LIMIT = 1_000_000
"""Largest extended header (long name or pax) that is read, in bytes; names have at most 4,096."""
NAME_LIMIT = 4096
"""Longest name of a member, in bytes."""

_REFUSED = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a named pipe",
    b"S": "a sparse file",
    b"M": "a part of another archive",
}
_COMPRESSED = (
    (b"\x1f\x8b", "gzip", "gzip -d"),
    (b"BZh", "bzip2", "bzip2 -d"),
    (b"\xfd7zXZ", "xz", "xz -d"),
    (b"\x28\xb5\x2f\xfd", "zstd", "zstd -d"),
    (b"PK\x03\x04", "zip", "unzip"),
)


class Member(NamedTuple):
    """One file of an archive."""

    name: str
    """Path inside the archive, without a leading `./`."""
    offset: int
    """Of the content, in bytes from the beginning of the archive."""
    size: int
    """Of the content, in bytes."""


def stamp_of(path: Path) -> tuple[int, int]:
    """(size, modification time) of a file.

    Raises:
        DataError: it is not there.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise DataError(f"{printable(path)} cannot be read: {error.strerror}.") from None
    return found.st_size, found.st_mtime_ns


def scan(path: Path) -> Iterator[Member]:
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
                    "Unpack it once: "
                    f"{command} {printable(path.name)}"
                )
        for member in _members(stream, path, 0, size):
            if member.name.lower().endswith(".tar"):
                folder = member.name[:-4]
                for inner in _members(stream, path, member.offset, member.offset + member.size):
                    yield Member(f"{folder}/{inner.name}", inner.offset, inner.size)
            else:
                yield member


def _members(stream: BinaryIO, path: Path, start: int, end: int) -> Iterator[Member]:
    position, long_name, pax_size, empty = start, None, None, 0
    while position + BLOCK <= end:
        stream.seek(position)
        header = stream.read(BLOCK)
        position += BLOCK
        if not header.strip(b"\0"):
            empty += 1
            if empty == 2:
                return
            continue
        empty = 0
        size, kind, name = _parse(header, path, position - BLOCK)
        if kind == b"0" and pax_size is not None:
            size = pax_size
        if position + size > end:
            raise DataError(
                f"{printable(path)} is cut short: {printable(long_name or name)} should have {size:,} bytes at "
                f"{position:,}, the "
                f"archive ends at {end:,}. Download the rest (most tools resume) or get it again."
            )
        if kind in (b"x", b"g", b"L", b"K"):
            if size > HEADER_LIMIT:
                raise DataError(
                    f"{printable(path)} has an extended header of {size:,} bytes at {position - BLOCK:,}; refused: "
                    "names need "
                    f"less than {HEADER_LIMIT:,}. Get the archive from its publisher."
                )
            content = stream.read(size)
            if kind == b"L":
                long_name = _text(content.split(b"\0", 1)[0])
            elif kind == b"x":
                fields = _pax(content, path)
                if any(key.startswith(b"GNU.sparse") for key in fields):
                    raise _refusal(path, name, "a sparse file")
                long_name = _text(fields[b"path"]) if b"path" in fields else long_name
                pax_size = _pax_size(fields, path)
        else:
            shown = long_name or name
            long_name = pax_size = None
            if kind in _REFUSED:
                raise _refusal(path, shown, _REFUSED[kind])
            if kind not in (b"0", b"5"):
                raise _refusal(path, shown, f"of the unknown kind {kind!r}")
            clean = safe_name(shown, path)
            if kind == b"0" and clean:
                yield Member(clean, position, size)
        position += (size + BLOCK - 1) // BLOCK * BLOCK


def _parse(header: bytes, path: Path, position: int) -> tuple[int, bytes, str]:
    """(size, kind, name) of a header whose checksum holds."""
    try:
        declared = int(header[148:156].strip(b" \0") or b"0", 8)
        size = _number(header[124:136])
    except ValueError:
        declared, size = -1, 0
    if declared != sum(header[:148]) + sum(header[156:]) + 8 * 32 or size < 0:
        raise DataError(
            f"{printable(path)} is not a tar file, or damaged: no valid header at byte {position:,}. Get it again "
            "and compare its md5."
        )
    kind = header[156:157].replace(b"\0", b"0").replace(b"7", b"0")
    name = header[:100].split(b"\0", 1)[0]
    if header[257:263] == b"ustar\0" and header[345]:
        name = header[345:500].split(b"\0", 1)[0] + b"/" + name
    if kind == b"0" and name.endswith(b"/"):
        kind = b"5"
    return (0 if kind == b"5" else size), kind, _text(name)


def _number(field: bytes) -> int:
    if field[0] in (0x80, 0xFF):  # base 256, for files beyond 8 GiB
        return int.from_bytes(field[1:], "big") if field[0] == 0x80 else -1
    return int(field.strip(b" \0") or b"0", 8)


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
        "member; get it from "
        "its publisher and compare its md5."
    )
