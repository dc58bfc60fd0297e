"""CIFAR-style arrays: one .npy a condition, filled by all workers, and the labels.

The source images are decoded once; one that cannot be used has no row in any array, so rows and labels always agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from corruptions.errors import CorruptionError
from corruptions.preparation import prepared
from corruptions.registry import frame_count
from corruptions.tree.pool import in_parallel
from corruptions.tree.record import TreeRecord, read_checksums, unwritable
from corruptions.tree.render import Progress, Totals, corrupted, perturbed
from corruptions.tree.source import SourceFolder, read
from corruptions.tree.spec import TreeCell, TreeSpec

ROWS = 64
"""Images of a job."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some images through one cell, into rows of an array that lies on disk."""

    spec: TreeSpec
    cell: TreeCell
    source: Path
    paths: tuple[str, ...]
    ids: tuple[str, ...]
    array: Path
    row: int
    device: str


@dataclass(frozen=True, slots=True)
class _Check:
    source: Path
    path: str
    size: int


def _usable(check: _Check) -> str:
    """Why an image cannot be used; empty when it can."""
    try:
        prepared(read(check.source / check.path), check.size)
    except CorruptionError as error:
        return f"{check.path}\t{error}"
    return ""


def _fill(piece: _Piece) -> int:
    """Compute rows of an array and write them; the number of images."""
    spec = piece.spec
    images = [read(piece.source / path) for path in piece.paths]
    if spec.sequences:
        pairs = zip(images, piece.ids, strict=True)
        rows = np.stack([perturbed(image, piece.cell, image_id, spec, piece.device) for image, image_id in pairs])
    else:
        batch = np.stack([np.array(prepared(image, spec.size)) for image in images])
        rows = corrupted(batch, piece.cell, list(piece.ids), spec, piece.device)
    try:
        array = np.load(piece.array, mmap_mode="r+")
        array[piece.row : piece.row + len(rows)] = rows
        array.flush()
    except OSError as error:
        raise unwritable(piece.array, error) from None
    return len(rows)


def write_arrays(
    folder: SourceFolder,
    record: TreeRecord,
    spec: TreeSpec,
    share: tuple[int, int],
    workers: int,
    device: str,
    progress: Progress,
) -> Totals:
    """Write the arrays of a share that are missing, every n-th; progress counts images times cells."""
    totals = Totals(images=len(folder.images))
    every = {"labels": ()} | _by_array(spec)
    mine = {name: every[name] for name in list(every)[share[0] - 1 :: share[1]]}
    cells_in_all = sum(map(len, mine.values()))
    progress(0, len(folder.images) * cells_in_all)
    checks = [_Check(folder.root, image.path, spec.size) for image in folder.images]
    found = {line.partition("\t")[0]: line.partition("\t")[2] for line in in_parallel(_usable, checks, workers) if line}
    totals.failed = list(found.items())
    images = [image for image in folder.images if image.path not in found]
    if not images:
        raise CorruptionError(f"no image of {folder.root} can be used; the first: {totals.failed[0][1]}.")
    done, total = 0, len(images) * cells_in_all
    for name, cells in mine.items():
        shape: tuple[int, ...] = (len(images) * len(cells), spec.size, spec.size, 3)
        if spec.sequences and cells:
            shape = (shape[0], frame_count(cells[0].condition, spec.size), *shape[1:])
        labels = None
        if name == "labels":
            repeats = len(spec.levels) if spec.layout == "cifar-c" else 1
            labels = np.tile(np.array([image.label for image in images], _label_type(len(folder.classes))), repeats)
            shape = labels.shape
        if _is_whole(record.root, name, shape):
            totals.kept += 1
            done += len(images) * len(cells)
            progress(done, total)
            continue
        part = _array(record, name, shape, labels)

        def pieces(part: Path = part, cells: tuple[TreeCell, ...] = cells) -> Iterator[_Piece]:
            for number, cell in enumerate(cells):
                for start in range(0, len(images), ROWS):
                    some = images[start : start + ROWS]
                    paths, ids = tuple(i.path for i in some), tuple(i.id for i in some)
                    yield _Piece(spec, cell, folder.root, paths, ids, part, number * len(images) + start, device)

        for count in in_parallel(_fill, pieces(), workers) if cells else ():
            done += count
            progress(done, total)
        _finish(record, name, part)
        totals.written += 1
    return totals


def _by_array(spec: TreeSpec) -> dict[str, tuple[TreeCell, ...]]:
    """Name of an array -> its cells: all severities of a corruption, one difficulty of a perturbation."""
    if spec.sequences:
        return {cell.folder: (cell,) for cell in spec.cells}
    return {name: tuple(cell for cell in spec.cells if cell.condition == name) for name in spec.conditions}


def _label_type(classes: int) -> np.dtype[np.unsignedinteger]:
    return np.dtype(np.uint8) if classes <= 256 else np.dtype(np.uint16) if classes <= 65536 else np.dtype(np.uint32)


def _array(record: TreeRecord, name: str, shape: tuple[int, ...], values: np.ndarray | None) -> Path:
    """A new array on disk under a temporary name, of uint8 unless it has values already."""
    part = record.partial / f"{name}.npy"
    try:
        dtype = np.dtype(np.uint8) if values is None else values.dtype
        array = np.lib.format.open_memmap(part, mode="w+", dtype=dtype, shape=shape)
        if values is not None:
            array[:] = values
        array.flush()
    except OSError as error:
        raise unwritable(part, error) from None
    return part


def _finish(record: TreeRecord, name: str, part: Path) -> None:
    """Move a whole array into place and note its checksum."""
    with part.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    part.replace(record.root / f"{name}.npy")
    record.append(name, [(f"{name}.npy", digest)])


def _is_whole(out: Path, name: str, shape: tuple[int, ...]) -> bool:
    """Whether the array is there with a checksum on record and the right shape."""
    if f"{name}.npy" not in read_checksums(out, name):
        return False
    try:
        return bool(np.load(out / f"{name}.npy", mmap_mode="r").shape == shape)
    except (OSError, ValueError):  # gone, or cut off
        return False
