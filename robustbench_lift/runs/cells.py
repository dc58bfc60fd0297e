"""One cell of a run: which it is, what a model answered in it, and the bytes that this is stored as."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from robustbench_lift.errors import DataError


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


def encode(predictions: Predictions) -> bytes:
    """The bytes of a cell's file."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        ids=predictions.ids,
        labels=predictions.labels,
        top5=predictions.top5,
        confidence=predictions.confidence,
    )
    return buffer.getvalue()


def load(file: Path) -> Predictions:
    """The predictions in a cell's file.

    Raises:
        DataError: the file is damaged; the message says which to delete.
    """
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
