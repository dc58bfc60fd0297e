"""Write a tree: every file that is missing, on all cores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from corruptions.errors import CorruptionError
from corruptions.tree import manifest
from corruptions.tree.arrays import write_arrays
from corruptions.tree.render import Job, Progress, Totals, in_parallel, run, target, usable_cores
from corruptions.tree.source import SourceFolder, scan
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
class Report:
    """What a call did."""

    out: Path
    images: int
    """Source images."""
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
    progress: Progress | None = None,
) -> Report:
    """Write what is missing of a tree.

    Interrupted at any moment, the tree holds whole files only, and the same call goes on. Results depend neither on the
    number of workers nor on interruptions.

    Args:
        source: folder of class folders of images.
        out: the tree; new, empty, or written by an earlier call with the same settings.
        spec: what to write.
        workers: processes; all cores unless told. 1 works in this process.
        device: where images are corrupted, `cpu` or `cuda`; files are always encoded on the CPU.
        limit: the first so many images of every class.
        progress: told the number of images done.

    Returns:
        counts, and the source images that could not be used; everything else is written.

    Raises:
        CorruptionError: the source has no images, the folder cannot be written or holds something else.
    """
    if workers is not None and workers < 1:
        raise CorruptionError(f"{workers} workers: use at least 1.")
    if limit is not None and limit < 1:
        raise CorruptionError(f"a limit of {limit} images leaves nothing to do: use at least 1.")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise CorruptionError(f"device {device}: this PyTorch sees no CUDA device. Use cpu, or check the driver.")
    folder = scan(source, limit)
    state = manifest.open_tree(out, spec, folder)
    with manifest.only_writer(out):
        try:
            manifest.fresh_partial(out)
            totals = _go_on(folder, out, spec, state, workers or usable_cores(), device, progress)
        finally:
            manifest.clear_partial(out)
    failures = tuple(Failure(path, reason) for path, reason in sorted(totals.failed))
    return Report(out, len(folder.images), totals.written, totals.kept, failures, folder.ignored)


def _go_on(
    folder: SourceFolder,
    out: Path,
    spec: TreeSpec,
    state: dict[str, Any],
    workers: int,
    device: str,
    progress: Progress | None,
) -> Totals:
    """Write what is missing and bring the manifest up to date."""
    used = manifest.versions(spec.sequences)
    if used not in state["versions"]:
        state["versions"].append(used)
    manifest.save(out, state)
    manifest.drop_torn_lines(out)
    write = write_arrays if spec.arrays else _write_files
    totals = write(folder, out, spec, workers, device, progress or (lambda done, total: None))
    for name in (*(spec.conditions if spec.layout == "cifar-c" else spec.folders), *(["labels"] * spec.arrays)):
        state["cells"][name] = manifest.settle(out, name.replace("/", "-"))
    state["failed"] = [list(failure) for failure in sorted(totals.failed)]
    manifest.save(out, state)
    return totals


def _write_files(
    folder: SourceFolder, out: Path, spec: TreeSpec, workers: int, device: str, progress: Progress
) -> Totals:
    images, totals = len(folder.images), Totals()
    known = _known(folder, out, spec)
    step = 1 if spec.sequences else BATCH.get(device.partition(":")[0], 8)

    def jobs() -> Iterator[Job]:
        for start in range(0, images, step):
            part = slice(start, start + step)
            here = tuple(bytes(marks[part]) for marks in known)
            yield Job(spec, folder.root, out, folder.images[part], here, device)

    progress(0, images)
    handled = 0
    for done in in_parallel(run, jobs(), workers):
        by_cell: dict[int, list[tuple[str, str]]] = {}
        for index, name, digest in done.written:
            by_cell.setdefault(index, []).append((name, digest))
        for index, lines in by_cell.items():
            manifest.append_checksums(manifest.checksum_file(out, spec.cells[index]), lines)
        totals.written += len(done.written)
        totals.kept += done.kept
        totals.failed += done.failed
        handled += done.images
        progress(handled, images)
    return totals


def _known(folder: SourceFolder, out: Path, spec: TreeSpec) -> list[bytearray]:
    """For each cell, one byte an image: 1 where a checksum is on record."""
    known = []
    for cell in spec.cells:
        listed = manifest.read_checksums(manifest.checksum_file(out, cell))
        known.append(bytearray(target(spec, cell, image) in listed for image in folder.images))
    return known
