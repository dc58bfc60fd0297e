"""The file of a cell: a zip archive of .npy arrays and `cell.json`, which says whose cell it is.

Layout 2: cell.json holds the kind of record, the cell's key, the identity of the run, the share (of a job of several)
and a sha256 digest over all of that and all arrays. Layout 1 has no cell.json.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from robustbench_lift.errors import DataError, IncompleteError
from robustbench_lift.files import read_bytes
from robustbench_lift.runs.cells import Cell, Predictions, Record, record_kind

LAYOUT = 2
HEADER = "cell.json"
BASE_BYTES = 4 << 20
IMAGE_BYTES = 16 << 10
"""Most bytes of one array: these for the array and these for each image (800 frames with five classes)."""
AGAIN = "Delete this one file and run the same command again; only that cell is computed anew."

_ids: dict[bytes, tuple[npt.NDArray[np.str_], bytes]] = {}
"""Ids that were read lately and their digest, by the digest of their packed bytes: the cells of a run share one array,
and the largest member of a cell is unpacked once a run."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a file must be."""

    cell: Cell
    run: str
    """Identity of the run in this protocol, a sha256."""
    share: str | None = None
    """`i/n`, i from 1, for one job's share of the cell; None for the whole."""
    images: int = 0
    """Most images that the cell has."""
    classes: int = 0
    """Classes of the data."""
    old: bool = False
    """Whether layout 1, which does not say whose it is, is taken."""


def encode(stored: Record, owner: Owner) -> bytes:
    """The bytes of a cell's file; the same for the same content."""
    members = {}
    for name, array in stored.arrays().items():
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
        members[f"{name}.npy"] = buffer.getvalue()
    header = {
        "layout": LAYOUT,
        "record": stored.KIND,
        "cell": owner.cell.key,
        "run": owner.run,
        "share": owner.share,
    }
    header["digest"] = _digest(header, {name: hashlib.sha256(raw).digest() for name, raw in members.items()})
    members[HEADER] = json.dumps(header).encode()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in members.items():
            archive.writestr(zipfile.ZipInfo(name), raw, zipfile.ZIP_DEFLATED)  # no time: equal content, equal bytes
    return content.getvalue()


def load(file: Path, owner: Owner) -> Record:
    """What a cell's file holds.

    Raises:
        IncompleteError: there is no such file.
        DataError: the file is damaged, edited, or of another cell or run; the message says what to do.
    """
    bound = BASE_BYTES + owner.images * IMAGE_BYTES
    try:
        content = read_bytes(file, limit=8 * bound)
        if not content.startswith(b"PK"):
            raise DataError(f"{len(content)} bytes that are no archive")
        stored = _decode(content, owner, bound)
        stored.check(owner.classes)
    except FileNotFoundError:
        raise IncompleteError(f"{file} is not there.") from None
    except _ForeignError as error:
        raise DataError(f"{file} {error}") from None
    except Exception as error:  # zipfile and numpy raise nearly anything over broken bytes
        raise DataError(f"{file} is damaged ({str(error)[:200] or type(error).__name__}). {AGAIN}") from None
    return stored


class _ForeignError(DataError):
    """A whole file that belongs elsewhere; the message is a sentence without its subject."""


def _decode(content: bytes, owner: Owner, bound: int) -> Record:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        kind: type[Record] = Predictions
        header: dict[str, Any] | None = None
        if HEADER in sizes:
            header = _header(_member(archive, HEADER, sizes, 1 << 16))
            kind = record_kind(str(header["record"]))
        elif not owner.old:
            raise _ForeignError(
                f"does not say whose it is, unlike the cells of this run. It was put there by hand. {AGAIN}"
            )
        names = [name for name in ("ids", *kind.ARRAYS) if f"{name}.npy" in sizes or name not in kind.ADDED]
        if sorted(sizes) != sorted([f"{name}.npy" for name in names] + [HEADER] * (header is not None)):
            raise DataError(f"it holds {', '.join(sorted(sizes))[:100]}; expected were {', '.join(names)}")
        raw = {name: _member(archive, f"{name}.npy", sizes, bound) for name in names if name != "ids"}
        ids, ids_digest = _shared_ids(archive, content, sizes, bound)
    digests = {f"{name}.npy": hashlib.sha256(value).digest() for name, value in raw.items()} | {"ids.npy": ids_digest}
    if header is not None:
        _check_owner(header, digests, owner)
    arrays: dict[str, Any] = {name: _array(raw[name], kind.ARRAYS[name][0]) for name in names if name != "ids"}
    return kind(ids, **arrays)


def _member(archive: zipfile.ZipFile, name: str, sizes: Mapping[str, int], bound: int) -> bytes:
    if sizes[name] > bound:
        raise DataError(f"{name} declares {sizes[name]:,} bytes, more than the {bound:,} that it can have")
    return archive.read(name)


def _header(raw: bytes) -> dict[str, Any]:
    header = json.loads(raw)
    if not isinstance(header, dict) or not {"layout", "record", "cell", "run", "share", "digest"} <= set(header):
        raise DataError(f"{HEADER} is incomplete")
    if header["layout"] != LAYOUT:
        raise _ForeignError(f"has cell layout {header['layout']!s:.20}; this version reads {LAYOUT}. Update or re-run.")
    return header


def _check_owner(header: Mapping[str, Any], digests: Mapping[str, bytes], owner: Owner) -> None:
    if header["digest"] != _digest(header, digests):
        raise _ForeignError(f"was changed after it was written: its digest does not fit. {AGAIN}")
    if header["cell"] != owner.cell.key:
        raise _ForeignError(
            f"holds the cell {header['cell']}, not {owner.cell.key}: files of cells were exchanged. Put each back in "
            "its place, or delete this one file and run the same command again."
        )
    if header["run"] != owner.run:
        raise _ForeignError(
            f"is a cell of another run: other weights, another protocol or other images than run.json names. {AGAIN}"
        )
    if header["share"] != owner.share:
        raise _ForeignError(
            f"holds the share {header['share']} of a cell, expected {owner.share or 'the whole'}. {AGAIN}"
        )


def _digest(header: Mapping[str, Any], digests: Mapping[str, bytes]) -> str:
    whole = hashlib.sha256()
    for field in ("layout", "record", "cell", "run", "share"):
        whole.update(f"{field} {header[field]}\n".encode())
    for name in sorted(digests):
        whole.update(f"{name} {digests[name].hex()}\n".encode())
    return whole.hexdigest()


def _array(raw: bytes, dtype: str | None) -> npt.NDArray[Any]:
    """The array of a .npy file, without a copy; `dtype` None: text."""
    stream = io.BytesIO(raw)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise DataError(f"an array has format {version}, expected (1, 0)")
    shape, fortran, found = np.lib.format.read_array_header_1_0(stream)
    if fortran or (found.kind != "U" if dtype is None else found != np.dtype(dtype)):
        raise DataError(f"an array has the type {found}, expected {dtype or 'text'}")
    if 0 in shape:
        return np.zeros(shape, found)
    return np.frombuffer(raw, found, offset=stream.tell()).reshape(shape)


def _shared_ids(
    archive: zipfile.ZipFile, content: bytes, sizes: Mapping[str, int], bound: int
) -> tuple[npt.NDArray[np.str_], bytes]:
    """The ids of a cell and their digest; equal packed bytes are equal ids, whatever cell they stand in."""
    entry = archive.getinfo("ids.npy")
    header = content[entry.header_offset : entry.header_offset + 30]
    start = entry.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    packed = hashlib.sha256(f"{entry.compress_type} {entry.file_size} {entry.CRC} {bound >= entry.file_size} ".encode())
    packed.update(content[start : start + entry.compress_size])
    key = packed.digest()
    found = _ids.get(key)
    if found is None:
        raw = _member(archive, "ids.npy", sizes, bound)
        found = (_array(raw, None), hashlib.sha256(raw).digest())
        if len(_ids) >= 8:
            _ids.clear()  # several threads read: nothing is looked up twice
        _ids[key] = found
    return found
