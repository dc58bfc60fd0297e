"""What a training tells: where it stands while it runs, and what it left behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Where a training stands."""

    epoch: int
    """0-based epoch under way."""
    epochs: int
    """Epochs of the recipe."""
    step: int
    """Optimiser steps of this epoch that are done."""
    steps: int
    """Optimiser steps of an epoch."""
    loss: float
    """Mean task loss of this epoch so far."""
    images_per_second: float
    """Training images a second in this session, testing and storing included."""
    seconds_left: float
    """Estimate for the rest of the training."""
    finished: dict[str, Any] | None = None
    """The log line of an epoch that just ended."""

    @property
    def share(self) -> float:
        """Share of all steps that is done, 0..1."""
        return (self.epoch * self.steps + self.step) / (self.epochs * self.steps)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call of `train` left behind."""

    folder: Path
    """The training's folder."""
    finished: bool
    """Whether all epochs are done; otherwise the same call goes on."""
    epochs: int
    """Complete epochs."""
    result: dict[str, Any] | None
    """result.json of a finished training: clean_error, sha256, parameters, ..."""
    history: list[dict[str, Any]]
    """One log line an epoch."""
