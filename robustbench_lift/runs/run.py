"""The run folder: one model's predictions, a file a cell, and the manifest that says what they are.

    RUN/run.json                                              manifest: signature, model, data, versions, all cells
    RUN/cells/<protocol>/<condition>/<severity>.npz               a cell
    RUN/cells/<protocol>/<condition>/<severity>.share-i-of-n.npz  what job i of n has of it, until all shares are there

A cell is written to a temporary name and renamed, so a file that exists is whole; a cell that exists is never
computed again. A folder of other weights, another protocol or other images is refused, never mixed; a cell that was
exchanged, edited or damaged is refused by name. Any number of processes may write into one folder at a time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import re
from pathlib import Path
from typing import Self, TypeVar

from robustbench_lift.errors import DataError, IncomparableError, IncompleteError, StorageError, UsageError
from robustbench_lift.files import folder_lock, write_atomic
from robustbench_lift.runs.cells import Cell, Predictions, Record
from robustbench_lift.runs.manifest import Manifest, differences, signature_line
from robustbench_lift.runs.storage import Owner, encode, load
from robustbench_lift.shares import EVERYTHING, Share

MOST_CLASSES = 1 << 15
"""Classes are stored as int16."""
logger = logging.getLogger(__name__)
R = TypeVar("R", bound=Record)
SHARE = re.compile(r"(\d{1,3})\.(share|part)-(\d{1,6})-of-(\d{1,6})\.npz")
"""A share of a cell; those named `part` are of an earlier version and of no use any more."""


class Run:
    """One model's run folder: `Run.open` reads one, `Run.prepare` starts or resumes one."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """The run in a folder.

        Raises:
            IncompleteError: there is no run.json.
            DataError: run.json is damaged, or of a newer layout.
            StorageError: it cannot be read.
        """
        run = cls._open(Path(path))
        if run.manifest.schema == 1:
            logger.warning(
                "%s was written by an earlier version: its cells do not say whose they are, and hold no probability of "
                "the label. Evaluate again, into another folder, for negative log-likelihood and Brier score.",
                run.path,
            )
        return run

    @classmethod
    def _open(cls, folder: Path) -> Self:
        try:
            return cls(folder, Manifest.read(folder / "run.json"))
        except (FileNotFoundError, NotADirectoryError):
            raise IncompleteError(
                f"{folder} is not a run: it has no run.json. Name a folder that `robustbench-lift run --out` wrote, "
                "one folder a model."
            ) from None
        except (OSError, ValueError) as error:
            raise StorageError(
                f"{folder / 'run.json'} cannot be read: {getattr(error, 'strerror', None) or error}."
            ) from None

    @classmethod
    def prepare(cls, path: str | os.PathLike[str], manifest: Manifest) -> Self:
        """Start a run, or go on with the one that is there if it is the same model, protocol and images.

        Cells may be added to an existing run (another protocol of the same images); nothing is overwritten.

        Raises:
            IncomparableError: the folder holds a run of something else; the message names each field.
            StorageError: the folder cannot be written.
        """
        folder = Path(path)
        with contextlib.suppress(IncompleteError):
            old = cls.open(folder)
            run = old._joined(manifest)
            if run.manifest == old.manifest:
                return run  # nothing to write: the folder may be read-only
        with folder_lock(folder, ".run.json.lock"):  # others may add their protocols meanwhile
            try:
                run = cls._open(folder)._joined(manifest)
            except IncompleteError:
                if any((folder / "cells").rglob("*.npz")):
                    raise IncomparableError(
                        f"{folder} holds cells but no run.json, so nobody knows which model they are of. Restore "
                        "run.json, or delete the folder and run again."
                    ) from None
                run = cls(folder, manifest)
            write_atomic(folder / "run.json", run.manifest.text())
        return run

    def _joined(self, manifest: Manifest) -> Self:
        """This run with what another call of the same model and data adds."""
        wrong = differences(self.manifest.identity(common_to=manifest), manifest.identity(common_to=self.manifest))
        if wrong:
            raise IncomparableError(
                f"{self.path} holds a run of something else:\n  "
                + "\n  ".join(wrong)
                + "\nNothing was changed. Choose another --out, or delete that folder if it is no longer needed."
            )
        return type(self)(self.path, self.manifest.joined(manifest))

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

    def share_file(self, cell: Cell, share: Share) -> Path:
        """Where a job leaves its share of a cell until all shares are there."""
        whole = self.file(cell)
        if share.count == 1:
            return whole
        return whole.with_name(f"{cell.severity}.share-{share.index + 1}-of-{share.count}.npz")

    def has_share(self, cell: Cell, share: Share) -> bool:
        """Whether a job has nothing left to do for a cell."""
        return self.has(cell) or self.share_file(cell, share).exists()

    def other_shares(self, count: int) -> list[Path]:
        """Shares that jobs of another number left: they are not used, and go when their cells are complete."""
        found = []
        for file in sorted((self.path / "cells").glob("*/*/*-of-*.npz")):
            match = SHARE.fullmatch(file.name)
            if match is not None and (match[2] == "part" or int(match[4]) != count):
                found.append(file)
        return found

    def write(self, cell: Cell, stored: Record, *, share: Share = EVERYTHING) -> None:
        """Store a cell, or one job's share of it, whole or not at all.

        Raises:
            StorageError: the folder cannot be written, or is no longer that of the run.
        """
        if not (self.path / "run.json").exists():  # cells alone are no run, and nobody could read them
            raise StorageError(
                f"{self.path} was removed or emptied while the run was written: it has no run.json any more. Run the "
                "same command again."
            )
        write_atomic(self.share_file(cell, share), encode(stored, self._owner(cell, share)))
        if share.count == 1:
            self._remove_shares(cell)

    def merge(self, cell: Cell, count: int) -> bool:
        """Make the cell out of its shares when all are there; whoever comes last does it, twice does no harm.

        Returns:
            whether the cell is there.
        """
        if not self.has(cell):
            shares = [Share(index, count) for index in range(count)]
            files = [self.share_file(cell, share) for share in shares]
            # in an order of chance: n jobs that end one after the other ask about n log n times in all, not n^2 / 2
            if count == 1 or not all(file.exists() for file in random.Random().sample(files, count)):
                return False
            try:
                parts = [load(file, self._owner(cell, share)) for file, share in zip(files, shares, strict=True)]
            except IncompleteError:
                return self.has(cell)  # another job was faster and has removed them
            self.write(cell, type(parts[0]).joined(parts))
        self._remove_shares(cell)
        return True

    def _remove_shares(self, cell: Cell) -> None:
        """Remove the shares of a cell that is there, of jobs of any number."""
        for file in self.file(cell).parent.glob(f"{cell.severity}.*-of-*.npz"):
            if SHARE.fullmatch(file.name):
                file.unlink(missing_ok=True)

    def record(self, cell: Cell, kind: type[R]) -> R:
        """What a cell holds, of a kind of record.

        Raises:
            IncompleteError: the cell is not there.
            DataError: the file is damaged, edited, or not this run's cell; the message says which to delete.
        """
        try:
            stored = load(self.file(cell), self._owner(cell))
        except IncompleteError:
            raise IncompleteError(
                f"{self.path} has no predictions for {cell.key} ({len(self.missing())} of {len(self.expected)} cells "
                "are missing). Run the same command again: it goes on where it stopped."
            ) from None
        if len(stored.ids) != self.manifest.images(cell.protocol):
            raise DataError(
                f"{self.file(cell)} holds {len(stored.ids)} images, the run has "
                f"{self.manifest.images(cell.protocol)}. Delete this file and run the same command again."
            )
        if not isinstance(stored, kind):
            raise DataError(f"{cell.key} of {self.path} is a {stored.KIND} record, not a {kind.KIND} one.")
        return stored

    def read(self, cell: Cell) -> Predictions:
        """The predictions of a cell of a classifier.

        Raises:
            IncompleteError: the cell is not there.
            DataError: the file is damaged, edited, or not this run's cell; the message says which to delete.
        """
        return self.record(cell, Predictions)

    def _owner(self, cell: Cell, share: Share = EVERYTHING) -> Owner:
        """Whose a file of this run is."""
        return Owner(
            cell=cell,
            run=self.manifest.cell_identity(cell.protocol),
            share=None if share.count == 1 else str(share),
            images=self.manifest.images(cell.protocol),
            classes=int(self.manifest.data.get("classes", MOST_CLASSES)),
            old=self.manifest.schema == 1,
        )


def opened(run: Run | str | os.PathLike[str]) -> Run:
    """A run, or the run in a folder.

    Raises:
        UsageError: it is neither.
        IncompleteError, DataError, StorageError: as `Run.open`.
    """
    if isinstance(run, Run):
        return run
    if not isinstance(run, str | os.PathLike):
        raise UsageError(f"expected a run, or the path of its folder, not a {type(run).__name__}.")
    return Run.open(run)
