"""A baseline in git: a small JSON of scores, and beside it, if wanted, the predicted classes of every image.

The JSON alone allows the unpaired test only, which sees about half as much; the .npz makes the test paired. Every
field has a checksum, so that an edit by hand is noticed and named.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
import zlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

import metrics
from robustbench_lift.errors import DataError, IncompleteError
from robustbench_lift.files import TEXT_LIMIT, read_bytes, write_atomic
from robustbench_lift.provenance import environment, git, git_revision
from robustbench_lift.runs import Cell, Manifest, Predictions, Run
from robustbench_lift.scores.evidence import ClassesOnly, evidence_of
from robustbench_lift.scores.measures import Array
from robustbench_lift.scores.scoring import normaliser_of

SCHEMA = 1
CHECKED = (
    "name",
    "model",
    "data",
    "signature",
    "metrics",
    "cells",
    "wrong",
    "predictions",
    "normaliser_values",
    "accepted",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class AcceptedBaseline:
    """What a baseline file says."""

    path: Path
    """The JSON file."""
    content: dict[str, Any]
    """Its fields."""
    run: Run | None
    """The predictions as a run, when the .npz is there."""

    @property
    def scored(self) -> Run:
        """The run that was accepted, by its manifest alone: what it was, not what it predicted."""
        return Run(self.path, _manifest(self.content))

    @property
    def divisor(self) -> metrics.Baseline | None:
        """The normaliser that the baseline was scored with."""
        stored = self.content["normaliser_values"]
        if stored is None:
            return None
        return metrics.Baseline(
            **{
                **stored,
                "corruption_errors": {name: tuple(five) for name, five in stored["corruption_errors"].items()},
            }
        )


class StoredRun(ClassesOnly):
    """Predicted classes out of a baseline's .npz, read as a run."""

    def __init__(self, path: Path, manifest: Manifest, arrays: dict[str, Any]) -> None:
        super().__init__(path, manifest)
        self._arrays = arrays

    def has(self, cell: Cell) -> bool:
        """Whether the cell is in the file."""
        return f"{cell.key}:top1" in self._arrays

    def read(self, cell: Cell) -> Predictions:
        """The cell; ranks two to five and confidences are not kept in a baseline."""
        top1 = self._arrays[f"{cell.key}:top1"]
        top5 = np.full((*top1.shape, 5), -1, dtype=np.int16)
        top5[..., 0] = top1
        ids, labels = self._arrays[f"{cell.protocol}:ids"], self._arrays[f"{cell.protocol}:labels"]
        return Predictions(ids, labels.astype(np.int64), top5, np.zeros(top1.shape, dtype=np.float32))


def accept(run: Run, path: Path, *, predictions: bool = True, note: str = "") -> list[Path]:
    """Write a run as the new baseline, and return the files that were written.

    Args:
        run: a complete run.
        path: the JSON file.
        predictions: keep the predicted classes of every image in an .npz beside it, which makes later tests paired.
        note: a line on why, kept with the provenance.

    Raises:
        IncompleteError: cells are missing; a baseline has no holes.
        StorageError: the file cannot be written.
    """
    missing = run.missing()
    if missing:
        raise IncompleteError(f"{run.path} lacks {len(missing)} cells (first: {missing[0].key}): not a baseline yet.")
    divisor = normaliser_of(run)
    evidence = evidence_of(run)
    values = evidence.values(divisor)
    numbers = {
        name: {"value": values[name], "n": len(v), "standard_error": _standard_error(v)}
        for name, v in evidence.vectors(divisor).items()
    }
    if not numbers:
        raise IncompleteError(f"{run.path} has no complete number (its cells: {len(run.expected)}): not a baseline.")
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "name": run.name,
        "model": run.manifest.model,
        "data": run.manifest.data,
        "signature": run.manifest.signature,
        "metrics": numbers,
        "cells": list(run.manifest.cells),
        "wrong": {
            cell.key: int((~run.read(cell).correct[:, 0]).sum())
            for cell in run.expected
            if cell.protocol in ("clean", "corruption") and not evidence.ious
        },
        "normaliser_values": _divisor_record(divisor),
        "predictions": None,
        "accepted": {
            **environment(),
            "note": note,
            "project_git": git_revision(path.absolute().parent) if path.parent.is_dir() else None,
            "run": run.manifest.provenance,
        },
    }
    written = [path]
    if predictions and not evidence.ious:  # of counts of pixels the numbers are kept, with their standard errors
        packed = _pack(run)
        beside = path.with_suffix(".npz")
        if beside.is_file():  # until the new JSON is there, the old one must find the predictions that it names
            write_atomic(_previous(beside), beside.read_bytes())
        write_atomic(beside, packed)
        written.append(beside)
        content["predictions"] = {"file": beside.name, "sha256": hashlib.sha256(packed).hexdigest()}
    content["checksums"] = {name: _checksum(content[name]) for name in CHECKED}
    write_atomic(path, (json.dumps(content, indent=1) + "\n").encode())
    _previous(path.with_suffix(".npz")).unlink(missing_ok=True)
    return written


def _previous(beside: Path) -> Path:
    """Where the predictions of the last baseline lie while they are replaced."""
    return beside.with_suffix(".previous.npz")


def changed_files(path: Path) -> list[str]:
    """Files in git that differ from the last commit, the baseline's own aside; none outside git."""
    folder = path.absolute().parent
    if not folder.is_dir():
        return []
    listed = git(folder, "status", "--porcelain", "--untracked-files=no", "-z", "--no-renames")
    own = {path.name, path.with_suffix(".npz").name}
    names = [entry[3:] for entry in (listed or "").split("\0") if entry]
    return [name for name in names if Path(name).name not in own]


def read_baseline(path: Path) -> AcceptedBaseline:
    """A baseline file, checked.

    Raises:
        IncompleteError: the file is absent.
        DataError: it is not a baseline, was edited, or its .npz is another; the message names the field.
    """
    try:
        content = json.loads(read_bytes(path, limit=TEXT_LIMIT))
    except FileNotFoundError:
        raise IncompleteError(
            f"there is no baseline {path}. Make one from a run that you trust: "
            f"robustbench-lift gate {path} RUN --accept"
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read as a baseline: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not a baseline: {error}.") from None
    if (
        not isinstance(content, dict)
        or content.get("schema") != SCHEMA
        or not isinstance(content.get("checksums"), dict)
    ):
        raise DataError(f"{path} is not a baseline of layout {SCHEMA}. Make it anew with `gate --accept`.")
    for name in CHECKED:
        if name not in content or _checksum(content[name]) != content["checksums"].get(name):
            raise DataError(
                f"{path}: the field {name!r} was edited after the baseline was accepted. Restore the file from git, or "
                "accept a run anew with `gate --accept`."
            )
    wrong = _wrong_field(content)
    if wrong:
        raise DataError(
            f"{path}: the field {wrong!r} is not what a baseline has there. Make it anew with `gate --accept`."
        )
    return AcceptedBaseline(path=path, content=content, run=_unpack(path, content))


def _wrong_field(content: dict[str, Any]) -> str:
    """The first field whose value has another type than `accept` writes; empty when all are right."""
    mappings = ("model", "data", "signature", "metrics", "wrong", "accepted")
    for name in mappings:
        if not isinstance(content[name], dict):
            return name
    if not isinstance(content["name"], str):
        return "name"
    if not isinstance(content["model"].get("name"), str):
        return "model.name"
    if not isinstance(content["data"].get("images"), int):
        return "data.images"
    if not all(isinstance(fields, dict) for fields in content["signature"].values()):
        return "signature"
    for name, one in content["metrics"].items():
        known = isinstance(one, dict) and _number(one.get("value")) and isinstance(one.get("n"), int)
        if not known or not (one.get("standard_error") is None or _number(one["standard_error"])):
            return f"metrics.{name}"
    cells = content["cells"]
    if not isinstance(cells, list) or not all(isinstance(key, str) and _is_cell(key) for key in cells):
        return "cells"
    stored = content["predictions"]
    if stored is not None and not (
        isinstance(stored, dict) and all(isinstance(stored.get(key), str) for key in ("file", "sha256"))
    ):
        return "predictions"
    if not isinstance(content["accepted"].get("run"), dict):
        return "accepted.run"
    return "" if _is_normaliser(content["normaliser_values"]) else "normaliser_values"


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_cell(key: str) -> bool:
    try:
        return Cell.parse(key).key == key
    except ValueError:
        return False


def _is_normaliser(stored: object) -> bool:
    if stored is None:
        return True
    if not isinstance(stored, dict) or set(stored) != {field.name for field in fields(metrics.Baseline)}:
        return False
    errors, flips, distances = (stored[k] for k in ("corruption_errors", "flip_probabilities", "top5_distances"))
    return (
        all(isinstance(stored[key], str) for key in ("name", "source"))
        and isinstance(stored["clean_error"], int | float)
        and isinstance(errors, dict)
        and all(isinstance(five, list) and all(map(_number, five)) for five in errors.values())
        and isinstance(flips, dict)
        and all(map(_number, (*flips.values(), *(distances.values() if isinstance(distances, dict) else ()))))
        and (distances is None or isinstance(distances, dict))
    )


def _pack(run: Run) -> bytes:
    arrays: dict[str, Any] = {}
    for cell in run.expected:
        predictions = run.read(cell)
        arrays[f"{cell.protocol}:ids"] = predictions.ids
        arrays[f"{cell.protocol}:labels"] = predictions.labels.astype(np.int16)
        arrays[f"{cell.key}:top1"] = predictions.top1.astype(np.int16)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _unpack(path: Path, content: dict[str, Any]) -> Run | None:
    stored = content["predictions"]
    if stored is None:
        return None
    beside = path.with_name(Path(stored["file"]).name)
    found = [file for file in (beside, _previous(beside)) if file.exists()]
    if not found:
        return None
    try:
        packed = next(
            (one for one in map(_read_predictions, found) if hashlib.sha256(one).hexdigest() == stored["sha256"]), None
        )
        if packed is None:
            raise DataError(
                f"{beside} is not the file that {path.name} was accepted with (field 'predictions'). Restore both from "
                "git."
            )
        with np.load(io.BytesIO(packed), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{beside} is damaged ({error}). Restore it from git.") from None
    return StoredRun(path, _manifest(content), arrays)


def _read_predictions(file: Path) -> bytes:
    return read_bytes(file, limit=1 << 30)


def _manifest(content: dict[str, Any]) -> Manifest:
    return Manifest(
        model=content["model"],
        data=content["data"],
        signature=content["signature"],
        cells=tuple(content["cells"]),
        provenance=content["accepted"]["run"],
    )


def _standard_error(vector: Array) -> float | None:
    return float(vector.std(ddof=1)) / math.sqrt(len(vector)) if len(vector) > 1 else None


def _divisor_record(divisor: metrics.Baseline | None) -> dict[str, Any] | None:
    if divisor is None:
        return None
    return {
        "name": divisor.name,
        "source": divisor.source,
        "clean_error": divisor.clean_error,
        "corruption_errors": {name: list(five) for name, five in divisor.corruption_errors.items()},
        "flip_probabilities": dict(divisor.flip_probabilities),
        "top5_distances": dict(divisor.top5_distances) if divisor.top5_distances else None,
    }


def _checksum(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
