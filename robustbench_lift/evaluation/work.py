"""A cell under way: which images it shows, who is to answer, what was answered, and what is stored of an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from robustbench_lift.data.base import ImageSet
from robustbench_lift.errors import RobustbenchError
from robustbench_lift.evaluation.answers import require_same_classes
from robustbench_lift.evaluation.identity import files_sha256
from robustbench_lift.protocols.base import EvaluationProtocol, stored_by
from robustbench_lift.runs import Cell, Record, Run
from robustbench_lift.shares import Share
from robustbench_lift.weights import LoadedModel


@dataclass(kw_only=True, eq=False)
class Work:
    """One cell, and which of its images are to be shown."""

    protocol: EvaluationProtocol
    cell: Cell
    images: ImageSet
    rows: Sequence[int]
    """Indices into `images`, at least one."""
    failed: bool = False
    """Whether an image could not be read: then the others are only read, to name all that cannot."""


@dataclass(kw_only=True, eq=False)
class Task(Work):
    """A cell under way: who is still to answer, and what they have answered."""

    number: int
    """Position among all cells."""
    record: type[Record]
    """What is stored of an answer."""
    pending: Sequence[tuple[LoadedModel, Run]]
    """Models without this cell."""
    waiting: list[tuple[LoadedModel, Run]]
    """Those of them without this job's share of it."""
    files: str | None
    """What the files of the images were when they were first shown."""
    answers: list[dict[str, npt.NDArray[Any]]] = field(default_factory=list)
    """Of each that waits, the arrays of the record, made once for all rows: memory does not grow with the images."""
    done: int = 0
    """Images that were shown or could not be read."""

    @classmethod
    def of(
        cls,
        number: int,
        protocol: EvaluationProtocol,
        cell: Cell,
        pending: Sequence[tuple[LoadedModel, Run]],
        shard: Share,
        seen: dict[int, tuple[ImageSet, str | None]],
    ) -> Task:
        """The cell, of models without it; `seen` holds the image sets that were shown, and what their files were."""
        images = protocol.images(cell)
        for model, _ in pending:
            require_same_classes(model, protocol, images)
        if id(images) not in seen:
            seen[id(images)] = images, files_sha256(images)
        return cls(
            protocol=protocol,
            cell=cell,
            images=images,
            rows=range(shard.index, len(images.ids), shard.count),
            number=number,
            record=stored_by(protocol),
            pending=pending,
            waiting=[(m, r) for m, r in pending if not r.has_share(cell, shard)],
            files=seen[id(images)][1],
        )

    def take(self, model: int, rows: Sequence[int], answers: Mapping[str, npt.NDArray[Any]]) -> None:
        """Note what a waiting model answered to some rows."""
        while len(self.answers) <= model:
            self.answers.append({})
        arrays = self.answers[model]
        first, step = self.rows[0], self.rows[1] - self.rows[0] if len(self.rows) > 1 else 1
        places = [(row - first) // step for row in rows]
        for name, values in answers.items():
            if name not in arrays:
                arrays[name] = np.empty((len(self.rows), *values.shape[1:]), values.dtype)
            arrays[name][places] = values


@dataclass(frozen=True, slots=True)
class Shown:
    """A batch of a cell on its way to the networks."""

    work: Work
    rows: list[int]
    """Rows of the frames, indices into the images."""
    frames: Tensor | None
    """uint8 [n, T, 3, h, w] on the device; None where the cell cannot be completed."""
    targets: Tensor
    """[n, ...] what answers are measured by, on the device."""
    failed: list[tuple[int, RobustbenchError]] = field(default_factory=list)
    """Rows that could not be read, and why."""

    def combining(self) -> Callable[[dict[str, Tensor]], dict[str, npt.NDArray[Any]]] | None:
        """How a protocol that compares the frames of an image makes what is stored; None for those that do not."""
        combine = getattr(self.work.protocol, "combine", None)
        if combine is None:
            return None
        ids = [self.work.images.ids[row] for row in self.rows]
        made: Callable[[dict[str, Tensor]], dict[str, npt.NDArray[Any]]] = partial(
            combine, self.work.cell, targets=self.targets.cpu(), ids=ids
        )
        return made
