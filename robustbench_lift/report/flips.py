"""Which sequences show best how models change their mind: those on which the models of a group differ most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from robustbench_lift.report.schema import Flips, Model
from robustbench_lift.runs import Cell, Predictions, Run


def changes(classes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How often the class changes from frame to frame, [n, T] -> [n].

    >>> changes(np.array([[1, 1, 2, 1], [3, 3, 3, 3]])).tolist()
    [2, 0]
    """
    return np.asarray((classes[:, 1:] != classes[:, :-1]).sum(axis=1), dtype=np.int64)


def chosen_flips(models: Sequence[tuple[Model, Run]], *, count: int) -> tuple[Flips, ...]:
    """The sequences, at most one a perturbation, with the widest gap between the steadiest and the least steady model.

    Args:
        models: models with their runs; only the first group that has perturbation cells is looked at.
        count: how many sequences.
    """
    if count <= 0:
        return ()
    for group in dict.fromkeys(m.group for m, _ in models):
        members = [(m, run) for m, run in models if m.group == group]
        cells = [cell for cell in members[0][1].expected if cell.protocol == "perturbation"]
        found = [best for cell in cells if (best := _widest(cell, members)) is not None]
        if found:
            found.sort(key=lambda item: (-item[0], item[1].perturbation))
            return tuple(flips for _, flips in found[:count])
    return ()


def _widest(cell: Cell, members: Sequence[tuple[Model, Run]]) -> tuple[int, Flips] | None:
    answers: dict[str, Predictions] = {m.label: run.read(cell) for m, run in members if run.has(cell)}
    if not answers:
        return None
    first = next(iter(answers.values()))
    flips = np.stack([changes(p.top1) for p in answers.values()])
    gap = flips.max(axis=0) - flips.min(axis=0) if len(answers) > 1 else flips[0]
    row = int(gap.argmax())  # the first of equals: the same choice every time
    if flips[:, row].max() == 0:
        return None
    chosen = Flips(
        perturbation=cell.condition,
        difficulty=cell.severity,
        image=str(first.ids[row]),
        label=int(first.labels[row]),
        group=members[0][0].group,
        predictions={label: tuple(p.top1[row].tolist()) for label, p in answers.items()},
        confidence={label: tuple(round(float(c), 4) for c in p.confidence[row]) for label, p in answers.items()},
    )
    return int(gap[row]), chosen
