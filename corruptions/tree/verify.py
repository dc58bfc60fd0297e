"""Whether a tree on disk is what was written: counts, checksums, decodable, sizes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from corruptions.registry import frame_count
from corruptions.storage import decode_jpeg, decode_video
from corruptions.tree.pool import in_parallel, usable_cores
from corruptions.tree.record import list_digest, load, read_checksums
from corruptions.tree.render import Progress

FILES = 64
"""Files of a job."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found."""

    files: int
    """Files checked."""
    problems: tuple[str, ...]
    """One line each, sorted; empty when the tree is sound."""


@dataclass(frozen=True, slots=True)
class _Part:
    root: Path
    lines: tuple[tuple[str, str], ...]
    shape: tuple[int, ...] | None


def verify_tree(out: Path, *, workers: int | None = None, progress: Progress | None = None) -> Verification:
    """Read every file of a tree and compare.

    Args:
        out: a tree that `write_tree` wrote.
        workers: processes; None takes all cores.
        progress: called with the files done and the files in all.

    Raises:
        CorruptionError: the folder holds no tree.
    """
    state = load(out)
    tell = progress or (lambda done, total: None)
    problems: list[str] = []
    parts: list[_Part] = []
    usable = state["images"]["count"] - len(state["failed"])
    arrays = str(state["settings"]["layout"]).startswith("cifar")
    if not state["cells"]:
        problems.append("no condition is complete: run the same command again, it goes on from there")
    for name, entry in sorted(state["cells"].items()):
        lines = read_checksums(out, name)
        if list_digest(out, name) != entry["digest"]:
            problems.append(f"{name}: its checksums are not those of the manifest")
        expected = 1 if arrays else usable
        if len(lines) != expected:
            problems.append(f"{name}: {len(lines)} files on record, expected {expected}")
        if not arrays:
            problems += _strangers(out / name, name, set(lines))
        shape = _shape(state, name, usable)
        items = list(lines.items())
        parts += [_Part(out, tuple(items[k : k + FILES]), shape) for k in range(0, len(items), FILES)]
    total, done = sum(len(part.lines) for part in parts), 0
    tell(0, total)
    for checked, found in in_parallel(_check, parts, workers or usable_cores()):
        problems += found
        done += checked
        tell(done, total)
    return Verification(total, tuple(sorted(problems)))


def _strangers(folder: Path, name: str, known: set[str]) -> Iterator[str]:
    """Files of a cell that nobody wrote."""
    for path in folder.glob("*/*"):
        relative = f"{name}/{path.parent.name}/{path.name}"
        if relative not in known:
            yield f"{relative}: is not on record"


def _shape(state: dict[str, Any], name: str, images: int) -> tuple[int, ...] | None:
    """What each file of a cell decodes to; None for the labels."""
    settings = state["settings"]
    size, layout = settings["size"], settings["layout"]
    if name == "labels":
        return None
    picture = (size, size, 3)
    if layout == "imagenet-c":
        return picture
    if layout == "cifar-c":
        return (images * len(settings["severities"]), *picture)
    condition = name[:-2] if name.endswith(("_2", "_3")) else name
    clip = (frame_count(condition, size), *picture)
    return clip if layout == "imagenet-p" else (images, *clip)


def _check(part: _Part) -> tuple[int, list[str]]:
    problems = []
    for name, digest in part.lines:
        path = part.root / name
        try:
            if path.suffix == ".npy":
                with path.open("rb") as stream:
                    found = hashlib.file_digest(stream, "sha256").hexdigest()
                shape = np.load(path, mmap_mode="r").shape
            else:
                content = path.read_bytes()
                found = hashlib.sha256(content).hexdigest()
                shape = (decode_video if path.suffix == ".mp4" else decode_jpeg)(content).shape
        except FileNotFoundError:
            problems.append(f"{name}: is missing")
            continue
        except (OSError, ValueError) as error:
            problems.append(f"{name}: cannot be decoded ({error})")
            continue
        if found != digest:
            problems.append(f"{name}: its checksum is not the one on record")
        if part.shape is not None and shape != part.shape:
            problems.append(f"{name}: is {list(shape)}, expected {list(part.shape)}")
    return len(part.lines), problems
