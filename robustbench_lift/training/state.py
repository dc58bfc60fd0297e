"""The state of a training on disk: tensors and plain values, written whole or not at all, read without unpickling code.

OUT/recipe.json          network, recipe, data, seed: what this training is
OUT/state.pt             everything that is needed to go on, replaced after each epoch
OUT/best.safetensors     weights of the epoch with the lowest test error so far, with card
OUT/log.jsonl            one line an epoch
OUT/curves.png           loss and error by epoch
OUT/final.safetensors    the result, with card; its presence says that the training is complete
OUT/result.json          what it scored
"""

from __future__ import annotations

import contextlib
import io
import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robustbench_lift.errors import CheckpointError, IncomparableError
from robustbench_lift.files import write_atomic
from robustbench_lift.runs import differences

SCHEMA = 1
STATE, IDENTITY, LOG, CURVES = "state.pt", "recipe.json", "log.jsonl", "curves.png"
BEST, FINAL, RESULT = "best.safetensors", "final.safetensors", "result.json"


@dataclass(slots=True)
class Position:
    """How far a training is, and what it has counted of the current epoch."""

    epoch: int = 0
    """Epochs that are complete."""
    step: int = 0
    """Optimiser steps done in the current epoch."""
    loss: float = 0.0
    """Sum of the task loss over the images of this epoch so far."""
    auxiliary: float = 0.0
    """Sum of the weighted auxiliary loss over the images of this epoch so far."""
    correct: float = 0.0
    """Training images of this epoch that were classified correctly."""
    images: float = 0.0
    """Training images of this epoch so far."""
    seconds: float = 0.0
    """Seconds of training so far, over all sessions."""
    best: float = float("inf")
    """Lowest test error so far."""


def write_state(
    folder: Path,
    *,
    identity: dict[str, Any],
    position: Position,
    history: list[dict[str, Any]],
    tensors: dict[str, Any],
) -> None:
    """Replace the state; the old one stays whole until the new one is.

    Raises:
        StorageError: a full or read-only disk; the old state is kept.
    """
    words = {
        "identity": identity,
        "position": {k: getattr(position, k) for k in Position.__slots__},
        "history": history,
    }
    buffer = io.BytesIO()
    torch.save({"schema": SCHEMA, "words": json.dumps(words), **tensors}, buffer)
    write_atomic(folder / STATE, buffer.getvalue())


def read_state(
    folder: Path, *, identity: dict[str, Any]
) -> tuple[Position, list[dict[str, Any]], dict[str, Any]] | None:
    """The state to go on from, or None when there is none.

    Raises:
        IncomparableError: the state is of another network, recipe, data set or seed; each difference is named.
        CheckpointError: the state is damaged.
    """
    path = folder / STATE
    if not path.exists():
        return None
    try:
        stored: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if stored["schema"] != SCHEMA:
            raise CheckpointError(
                f"{path} has layout {stored['schema']}, this version reads {SCHEMA}. Train in a new --out."
            )
        words = json.loads(stored.pop("words"))
        position, history = Position(**words["position"]), words["history"]
    except (RuntimeError, ValueError, KeyError, TypeError, EOFError, OSError, pickle.UnpicklingError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{path} is damaged ({reason[:200]}). Restore it from a copy, or delete {folder} to start again."
        ) from None
    wrong = differences(words["identity"], identity)
    if wrong:
        raise IncomparableError(
            f"{folder} holds a training of something else (stored != asked):\n  "
            + "\n  ".join(wrong)
            + "\nNothing was changed. Choose another --out, or delete that folder if it is no longer needed."
        )
    return position, history, stored


def remove_leftovers(folder: Path) -> None:
    """Delete the half-written files of processes that were killed while they wrote."""
    for name in (STATE, BEST, FINAL, IDENTITY, RESULT, LOG, CURVES):
        for partial in folder.glob(f".{name}.*.partial"):
            with contextlib.suppress(OSError):  # in the way of nothing but the disk's room
                partial.unlink()


def write_identity(folder: Path, identity: dict[str, Any]) -> None:
    """Say in recipe.json what the folder holds."""
    write_atomic(folder / IDENTITY, (json.dumps(identity, indent=1) + "\n").encode())


def write_log(folder: Path, history: list[dict[str, Any]]) -> None:
    """The log as JSON lines, one an epoch; written anew from the state, so it never tells of an epoch twice."""
    write_atomic(folder / LOG, "".join(json.dumps(line) + "\n" for line in history).encode())


def read_result(folder: Path, *, identity: dict[str, Any]) -> dict[str, Any] | None:
    """The result of a complete training, or None when it is not complete.

    Raises:
        IncomparableError: it is the result of something else.
    """
    path = folder / RESULT
    if not path.exists() or not (folder / FINAL).exists():
        return None
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        wrong = differences(result["identity"], identity)
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}). Delete {folder} to train again.") from None
    if wrong:
        raise IncomparableError(
            f"{folder} holds a complete training of something else (stored != asked):\n  "
            + "\n  ".join(wrong)
            + "\nNothing was changed. Choose another --out."
        )
    return result


def finite(tensors: dict[str, Tensor]) -> bool:
    """Whether all floating-point values are finite.

    >>> finite({"w": torch.ones(2)}), finite({"w": torch.tensor([1.0, float("nan")])})
    (True, False)
    """
    return all(bool(torch.isfinite(value).all()) for value in tensors.values() if value.is_floating_point())
