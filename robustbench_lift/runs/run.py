"""The run folder: one model's predictions, a file a cell, and the manifest that says what they are.

    RUN/run.json                                 manifest: signature, model, data, versions, expected cells
    RUN/cells/<protocol>/<condition>/<severity>.npz   ids, labels, top5, confidence

A cell is written to a temporary name and renamed, so a file that exists is whole; a cell that exists is never
computed again. A folder of other weights, another protocol or other images is refused, never mixed.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np

from robustbench_lift.errors import DataError, IncomparableError, IncompleteError, StorageError
from robustbench_lift.files import write_atomic
from robustbench_lift.runs.cells import Cell, Predictions, encode, load
from robustbench_lift.runs.manifest import SCHEMA, Manifest, differences, signature_line


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
            StorageError: it cannot be read.
        """
        folder = Path(path)
        try:
            raw = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            raw["cells"] = tuple(raw["cells"])
            manifest = Manifest(**raw)
        except (FileNotFoundError, NotADirectoryError):
            raise IncompleteError(
                f"{folder} is not a run: it has no run.json. Name a folder that `robustbench-lift run --out` wrote, "
                "one folder a model."
            ) from None
        except OSError as error:
            raise StorageError(f"{folder / 'run.json'} cannot be read: {error.strerror}.") from None
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
            run = cls(folder, old.manifest.joined(manifest))
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
        write_atomic(self.part(cell, *shard), encode(predictions))

    def merge(self, cell: Cell, count: int) -> bool:
        """Make the cell out of its shares when all are there; whoever comes last does it, twice does no harm."""
        parts = [self.part(cell, index, count) for index in range(count)]
        if count == 1 or self.has(cell) or not all(part.exists() for part in parts):
            return self.has(cell)
        shares = [share for share in map(load, parts) if len(share.ids)]  # a job may have got no image
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
        predictions = load(file)
        images = self.manifest.data.get("sets", {}).get(cell.protocol, self.manifest.data)["images"]
        if len(predictions.ids) != images:
            raise DataError(
                f"{file} holds {len(predictions.ids)} images, the run has {images}. Delete this file and run the same "
                "command again."
            )
        return predictions
