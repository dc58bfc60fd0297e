"""The run folder: one model's predictions, a file a cell, and the manifest that says what they are.

    RUN/run.json                                 manifest: signature, model, data, versions, expected cells
    RUN/cells/<protocol>/<condition>/<severity>.npz   ids, labels, top5, confidence

A cell is written to a temporary name and renamed, so a file that exists is whole; a cell that exists is never
computed again. A folder of other weights, another protocol or other images is refused, never mixed.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from robustbench_lift.errors import DataError, IncomparableError, IncompleteError, StorageError

SCHEMA = 1


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One (protocol, condition, severity) of a run.

    >>> Cell("corruption", "fog", 3).key
    'corruption/fog/3'
    """

    protocol: str
    """clean, corruption, perturbation or shift."""
    condition: str
    """Name of the corruption, perturbation or kind of shift; `clean` for the clean protocol."""
    severity: int
    """1..5 for a corruption, difficulty 1..3 for a perturbation, 0 where there is none."""

    @property
    def key(self) -> str:
        """The cell as a path inside a run."""
        return f"{self.protocol}/{self.condition}/{self.severity}"

    @classmethod
    def parse(cls, key: str) -> Cell:
        """The cell of a key.

        >>> Cell.parse("clean/clean/0")
        Cell(protocol='clean', condition='clean', severity=0)
        """
        protocol, condition, severity = key.split("/")
        return cls(protocol, condition, int(severity))


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a model answered in one cell; rows are sorted by id, so order never matters.

    Each image is shown as T frames: one in clean and corruption cells, the frames of the sequence in
    perturbation cells, 2 * draws in shift cells (first and second window of each draw).
    """

    ids: npt.NDArray[np.str_]
    """[n] stable image ids, unique, sorted."""
    labels: npt.NDArray[np.int64]
    """[n] class indices."""
    top5: npt.NDArray[np.int16]
    """[n, T, 5] classes by descending logit, ties by class index; -1 where a model has fewer than five."""
    confidence: npt.NDArray[np.float32]
    """[n, T] softmax probability of the top-1 class, 0..1."""

    def __post_init__(self) -> None:
        n = len(self.ids)
        frames = self.top5.shape[1] if self.top5.ndim == 3 else -1
        if self.labels.shape != (n,) or self.top5.shape != (n, frames, 5) or self.confidence.shape != (n, frames):
            raise DataError(
                f"predictions do not fit together: ids {self.ids.shape}, labels {self.labels.shape}, "
                f"top5 {self.top5.shape} (expected [n, T, 5]), confidence {self.confidence.shape} (expected [n, T])."
            )
        if n > 1 and not bool(np.all(self.ids[:-1] < self.ids[1:])):
            raise DataError("prediction ids must be unique and sorted; use Predictions.sorted(...).")

    @classmethod
    def sorted(
        cls,
        ids: Sequence[str] | npt.NDArray[np.str_],
        labels: npt.NDArray[Any],
        top5: npt.NDArray[Any],
        confidence: npt.NDArray[Any],
    ) -> Predictions:
        """Predictions from rows in any order."""
        names = np.asarray(ids, dtype=np.str_)
        order = np.argsort(names)
        return cls(
            names[order],
            np.asarray(labels, dtype=np.int64)[order],
            np.asarray(top5, dtype=np.int16)[order],
            np.asarray(confidence, dtype=np.float32)[order],
        )

    @classmethod
    def none(cls) -> Predictions:
        """Predictions of no image: the share of a job that got none."""
        return cls.sorted([], np.zeros(0), np.zeros((0, 1, 5)), np.zeros((0, 1)))

    @property
    def top1(self) -> npt.NDArray[np.int64]:
        """[n, T] predicted classes."""
        return self.top5[:, :, 0].astype(np.int64)

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """[n, T] whether the top-1 class is the label."""
        return np.asarray(self.top1 == self.labels[:, None])


@dataclass(frozen=True, slots=True)
class Manifest:
    """run.json: everything that fixes what the cells of a run mean."""

    model: dict[str, Any]
    """spec, name, arch, pooling, placement, weights_sha256, parameters, num_classes, preprocessing, card."""
    data: dict[str, Any]
    """name, images (count), classes (count), sets (a protocol's count and sha256 of its ids, labels, pixels)."""
    signature: dict[str, dict[str, str]]
    """Fields that fix the protocol: `common` and one entry a protocol."""
    cells: tuple[str, ...]
    """Keys of all cells that a complete run has."""
    normaliser: str | None = None
    """What CE and FR are divided by: `alexnet` (the published ImageNet constants), a path of a run relative to
    this run's folder, or None when nothing fits."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """versions, git revision, device, command, time: told, never compared."""
    schema: int = SCHEMA
    """Version of this layout."""

    def identity(self, *, common_to: Manifest) -> dict[str, Any]:
        """What must equal the other manifest's for their cells to lie in one folder: of protocols, those of both."""
        both = [name for name in self.signature if name in common_to.signature]
        sets = _sets_of(self)
        return {
            "weights": self.model.get("weights_sha256"),
            "model": {k: self.model.get(k) for k in ("arch", "pooling", "placement", "preprocessing")},
            "data": {**self.data, "sets": {name: sets[name] for name in both if name in sets}},
            "signature": {name: self.signature[name] for name in both},
        }


def _sets_of(manifest: Manifest) -> dict[str, Any]:
    return dict(manifest.data.get("sets", {}))


def _sets(sets: dict[str, Any]) -> dict[str, Any]:
    return {"sets": sets} if sets else {}


def differences(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Leaves in which two nested mappings differ, as `field: a != b`.

    >>> differences({"x": {"seed": "0"}}, {"x": {"seed": "1"}})
    ['x.seed: 0 != 1']
    """
    found: list[str] = []
    for key in sorted(set(a) | set(b)):
        left, right = a.get(key), b.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            found += differences(left, right, f"{prefix}{key}.")
        elif left != right:
            found.append(f"{prefix}{key}: {left} != {right}")
    return found


def signature_line(signature: Mapping[str, Mapping[str, str]]) -> str:
    """The protocol in one line, made to be pasted beside a score.

    >>> signature_line({"common": {"data": "photos", "seed": "0"}, "corruption": {"variant": "imagenet-c"}})
    'rbl1|data:photos|seed:0|corruption(variant:imagenet-c)'
    """
    parts = [f"rbl{SCHEMA}"] + [f"{k}:{v}" for k, v in signature.get("common", {}).items()]
    for protocol, fields in signature.items():
        if protocol != "common":
            inner = ",".join(f"{k}:{v}" for k, v in fields.items())
            parts.append(f"{protocol}({inner})" if inner else protocol)
    return "|".join(parts)


class Run:
    """One model's run folder: `Run.open` reads one, `Run.prepare` starts or resumes one."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Run:
        """The run in a folder.

        Raises:
            IncompleteError: there is no run.json.
            DataError: run.json is damaged, or of a newer layout.
        """
        folder = Path(path)
        try:
            raw = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            raw["cells"] = tuple(raw["cells"])
            manifest = Manifest(**raw)
        except FileNotFoundError:
            raise IncompleteError(
                f"{folder} is not a run: it has no run.json. Name a folder that `robustbench-lift run --out` wrote, "
                "one folder a model."
            ) from None
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{folder / 'run.json'} is damaged ({error}). Restore it from a copy, or delete the whole folder."
            ) from None
        if manifest.schema != SCHEMA:
            raise DataError(
                f"{folder} has run layout {manifest.schema}; this version reads {SCHEMA}. Update or re-run."
            )
        return cls(folder, manifest)

    @classmethod
    def prepare(cls, path: str | os.PathLike[str], manifest: Manifest) -> Run:
        """Start a run, or go on with the one that is there if it is the same model, protocol and images.

        Cells may be added to an existing run (another protocol of the same images); nothing is overwritten.

        Raises:
            IncomparableError: the folder holds a run of something else; the message names each field.
            StorageError: the folder cannot be written.
        """
        folder = Path(path)
        if (folder / "run.json").exists():
            old = cls.open(folder)
            wrong = differences(old.manifest.identity(common_to=manifest), manifest.identity(common_to=old.manifest))
            if wrong:
                raise IncomparableError(
                    f"{folder} holds a run of something else:\n  "
                    + "\n  ".join(wrong)
                    + "\nNothing was changed. Choose another --out, or delete that folder if it is no longer needed."
                )
            merged = {**asdict(old.manifest), "cells": tuple(dict.fromkeys((*old.manifest.cells, *manifest.cells)))}
            merged["signature"] = {**old.manifest.signature, **manifest.signature}
            merged["data"] = {**old.manifest.data, **_sets({**_sets_of(old.manifest), **_sets_of(manifest)})}
            merged["normaliser"] = old.manifest.normaliser or manifest.normaliser
            run = cls(folder, Manifest(**merged))
            if run.manifest == old.manifest:
                return run
        elif any((folder / "cells").rglob("*.npz")):
            raise IncomparableError(
                f"{folder} holds cells but no run.json, so nobody knows which model they are of. Restore run.json, or "
                "delete the folder and run again."
            )
        else:
            run = cls(folder, manifest)
        write_atomic(folder / "run.json", (json.dumps(asdict(run.manifest), indent=1) + "\n").encode())
        return run

    @property
    def name(self) -> str:
        """The model's short name."""
        return str(self.manifest.model["name"])

    @property
    def signature(self) -> str:
        """The one line that fixes the protocol."""
        return signature_line(self.manifest.signature)

    @property
    def expected(self) -> tuple[Cell, ...]:
        """All cells of a complete run, in order."""
        return tuple(Cell.parse(key) for key in self.manifest.cells)

    def file(self, cell: Cell) -> Path:
        """Where a cell lies."""
        return self.path / "cells" / cell.protocol / cell.condition / f"{cell.severity}.npz"

    def has(self, cell: Cell) -> bool:
        """Whether a cell is there."""
        return self.file(cell).exists()

    def missing(self) -> tuple[Cell, ...]:
        """Expected cells that are not there yet."""
        return tuple(cell for cell in self.expected if not self.has(cell))

    def part(self, cell: Cell, index: int, count: int) -> Path:
        """Where job `index` of `count` leaves its share of a cell until all shares are there."""
        whole = self.file(cell)
        return whole if count == 1 else whole.with_name(f"{cell.severity}.part-{index}-of-{count}.npz")

    def has_part(self, cell: Cell, index: int, count: int) -> bool:
        """Whether a job has nothing left to do for a cell."""
        return self.has(cell) or self.part(cell, index, count).exists()

    def write(self, cell: Cell, predictions: Predictions, *, shard: tuple[int, int] = (0, 1)) -> None:
        """Store a cell, or one job's share of it, whole or not at all."""
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            ids=predictions.ids,
            labels=predictions.labels,
            top5=predictions.top5,
            confidence=predictions.confidence,
        )
        write_atomic(self.part(cell, *shard), buffer.getvalue())

    def merge(self, cell: Cell, count: int) -> bool:
        """Make the cell out of its shares when all are there; whoever comes last does it, twice does no harm."""
        parts = [self.part(cell, index, count) for index in range(count)]
        if count == 1 or self.has(cell) or not all(part.exists() for part in parts):
            return self.has(cell)
        shares = [share for share in map(_load, parts) if len(share.ids)]  # a job may have got no image
        self.write(
            cell,
            Predictions.sorted(
                np.concatenate([share.ids for share in shares]),
                np.concatenate([share.labels for share in shares]),
                np.concatenate([share.top5 for share in shares]),
                np.concatenate([share.confidence for share in shares]),
            ),
        )
        for part in parts:
            part.unlink(missing_ok=True)
        return True

    def read(self, cell: Cell) -> Predictions:
        """The predictions of a cell.

        Raises:
            IncompleteError: the cell is not there.
            DataError: the file is damaged; the message says which to delete.
        """
        file = self.file(cell)
        if not file.exists():
            raise IncompleteError(
                f"{self.path} has no predictions for {cell.key} ({len(self.missing())} of {len(self.expected)} cells "
                "are missing). Run the same command again: it goes on where it stopped."
            )
        predictions = _load(file)
        images = self.manifest.data.get("sets", {}).get(cell.protocol, self.manifest.data)["images"]
        if len(predictions.ids) != images:
            raise DataError(
                f"{file} holds {len(predictions.ids)} images, the run has {images}. Delete this file and run the same "
                "command again."
            )
        return predictions


def _load(file: Path) -> Predictions:
    try:
        # from memory: a damaged archive would leave a file of numpy's open
        content = file.read_bytes()
        if not content.startswith(b"PK"):
            raise DataError(f"{len(content)} bytes that are no archive")
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            return Predictions(stored["ids"], stored["labels"], stored["top5"], stored["confidence"])
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error, DataError) as error:
        raise DataError(
            f"{file} is damaged ({error}). Delete this one file and run the same command again; "
            "only that cell is computed anew."
        ) from None


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: to a temporary name beside it, then renamed.

    Raises:
        StorageError: the folder is read-only, the disk is full, a parent is a file.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            temporary.unlink(missing_ok=True)
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}. Choose a folder that can be written and has room; "
            "what is already stored is kept, and the same command goes on from there."
        ) from None
