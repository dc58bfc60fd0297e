"""From source images to files: what one job of a tree does, in any process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from corruptions.api import corrupt
from corruptions.errors import CorruptionError
from corruptions.layout import Pixels, channels_last
from corruptions.preparation import prepared, sequence
from corruptions.registry import is_noise
from corruptions.storage import encode_jpeg, encode_video
from corruptions.tree.record import write_whole
from corruptions.tree.source import SourceImage, read
from corruptions.tree.spec import TreeCell, TreeSpec

Progress = Callable[[int, int], None]
"""Called with (images done, images in all)."""


@dataclass(frozen=True, slots=True)
class TreeJob:
    """Some images, through all cells."""

    spec: TreeSpec
    source: Path
    out: Path
    partial: Path
    """Folder of files under way."""
    images: tuple[SourceImage, ...]
    known: tuple[bytes, ...]
    """For each cell, one byte an image: 1 where a checksum is on record."""
    device: str


@dataclass(slots=True)
class Done:
    """What became of a job."""

    images: int = 0
    written: list[tuple[int, str, str]] = field(default_factory=list)
    """(index of the cell, path, sha256) of every file written."""
    kept: int = 0
    """Files that were there, whole."""
    failed: list[tuple[str, str]] = field(default_factory=list)
    """(path of the source image, reason)."""


@dataclass(slots=True)
class Totals:
    """What became of all jobs of a share."""

    images: int = 0
    """Source images of the share."""
    written: int = 0
    kept: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


def target(spec: TreeSpec, cell: TreeCell, image: SourceImage) -> str:
    """Path of an output file below the root."""
    return f"{cell.folder}/{image.id}{spec.suffix}"


def is_whole(path: Path) -> bool:
    """Whether a JPEG ends with its end marker, or the boxes of an .mp4 fill it exactly; cheap, without decoding."""
    try:
        with path.open("rb") as stream:
            if path.suffix == ".JPEG":
                start = stream.read(2)
                stream.seek(-2, os.SEEK_END)
                return start == b"\xff\xd8" and stream.read(2) == b"\xff\xd9"
            size, position, boxes = path.stat().st_size, 0, set()
            while position + 8 <= size:
                stream.seek(position)
                head = stream.read(8)
                length = int.from_bytes(head[:4], "big")
                if length < 8:
                    return False
                boxes.add(head[4:])
                position += length
            return position == size and {b"ftyp", b"moov", b"mdat"} <= boxes
    except OSError:
        return False


def run(job: TreeJob) -> Done:
    """Write the files of a job that are missing."""
    spec, done = job.spec, Done(images=len(job.images))
    missing: dict[int, list[int]] = {}  # cell -> positions in the job
    for index, cell in enumerate(spec.cells):
        rows = [
            row
            for row, image in enumerate(job.images)
            if not (job.known[index][row] and is_whole(job.out / target(spec, cell, image)))
        ]
        done.kept += len(job.images) - len(rows)
        if rows:
            missing[index] = rows
    loaded: dict[int, Any] = {}
    for row in sorted({row for rows in missing.values() for row in rows}):
        try:
            image = read(job.source / job.images[row].path)
            loaded[row] = image if spec.sequences else np.array(prepared(image, spec.size))
            if spec.sequences and spec.size == 32:
                prepared(image, spec.size)
        except CorruptionError as error:
            done.failed.append((job.images[row].path, str(error)))
    for index, rows in missing.items():
        cell, good = spec.cells[index], [row for row in rows if row in loaded]
        if not good:
            continue
        for row, content in _encoded(job, cell, good, loaded):
            name = target(spec, cell, job.images[row])
            done.written.append((index, name, write_whole(job.out, job.partial, name, content)))
    return done


def _encoded(job: TreeJob, cell: TreeCell, rows: list[int], loaded: dict[int, Any]) -> Iterator[tuple[int, bytes]]:
    spec = job.spec
    if spec.sequences:
        for row in rows:
            clip = perturbed(loaded[row], cell, job.images[row].id, spec, job.device)
            yield row, encode_video(clip, noise=is_noise(cell.condition))
        return
    ids = [job.images[row].id for row in rows]
    made = corrupted(np.stack([loaded[row] for row in rows]), cell, ids, spec, job.device)
    for row, pixels in zip(rows, made, strict=True):
        yield row, encode_jpeg(pixels)


def corrupted(images: Pixels, cell: TreeCell, ids: list[str], spec: TreeSpec, device: str) -> Pixels:
    """A corruption of prepared images [N, H, W, 3], on the device."""
    batch = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
    table = spec.size if spec.variant == "imagenet-c" else None
    made = corrupt(batch, cell.condition, cell.level, seed=spec.seed, ids=ids, variant=spec.variant, table=table)
    return channels_last(made)


def perturbed(image: Image.Image, cell: TreeCell, image_id: str, spec: TreeSpec, device: str) -> Pixels:
    """The sequence of a source image [T, H, W, 3], made on the device."""
    return sequence(
        image,
        cell.condition,
        size=spec.size,
        difficulty=cell.level,
        seed=spec.seed,
        image_id=image_id,
        device=device,
    )
