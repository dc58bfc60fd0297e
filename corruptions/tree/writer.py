"""Write a tree: every file that is missing, on all cores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from corruptions.errors import CorruptionError
from corruptions.opencv import require_opencv
from corruptions.tree.arrays import write_arrays
from corruptions.tree.pool import in_parallel, usable_cores
from corruptions.tree.record import TreeRecord, open_record, read_checksums
from corruptions.tree.render import Progress, Totals, TreeJob, run, target
from corruptions.tree.source import SourceFolder, SourceImage, scan
from corruptions.tree.spec import TreeSpec

BATCH = {"cpu": 8, "cuda": 64}
"""Images of a job of a corruption tree; a job of sequences is one image."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A source image that could not be used."""

    path: str
    """Path below the source folder."""
    reason: str


@dataclass(frozen=True, slots=True)
class TreeReport:
    """What a call did."""

    out: Path
    images: int
    """Source images of the share."""
    written: int
    """Files written now (arrays count by file)."""
    kept: int
    """Files that were there and whole."""
    failed: tuple[Failure, ...]
    """Source images that could not be used, sorted by path."""
    ignored: int
    """Files of the source folder that are no images."""


def write_tree(
    source: Path,
    out: Path,
    spec: TreeSpec,
    *,
    workers: int | None = None,
    device: str = "cpu",
    limit: int | None = None,
    share: tuple[int, int] = (1, 1),
    progress: Progress | None = None,
) -> TreeReport:
    """Write what is missing of a tree.

    Interrupted at any moment, the tree holds whole files only, and the same call goes on. Results depend neither on the
    number of workers, nor on shares, nor on interruptions.

    Args:
        source: folder of class folders of images.
        out: the tree; new, empty, or written by an earlier call with the same settings.
        spec: what to write.
        workers: processes; None takes all cores. 1 works in this process.
        device: where images are corrupted, `cpu` or `cuda`; files are always encoded on the CPU.
        limit: the first so many images of every class; None takes all.
        share: (i, n), i from 1 to n: do the i-th of n parts of the work. Jobs of all parts may run side by side, on
            one machine or on many that share the folder; together they write what one job writes.
        progress: called with the images done and the images in all.

    Returns:
        counts, and the source images that could not be used; everything else is written.

    Raises:
        CorruptionError: the source has no images, the folder cannot be written or holds something else.
        OpenCVError: OpenCV cannot be imported.
    """
    if workers is not None and workers < 1:
        raise CorruptionError(f"{workers} workers: use at least 1.")
    if limit is not None and limit < 1:
        raise CorruptionError(f"a limit of {limit} images leaves nothing to do: use at least 1.")
    if not 1 <= share[0] <= share[1]:
        raise CorruptionError(f"share {share[0]}/{share[1]} does not exist: i/n goes from 1/n to n/n.")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise CorruptionError(f"device {device}: this PyTorch sees no CUDA device. Use cpu, or check the driver.")
    require_opencv()
    folder = scan(source, limit)
    with open_record(out, source, share) as record:
        record.begin(spec, folder)
        write = write_arrays if spec.arrays else _write_files
        tell = progress or (lambda done, total: None)
        totals = write(folder, record, spec, share, workers or usable_cores(), device, tell)
        tried = folder.images if spec.arrays else folder.images[share[0] - 1 :: share[1]]
        record.finish(_names(spec, share), (image.path for image in tried), totals.failed)
    failures = tuple(Failure(path, reason) for path, reason in sorted(totals.failed))
    return TreeReport(out, totals.images, totals.written, totals.kept, failures, folder.ignored)


def _names(spec: TreeSpec, share: tuple[int, int]) -> tuple[str, ...]:
    """The lists of checksums that a share adds to: every cell of a tree, or every n-th array."""
    if not spec.arrays:
        return spec.folders
    return ("labels", *(spec.conditions if spec.layout == "cifar-c" else spec.folders))[share[0] - 1 :: share[1]]


def _write_files(
    folder: SourceFolder,
    record: TreeRecord,
    spec: TreeSpec,
    share: tuple[int, int],
    workers: int,
    device: str,
    progress: Progress,
) -> Totals:
    """Write the files of a share that are missing: every n-th image, through all cells."""
    images = folder.images[share[0] - 1 :: share[1]]
    totals = Totals(images=len(images))
    known = _known(images, record.root, spec)
    step = 1 if spec.sequences else BATCH.get(device.partition(":")[0], 8)

    def jobs() -> Iterator[TreeJob]:
        for start in range(0, len(images), step):
            part = slice(start, start + step)
            here = tuple(bytes(marks[part]) for marks in known)
            yield TreeJob(spec, folder.root, record.root, record.partial, images[part], here, device)

    progress(0, len(images))
    handled = 0
    for done in in_parallel(run, jobs(), workers):
        by_cell: dict[int, list[tuple[str, str]]] = {}
        for index, name, digest in done.written:
            by_cell.setdefault(index, []).append((name, digest))
        for index, lines in by_cell.items():
            record.append(spec.cells[index], lines)
        totals.written += len(done.written)
        totals.kept += done.kept
        totals.failed += done.failed
        handled += done.images
        progress(handled, len(images))
    return totals


def _known(images: tuple[SourceImage, ...], out: Path, spec: TreeSpec) -> list[bytearray]:
    """For each cell, one byte an image: 1 where a checksum is on record."""
    known = []
    for cell in spec.cells:
        listed = read_checksums(out, cell)
        known.append(bytearray(target(spec, cell, image) in listed for image in images))
    return known
