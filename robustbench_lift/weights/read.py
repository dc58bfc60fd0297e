"""Weight files, looked at before they are read: nothing in them is ever executed.

The first bytes decide what a file is. Sizes that a file declares are checked against the size that it has, so that a
small file cannot ask for a large memory. Pickles are read by torch's weights-only unpickler and by nothing else.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import io
import json
import pickletools
import re
import stat
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from robustbench_lift.errors import CheckpointError

HEADER_LIMIT = 25_000_000
"""Largest header of a .safetensors file that is read, in bytes; a network of 10,000 tensors needs about 2 MB."""
PICKLE_LIMIT = 100_000_000
"""Largest structure (the tensors' data not counted) of a torch file, in bytes; a ResNet with optimiser needs 0.1 MB."""
LEGACY_MAGIC = bytes.fromhex("6cfc9c46f9206aa85019")
"""Little-endian 0x1950a86a20f9469cfc6c, with which torch.save began before it wrote zip archives."""

_WRONG = (
    (b"version https://git-lfs", "a git-lfs pointer, not the weights themselves; run `git lfs pull`"),
    (b"\x1f\x8b", "compressed with gzip; unpack it first"),
    (b"BZh", "compressed with bzip2; unpack it first"),
    (b"\xfd7zXZ", "compressed with xz; unpack it first"),
    (b"\x89HDF", "an HDF5 file (Keras); only PyTorch weights are read"),
    (b"\x93NUMPY", "a NumPy array; only PyTorch weights are read"),
    (b"GGUF", "a GGUF file; only PyTorch weights are read"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class RawWeights:
    """What a file holds, before anyone asks which part of it is the model."""

    path: Path
    sha256: str
    """Of the bytes that were read."""
    content: Any
    """Tensors, containers and plain values."""
    card: Mapping[str, str]
    """Metadata strings of a .safetensors header; empty otherwise."""
    notes: tuple[str, ...] = ()


def read_raw(path: Path | str, *, sha256: str | None = None) -> RawWeights:
    """Read a weight file without running anything in it.

    Args:
        path: a .safetensors, .pt, .pth or .tar file of any suffix.
        sha256: what the file must hash to, when that is known.

    Raises:
        CheckpointError: a file that is missing, is something else, is damaged, is hostile or hashes otherwise.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise CheckpointError(_missing(path, error)) from None
    if not stat.S_ISREG(mode):
        kind = "a folder; name the file in it" if stat.S_ISDIR(mode) else "not a regular file"
        raise CheckpointError(f"{path} is {kind}.")
    try:
        stream = path.open("rb")
    except OSError as error:
        raise CheckpointError(f"{path} cannot be opened: {error.strerror}.") from None
    with stream:
        # One descriptor for the hash and the content: the file cannot be exchanged in between.
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        size = stream.tell()
        notes = _check_hash(path, digest, sha256)
        stream.seek(0)
        head = stream.read(512)
        stream.seek(0)
        kind = _sniff(path, head, size)
        if kind == "safetensors":
            content, card = _read_safetensors(path, stream.read())
        else:
            content, card = _read_torch(path, stream, size, zipped=kind == "zip"), {}
    return RawWeights(path=path, sha256=digest, content=content, card=card, notes=notes)


def _missing(path: Path, error: OSError) -> str:
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, n=3)
    hint = f" Beside it there is {', '.join(near)}." if near else ""
    return f"no weights at {path}: {error.strerror}.{hint}"


def _check_hash(path: Path, digest: str, expected: str | None) -> tuple[str, ...]:
    if expected is not None and digest != expected:
        raise CheckpointError(
            f"{path} has sha256 {digest}, expected {expected}: the file is damaged or another. Get it again."
        )
    found = re.search(r"-([0-9a-f]{8}|[0-9a-f]{16}|[0-9a-f]{64})\.(?:pth|pt|th|ckpt|safetensors)(?:\.tar)?$", path.name)
    if found is None or digest.startswith(found[1]):
        return ()
    if found[1].isdigit():  # a date looks like a hash
        return (f"{path.name}: {found[1]} is not the beginning of the file's sha256 ({digest[:8]}); taken for a date.",)
    raise CheckpointError(
        f"{path} says {found[1]} in its name but its sha256 begins with {digest[: len(found[1])]}: the file is damaged "
        "or another. Download it again, or rename it when you know it to be right."
    )


def _sniff(path: Path, head: bytes, size: int) -> str:
    """`safetensors`, `zip` or `legacy`; or an error that says what the file is instead."""
    if size == 0:
        raise CheckpointError(f"{path} is empty (0 bytes); the download or the disk failed. Get it again.")
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<script")):
        raise CheckpointError(
            f"{path} is an HTML page of {size:,} bytes, not weights: a login, quota or error page was saved under this "
            "name. Download it again in a browser."
        )
    for magic, what in _WRONG:
        if head.startswith(magic):
            raise CheckpointError(f"{path} is {what}.")
    if head[257:262] == b"ustar":
        raise CheckpointError(f"{path} is a tar archive; unpack it and name the file in it.")
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if LEGACY_MAGIC in head[:32] and head[:1] == b"\x80":
        return "legacy"
    if head[:1] == b"\x80" and len(head) > 1 and head[1] <= 5:
        raise CheckpointError(f"{path} is a pickle that torch.save did not write; it could run code and is not opened.")
    length = int.from_bytes(head[:8], "little")
    if len(head) > 8 and (head[8:9] == b"{" or path.suffix == ".safetensors"):
        if length > HEADER_LIMIT:
            raise CheckpointError(
                f"{path} declares a header of {length:,} bytes, more than the {HEADER_LIMIT:,} that are read: the file "
                "is damaged or hostile."
            )
        if length > size - 8:
            raise CheckpointError(f"{path} declares a header of {length:,} bytes and has {size:,}: it is truncated.")
        return "safetensors"
    raise CheckpointError(
        f"{path} is neither .safetensors nor a file of torch.save: it begins with {head[:16]!r} ({size:,} bytes). "
        "Check where it came from."
    )


def _read_safetensors(path: Path, data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    length = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + length].decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} has a damaged header: {str(error)[:200]}.") from None
    card = header.pop("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(card, dict) or not all(isinstance(value, str) for value in card.values()):
        raise CheckpointError(f"{path} has a damaged header: names and metadata of tensors were expected.")
    try:
        return safetensors.torch.load(data), card
    except (safetensors.SafetensorError, ValueError, KeyError, RuntimeError, OverflowError) as error:
        raise CheckpointError(
            f"{path} is truncated or damaged: {str(error)[:200]} ({len(data):,} bytes). Get it again."
        ) from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _read_torch(path: Path, stream: IO[bytes], size: int, *, zipped: bool) -> Any:
    names: set[str] = set()
    pickles = _zip_pickles(path, stream, size) if zipped else _legacy_pickles(path, stream)
    for operations in pickles:
        names |= _scan(path, operations, size)
    if names & {"builtins.bytearray", "__builtin__.bytearray"}:
        raise CheckpointError(f"{path} asks for bytearrays of any size, as no weights do; it is not opened.")
    stream.seek(0)
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(stream, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile file can make the unpickler raise anything; all of it means: not readable
        known = ("torch.", "collections.OrderedDict", "argparse.Namespace")
        foreign = sorted(name for name in names if not name.startswith(known))
        if foreign:
            shown = ", ".join(foreign[:8]) + (f" and {len(foreign) - 8} more" if len(foreign) > 8 else "")
            raise CheckpointError(
                f"{path} holds more than tensors: it refers to {shown}. Opening it could run code, so nothing was "
                "executed and nothing loaded. Where you trust it, store the weights alone: "
                "torch.save(model.state_dict(), 'weights.pt')."
            ) from None
        raise CheckpointError(f"{path} is truncated or damaged: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


Operations = Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]]


def _zip_pickles(path: Path, stream: IO[bytes], size: int) -> Iterator[Operations]:
    try:
        archive = zipfile.ZipFile(stream)
        members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, RuntimeError) as error:
        raise CheckpointError(f"{path} is a truncated or damaged torch file: {error}. Get it again.") from None
    names = [member.filename for member in members]
    if any(PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts for name in names):
        raise CheckpointError(f"{path} has members that point outside the archive; torch.save writes none such.")
    if len(set(names)) != len(names):
        raise CheckpointError(f"{path} has two members of one name; torch.save writes none such.")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        if any(name.endswith(".npy") for name in names):
            raise CheckpointError(f"{path} is a NumPy archive (.npz); only PyTorch weights are read.")
        raise CheckpointError(f"{path} has compressed members, which torch.save never writes; unpacked they could be "
                              "of any size, so it is not opened.")  # fmt: skip
    if (total := sum(member.file_size for member in members)) > size:
        raise CheckpointError(f"{path} declares {total:,} bytes of content and has {size:,}: it is not opened.")
    if any(re.search(r"(^|/)constants\.pkl$", name) for name in names) and any("/code/" in name for name in names):
        raise CheckpointError(f"{path} is a TorchScript program, not weights; store its state_dict() instead.")
    if any(name.endswith(".npy") for name in names):
        raise CheckpointError(f"{path} is a NumPy archive (.npz); only PyTorch weights are read.")
    structures = [member for member in members if member.filename.rpartition("/")[2] == "data.pkl"]
    if len(structures) != 1:
        raise CheckpointError(f"{path} is a zip archive that torch.save did not write ({', '.join(names[:4])}, ...).")
    if structures[0].file_size > PICKLE_LIMIT:
        raise CheckpointError(f"{path} has a structure of {structures[0].file_size:,} bytes; it is not opened.")
    try:
        structure = archive.read(structures[0])
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} is a truncated or damaged torch file: {_first_line(error)}.") from None
    yield pickletools.genops(structure)


def _legacy_pickles(path: Path, stream: IO[bytes]) -> Iterator[Operations]:
    """Magic number, protocol, system, the object and the keys of its storages stand one after the other."""
    for _ in range(5):
        yield pickletools.genops(cast(IO[bytes], _Capped(path, stream)))


class _Capped(io.BufferedIOBase):
    """A view of a stream for genops that refuses to read a structure without end."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self.path, self.stream, self.left = path, stream, PICKLE_LIMIT

    def read(self, size: int | None = -1) -> bytes:
        return self._take(self.stream.read(self.left + 1 if size is None or size < 0 else min(size, self.left + 1)))

    def readline(self, size: int | None = -1) -> bytes:
        return self._take(self.stream.readline(self.left + 1))

    def tell(self) -> int:
        return self.stream.tell()

    def _take(self, data: bytes) -> bytes:
        self.left -= len(data)
        if self.left < 0:
            raise CheckpointError(f"{self.path} has a structure of more than {PICKLE_LIMIT:,} bytes; it is not opened.")
        return data


_MEMO = ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")
_TEXT = ("SHORT_BINUNICODE", "BINUNICODE", "UNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING")


def _scan(path: Path, operations: Operations, size: int) -> set[str]:
    """Names that a pickle refers to; CheckpointError where it declares a storage larger than the file."""
    names: set[str] = set()
    recent: list[tuple[str, Any]] = []
    texts: list[str] = []
    try:
        for code, argument, _ in operations:
            if code.name in _MEMO:
                continue
            if code.name == "GLOBAL":
                names.add(str(argument).replace(" ", "."))
            elif code.name == "STACK_GLOBAL":
                names.add(".".join(texts[-2:]))
            elif code.name == "BINPERSID":
                _check_storage(path, recent, size)
            elif code.name in _TEXT:
                texts = [*texts[-1:], str(argument)]
            recent = [*recent[-3:], (code.name, argument)]
    except CheckpointError:
        raise
    except Exception as error:  # genops raises what it likes on bytes that are no pickle
        raise CheckpointError(f"{path} is truncated or damaged: {_first_line(error)} Get it again.") from None
    return names


def _check_storage(path: Path, recent: list[tuple[str, Any]], size: int) -> None:
    """A persistent id ends in the number of elements (and None in old files), then TUPLE."""
    before = [entry for entry in recent[:-1] if entry[0] != "NONE"]
    name, count = before[-1] if before else ("", None)
    if name not in ("BININT", "BININT1", "BININT2", "LONG1", "INT") or not isinstance(count, int):
        raise CheckpointError(f"{path} describes its tensors in a way that torch.save does not; it is not opened.")
    if not 0 <= count <= size:
        raise CheckpointError(
            f"{path} declares a tensor of {count:,} elements in a file of {size:,} bytes; it is not opened."
        )
