"""Where an evaluation stands: in cells, images and the share of all frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from robustbench_lift.protocols.base import EvaluationProtocol
from robustbench_lift.runs import Cell, Run


@dataclass(frozen=True, slots=True)
class Progress:
    """Where an evaluation stands, reported after every batch."""

    cell: Cell
    """The cell under way."""
    cells_done: int
    """Cells complete, those found on disk included."""
    cells_total: int
    """All cells."""
    images_done: int
    """Images of this cell that are done."""
    images_total: int
    """Images of this cell."""
    fraction: float = 0.0
    """Share of all frames of all cells that is done, 0..1."""
    note: str = ""
    """Something to say once: a smaller batch after running out of memory."""


class Reporter:
    """Reports where the evaluation stands, in cells, images and the share of all frames."""

    def __init__(
        self,
        progress: Callable[[Progress], None] | None,
        cells: Sequence[tuple[EvaluationProtocol, Cell]],
        run: Run,
    ) -> None:
        self._progress = progress
        # all cells of a protocol show the same images: none of them has to be listed for their number
        costs = [run.manifest.images(protocol.name) * protocol.frames(cell) for protocol, cell in cells]
        self._until = [0, *np.cumsum(costs).tolist()]
        self._last = Progress(cells[0][1], 0, len(cells), 0, 1)

    def batch(self, cell: Cell, number: int, done: int, images: int) -> None:
        """A batch of a cell is done."""
        before, after = self._until[number], self._until[number + 1]
        fraction = (before + (after - before) * done / images) / self._until[-1]
        self._last = Progress(cell, number + (done == images), len(self._until) - 1, done, images, fraction)
        if self._progress is not None:
            self._progress(self._last)

    def say(self, note: str) -> None:
        """Something to say once."""
        if self._progress is not None:
            self._progress(replace(self._last, note=note))
