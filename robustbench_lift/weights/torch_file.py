"""Files of torch.save: sizes and names are checked in the structure before torch's weights-only unpickler reads it.

Why a scan of our own: `torch.serialization.get_unsafe_globals_in_checkpoint` reads zip archives alone, not files from
before torch 1.6, and says nothing of sizes. The weights-only unpickler allows bytearrays of any size, and takes the
number of elements that a storage claims for true, beyond what the archive holds.
"""

from __future__ import annotations

import argparse
import io
import pickletools
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

import torch

from robustbench_lift.errors import CheckpointError
from robustbench_lift.text import listed, printable

PICKLE_LIMIT = 100_000_000
"""Largest structure (the tensors' data not counted) of a torch file, in bytes; a ResNet with optimiser needs 0.1 MB."""
LEGACY_MAGIC = bytes.fromhex("6cfc9c46f9206aa85019")
"""Little-endian 0x1950a86a20f9469cfc6c, with which torch.save began before it wrote zip archives."""


def read_torch(path: Path, stream: IO[bytes], size: int, *, zipped: bool) -> Any:
    """What a file of torch.save holds, without running anything in it.

    Args:
        path: for messages.
        stream: the open file.
        size: its length in bytes.
        zipped: whether it is a zip archive; files from before torch 1.6 are not.

    Raises:
        CheckpointError: more than tensors and plain values, sizes that it cannot have, another kind of archive, damage.
    """
    where = printable(path)
    names: set[str] = set()
    pickles = _zip_pickles(where, stream, size) if zipped else _legacy_pickles(where, stream)
    for operations in pickles:
        names |= _scan(where, operations, size)
    if names & {"builtins.bytearray", "__builtin__.bytearray"}:
        raise CheckpointError(f"{where} asks for bytearrays of any size, as no weights do; it is not opened.")
    stream.seek(0)
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(stream, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile file can make the unpickler raise anything; all of it means: not readable
        known = ("torch.", "collections.OrderedDict", "argparse.Namespace")
        foreign = sorted(name for name in names if not name.startswith(known))
        if foreign:
            named = listed(foreign, most=8)
            raise CheckpointError(
                f"{where} holds more than tensors: it refers to {named}. Opening it could run code, so nothing "
                "was executed and nothing loaded. Where you trust it, store the weights alone: "
                "torch.save(model.state_dict(), 'weights.pt')."
            ) from None
        raise CheckpointError(f"{where} is truncated or damaged: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return printable((str(error).strip().splitlines() or [type(error).__name__])[0])


Operations = Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]]


def _zip_pickles(where: str, stream: IO[bytes], size: int) -> Iterator[Operations]:
    try:
        archive = zipfile.ZipFile(stream)
        members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, RuntimeError) as error:
        raise CheckpointError(f"{where} is a truncated or damaged torch file: {error}. Get it again.") from None
    names = [member.filename for member in members]
    if any(PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts for name in names):
        raise CheckpointError(f"{where} has members that point outside the archive; torch.save writes none such.")
    if len(set(names)) != len(names):
        raise CheckpointError(f"{where} has two members of one name; torch.save writes none such.")
    _refuse_other_archives(where, names)
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise CheckpointError(f"{where} has compressed members, which torch.save never writes; unpacked they could be "
                              "of any size, so it is not opened.")  # fmt: skip
    if (total := sum(member.file_size for member in members)) > size:
        raise CheckpointError(f"{where} declares {total:,} bytes of content and has {size:,}: it is not opened.")
    structures = [member for member in members if member.filename.rpartition("/")[2] == "data.pkl"]
    if len(structures) != 1:
        raise CheckpointError(f"{where} is a zip archive that torch.save did not write ({listed(names, most=4)}).")
    if structures[0].file_size > PICKLE_LIMIT:
        raise CheckpointError(f"{where} has a structure of {structures[0].file_size:,} bytes; it is not opened.")
    try:
        structure = archive.read(structures[0])
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{where} is a truncated or damaged torch file: {_first_line(error)}.") from None
    yield pickletools.genops(structure)


def _refuse_other_archives(where: str, names: list[str]) -> None:
    """Say what a zip archive is when its members show that it is no file of torch.save."""
    if any(re.search(r"(^|/)constants\.pkl$", name) for name in names) and any("/code/" in name for name in names):
        raise CheckpointError(
            f"{where} is a TorchScript program, not weights. Where you trust it, store its weights, "
            "torch.save(torch.jit.load(FILE).state_dict(), 'weights.pt'), and name their network, "
            "ARCH/POOLING@weights.pt; or evaluate it as it is: a factory that returns torch.jit.load(FILE)."
        )
    if any(re.search(r"(^|/)(serialized_exported_program\.json|models/\w+\.json|archive_format)$", n) for n in names):
        raise CheckpointError(
            f"{where} is a program of torch.export, not weights. Store its weights, "
            "torch.save(torch.export.load(FILE).state_dict, 'weights.pt'), and name their network, "
            "ARCH/POOLING@weights.pt; or evaluate it as it is: a factory that returns torch.export.load(FILE).module()."
        )
    if any(name.endswith(".npy") for name in names):
        raise CheckpointError(f"{where} is a NumPy archive (.npz); only PyTorch weights are read.")


def _legacy_pickles(where: str, stream: IO[bytes]) -> Iterator[Operations]:
    """Magic number, protocol, system, the object and the keys of its storages stand one after the other."""
    for _ in range(5):
        yield pickletools.genops(cast(IO[bytes], _Capped(where, stream)))


class _Capped(io.BufferedIOBase):
    """A view of a stream for genops that refuses to read a structure without end."""

    def __init__(self, where: str, stream: IO[bytes]) -> None:
        self.where, self.stream, self.left = where, stream, PICKLE_LIMIT

    def read(self, size: int | None = -1) -> bytes:
        return self._take(self.stream.read(self.left + 1 if size is None or size < 0 else min(size, self.left + 1)))

    def readline(self, size: int | None = -1) -> bytes:
        return self._take(self.stream.readline(self.left + 1))

    def tell(self) -> int:
        return self.stream.tell()

    def _take(self, data: bytes) -> bytes:
        self.left -= len(data)
        if self.left < 0:
            most = f"{PICKLE_LIMIT:,} bytes"
            raise CheckpointError(f"{self.where} has a structure of more than {most}; it is not opened.")
        return data


_MEMO = ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")
_TEXT = ("SHORT_BINUNICODE", "BINUNICODE", "UNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING")


def _scan(where: str, operations: Operations, size: int) -> set[str]:
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
                _check_storage(where, recent, size)
            elif code.name in _TEXT:
                texts = [*texts[-1:], str(argument)]
            recent = [*recent[-3:], (code.name, argument)]
    except CheckpointError:
        raise
    except Exception as error:  # genops raises what it likes on bytes that are no pickle
        raise CheckpointError(f"{where} is truncated or damaged: {_first_line(error)} Get it again.") from None
    return names


def _check_storage(where: str, recent: list[tuple[str, Any]], size: int) -> None:
    """A persistent id ends in the number of elements (and None in old files), then TUPLE."""
    before = [entry for entry in recent[:-1] if entry[0] != "NONE"]
    name, count = before[-1] if before else ("", None)
    if name not in ("BININT", "BININT1", "BININT2", "LONG1", "INT") or not isinstance(count, int):
        raise CheckpointError(f"{where} describes its tensors in a way that torch.save does not; it is not opened.")
    if not 0 <= count <= size:
        raise CheckpointError(
            f"{where} declares a tensor of {count:,} elements in a file of {size:,} bytes; it is not opened."
        )
