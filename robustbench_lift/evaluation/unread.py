"""Images that could not be read: named and counted, and the cells that need them left out."""

from __future__ import annotations

from robustbench_lift.data.base import ImageSet
from robustbench_lift.errors import IncompleteError, NoImageError, RobustbenchError
from robustbench_lift.evaluation.work import Task
from robustbench_lift.runs import Cell

HOPELESS = 16
"""Images of a cell that cannot be read before a single one can: then something else is wrong than an image."""


class Unread:
    """Images that could not be read: named and counted, and the cells that need them left out."""

    NAMED = 20
    """Images that the message names."""

    def __init__(self) -> None:
        self.cells: list[Cell] = []
        self._errors: dict[str, RobustbenchError] = {}
        self._sets: list[ImageSet] = []

    def note(self, task: Task, failed: list[tuple[int, RobustbenchError]]) -> None:
        """Some images of a cell could not be read.

        Raises:
            RobustbenchError: the first, when not one image of the cell could be.
        """
        if task.done == 0 and len(failed) >= min(HOPELESS, len(task.rows)):
            raise failed[0][1]
        if task.cell not in self.cells:
            self.cells.append(task.cell)
            self._sets.append(task.images)
        self._errors |= {str(error): error for _, error in failed}

    def concerns(self, task: Task) -> bool:
        """Whether a cell shows images of which some are known to be unreadable."""
        return any(task.images is one for one in self._sets)

    def require_none(self, cells: int) -> None:
        """Name what could not be read, if anything could not.

        Args:
            cells: of the whole request.

        Raises:
            IncompleteError: some image is damaged.
            NoImageError: all that could not be read are other things than images, so that the data are to be mended.
        """
        if not self._errors:
            return
        named = list(self._errors)[: self.NAMED]
        more = len(self._errors) - len(named)
        count = "1 image" if len(self._errors) == 1 else f"{len(self._errors)} images"
        others = all(isinstance(error, NoImageError) for error in self._errors.values())
        raise (NoImageError if others else IncompleteError)(
            f"{count} cannot be read:\n  "
            + "\n  ".join(named)
            + (f"\n  and {more} more" if more else "")
            + f"\n{len(self.cells)} of {cells} cells need them and were not stored; no mean is taken over the rest. "
            "What else was asked for is stored. Replace the images and run the same command again: it goes on from "
            "there."
        )
