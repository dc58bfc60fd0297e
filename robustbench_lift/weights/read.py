"""Weight files, looked at before they are read: nothing in them is ever executed.

The first bytes decide what a file is. Sizes that a file declares are checked against the size that it has, so that a
small file cannot ask for a large memory. Pickles are read by torch's weights-only unpickler and by nothing else.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from robustbench_lift.errors import CheckpointError
from robustbench_lift.text import listed, printable
from robustbench_lift.weights.torch_file import LEGACY_MAGIC, read_torch

HEADER_LIMIT = 25_000_000
"""Largest header of a .safetensors file that is read, in bytes; a network of 10,000 tensors needs about 2 MB."""

_WRONG = (
    (b"version https://git-lfs", "a git-lfs pointer, not the weights themselves; run `git lfs pull`"),
    (b"\x1f\x8b", "compressed with gzip; unpack it first"),
    (b"BZh", "compressed with bzip2; unpack it first"),
    (b"\xfd7zXZ", "compressed with xz; unpack it first"),
    (b"\x89HDF", "an HDF5 file (Keras); only PyTorch weights are read"),
    (b"\x93NUMPY", "a NumPy array; only PyTorch weights are read"),
    (b"GGUF", "a GGUF file; only PyTorch weights are read"),
    (b"PAR1", "a parquet file, a table of data; unpack images into class folders and name them as --data folder:..."),
)
_ONNX = (
    "an ONNX model, not weights of PyTorch; evaluate it through a function of yours that runs it (onnxruntime) and "
    "returns logits: package.module:factory"
)
_DISTRIBUTED = (
    "part of a torch.distributed.checkpoint; make one file of its folder: "
    "python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER weights.pt"
)


INDEX_LIMIT = 50_000_000
"""Largest index of a sharded checkpoint that is read, in bytes."""


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

    @property
    def where(self) -> str:
        """The path, safe to print."""
        return printable(self.path)


def read_raw(path: Path | str, *, sha256: str | None = None) -> RawWeights:
    """Read a weight file without running anything in it.

    Args:
        path: a .safetensors, .pt, .pth or .tar file of any suffix, or the .index.json of a sharded checkpoint, whose
            parts lie beside it.
        sha256: what the file must hash to, when that is known.

    Raises:
        CheckpointError: a file that is missing, is something else, is damaged, is hostile or hashes otherwise.
    """
    path = Path(os.path.expanduser(path))  # noqa: PTH111 - the method raises where there is no such user
    where = printable(path)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise CheckpointError(_missing(path, error)) from None
    if not stat.S_ISREG(mode):
        raise CheckpointError(f"{where} is {_folder(path) if stat.S_ISDIR(mode) else 'not a regular file'}.")
    try:
        with path.open("rb") as stream:
            # One descriptor for the hash and the content: the file cannot be exchanged in between.
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            size = stream.tell()
            notes = _check_hash(path, digest, sha256)
            stream.seek(0)
            head = stream.read(512)
            stream.seek(0)
            kind = _sniff(path, head, size)
            card: dict[str, str] = {}
            if kind == "index":
                return _read_shards(path, stream.read(INDEX_LIMIT + 1), digest)
            if kind == "safetensors":
                content, card = _read_safetensors(where, stream.read())
            else:
                content = read_torch(path, stream, size, zipped=kind == "zip")
    except OSError as error:
        raise CheckpointError(f"{where} cannot be read: {error.strerror or error}.") from None
    return RawWeights(path=path, sha256=digest, content=content, card=card, notes=notes)


def _missing(path: Path, error: OSError | ValueError) -> str:
    if scheme := re.match("(https?|s3|gs):/", str(path)):
        return (
            f"{printable(path).replace(':/', '://', 1)} is an address of {scheme[1]}; weights are read from files. "
            "Download it and name the file."
        )
    try:
        siblings = [entry.name for entry in path.parent.iterdir()]
    except (OSError, ValueError):
        siblings = []
    near = difflib.get_close_matches(path.name[:300], siblings, n=3)
    hint = f" Beside it there is {listed(near)}." if near else ""
    return f"no weights at {printable(path)}: {getattr(error, 'strerror', None) or error}.{hint}"


def _folder(path: Path) -> str:
    """What a folder that was given for a file is, and what to name in it."""
    try:
        names = sorted(entry.name for entry in path.iterdir())
    except OSError:
        names = []
    if ".metadata" in names or any(name.endswith(".distcp") for name in names):
        return f"a folder, {_DISTRIBUTED}"
    indices = [name for name in names if name.endswith(".index.json")]
    endings = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".tar")
    files = indices or [name for name in names if name.endswith(endings)]
    return "a folder; name the file in it" + (f": {listed(files)}" if files else "")


def _read_shards(path: Path, text: bytes, digest: str) -> RawWeights:
    """A sharded checkpoint: the index says which file has which tensors; each must have exactly those."""
    where = printable(path)
    try:
        if len(text) > INDEX_LIMIT:
            raise ValueError("it is larger than an index is")
        weight_map = json.loads(text, object_pairs_hook=_unique)["weight_map"]
        files = sorted(set(weight_map.values()))
        if not files or any(Path(name).name != name or name.endswith(".json") for name in files):
            raise ValueError("its parts must be files beside it")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{where} is no index of a sharded checkpoint: {printable(str(error))}.") from None
    content: dict[str, Any] = {}
    total = hashlib.sha256(digest.encode())
    for name in files:
        part = read_raw(path.with_name(name))
        total.update(part.sha256.encode())
        expected = {key for key, file in weight_map.items() if file == name}
        held = set(part.content) if isinstance(part.content, Mapping) else set()
        if differing := sorted(map(str, expected ^ held)):
            raise CheckpointError(
                f"{printable(part.path)} does not hold what {where} says: {listed(differing)}. Get both again."
            )
        content.update(part.content)
    return RawWeights(
        path=path, sha256=total.hexdigest(), content=content, card={}, notes=(f"weights read from {len(files)} parts.",)
    )


def _check_hash(path: Path, digest: str, expected: str | None) -> tuple[str, ...]:
    where = printable(path)
    if expected is not None and digest != expected:
        raise CheckpointError(
            f"{where} has sha256 {digest}, expected {expected}: the file is damaged or another. Get it again."
        )
    found = re.search(r"-([0-9a-f]{8}|[0-9a-f]{16}|[0-9a-f]{64})\.(?:pth|pt|th|ckpt|safetensors)(?:\.tar)?$", path.name)
    if found is None or digest.startswith(found[1]):
        return ()
    if found[1].isdigit():  # a date looks like a hash
        other = f"{found[1]} is not the beginning of the file's sha256 ({digest[:8]}); taken for a date."
        return (f"{printable(path.name)}: {other}",)
    raise CheckpointError(
        f"{where} says {found[1]} in its name but its sha256 begins with {digest[: len(found[1])]}: the file is "
        "damaged or another. Download it again, or rename it when you know it to be right."
    )


def _sniff(path: Path, head: bytes, size: int) -> str:
    """`safetensors`, `zip` or `legacy`; or an error that says what the file is instead."""
    where = printable(path)
    if size == 0:
        raise CheckpointError(f"{where} is empty (0 bytes); the download or the disk failed. Get it again.")
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<script")):
        raise CheckpointError(
            f"{where} is an HTML page of {size:,} bytes, not weights: a login, quota or error page was saved under "
            "this name. Download it again in a browser."
        )
    for magic, what in _WRONG:
        if head.startswith(magic):
            raise CheckpointError(f"{where} is {what}.")
    if path.name.endswith(".distcp"):
        raise CheckpointError(f"{where} is {_DISTRIBUTED}.")
    if path.name.endswith(".onnx") or re.match(rb"\x08[\x01-\x20]\x12[\x00-\x40]", head):
        raise CheckpointError(f"{where} is {_ONNX}.")
    if path.name.endswith(".index.json") and text.startswith(b"{"):
        return "index"
    if head[257:262] == b"ustar":
        raise CheckpointError(f"{where} is a tar archive; unpack it and name the file in it.")
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if LEGACY_MAGIC in head[:32] and head[:1] == b"\x80":
        return "legacy"
    if head[:1] == b"\x80" and len(head) > 1 and head[1] <= 5:
        what = "a pickle that torch.save did not write; it could run code and is not opened"
        raise CheckpointError(f"{where} is {what}.")
    length = int.from_bytes(head[:8], "little")
    if len(head) > 8 and (head[8:9] == b"{" or path.suffix == ".safetensors"):
        if length > HEADER_LIMIT:
            raise CheckpointError(
                f"{where} declares a header of {length:,} bytes, more than the {HEADER_LIMIT:,} that are read: the "
                "file is damaged or hostile."
            )
        if length > size - 8:
            raise CheckpointError(f"{where} declares a header of {length:,} bytes and has {size:,}: it is truncated.")
        return "safetensors"
    raise CheckpointError(
        f"{where} is neither .safetensors nor a file of torch.save: it begins with {head[:16]!r} ({size:,} bytes). "
        "Check where it came from."
    )


def _read_safetensors(where: str, data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    length = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + length].decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{where} has a damaged header: {printable(str(error))}.") from None
    card = header.pop("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(card, dict) or not all(isinstance(value, str) for value in card.values()):
        raise CheckpointError(f"{where} has a damaged header: names and metadata of tensors were expected.")
    try:
        return safetensors.torch.load(data), card
    except (safetensors.SafetensorError, ValueError, KeyError, RuntimeError, OverflowError) as error:
        raise CheckpointError(
            f"{where} is truncated or damaged: {printable(str(error))} ({len(data):,} bytes). Get it again."
        ) from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found
