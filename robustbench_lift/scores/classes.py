"""Errors by class and most confused classes of a run, as pandas frames: read from its cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import metrics
from robustbench_lift.errors import UsageError
from robustbench_lift.runs import Cell, Run

if TYPE_CHECKING:
    import pandas as pd


def class_frame(run: Run, protocol: str = "clean", *, class_names: Sequence[str] = ()) -> pd.DataFrame:
    """Top-1 error of each class: one row a class and condition, and a condition `all` where there are several.

    Columns: model, protocol, condition, class, name, images (shown, over all severities), error, and `taken_for`, the
    class that is answered most often in its place, with `times`.

    Args:
        run: with cells of the protocol.
        protocol: `clean` or `corruption`.
        class_names: in index order; those of the folders in the ids where they are left out.

    Raises:
        UsageError: the run has no such cells.
        IncompleteError, DataError: a cell is missing or damaged.
    """
    import pandas as pd

    tables, names = confusions(run, protocol), _names(run, protocol, class_names)
    records: list[dict[str, Any]] = []
    for condition, counts in tables.items():
        errors, wrong = metrics.class_errors(counts), counts - np.diag(np.diag(counts))
        for k, error in enumerate(errors):
            shown = int(counts[k].sum())
            if shown:
                other = int(wrong[k].argmax()) if wrong[k].any() else None
                records.append(
                    {
                        "model": run.name, "protocol": protocol, "condition": condition, "class": k, "name": names[k],
                        "images": shown, "error": float(error),
                        "taken_for": None if other is None else names[other],
                        "times": 0 if other is None else int(wrong[k][other]),
                    }
                )  # fmt: skip
    return pd.DataFrame.from_records(records)


def confused_frame(
    run: Run, protocol: str = "clean", *, most: int = 20, class_names: Sequence[str] = ()
) -> pd.DataFrame:
    """The classes that are most often taken for others, over all cells of a protocol.

    Columns: model, protocol, label, answer, times, share (of the images of the label).

    Args:
        run: with cells of the protocol.
        protocol: `clean` or `corruption`.
        most: pairs at most.
        class_names: in index order; those of the folders in the ids where they are left out.

    Raises:
        UsageError: the run has no such cells.
        IncompleteError, DataError: a cell is missing or damaged.
    """
    import pandas as pd

    counts = np.sum(list(confusions(run, protocol, every=False).values()), axis=0)
    names = _names(run, protocol, class_names)
    records = [
        {
            "model": run.name, "protocol": protocol, "label": names[label], "answer": names[answer], "times": times,
            "share": times / int(counts[label].sum()),
        }
        for label, answer, times in metrics.most_confused(counts, most)
    ]  # fmt: skip
    columns = ("model", "protocol", "label", "answer", "times", "share")
    return pd.DataFrame.from_records(records, columns=None if records else list(columns))


def confusions(run: Run, protocol: str, *, every: bool = True) -> dict[str, npt.NDArray[np.int64]]:
    """Confusion counts [K, K] by condition, severities added up; and of `all` conditions where there are several.

    Raises:
        UsageError: the run has no cells of one frame an image of this protocol.
    """
    cells: list[Cell] = [cell for cell in run.expected if cell.protocol == protocol]
    if not cells or protocol in ("perturbation", "shift"):
        shown = sorted({cell.protocol for cell in run.expected} - {"perturbation", "shift"})
        raise UsageError(
            f"{run.name} has no cells of {protocol} with classes to count; it has {', '.join(shown) or 'none'}."
        )
    classes = int(run.manifest.data["classes"])
    found: dict[str, npt.NDArray[np.int64]] = {}
    for cell in cells:
        stored = run.read(cell)
        counts = metrics.confusion_counts(stored.labels, stored.top1[:, 0], classes)
        found[cell.condition] = found[cell.condition] + counts if cell.condition in found else counts
    if every and len(found) > 1:
        found["all"] = np.sum(list(found.values()), axis=0)
    return found


def _names(run: Run, protocol: str, given: Sequence[str]) -> list[str]:
    """Names of classes: those given, else the folders of the images, else their numbers."""
    from robustbench_lift.data.classes import WNID, class_titles

    classes = int(run.manifest.data["classes"])
    if given:
        if len(given) != classes:
            raise UsageError(f"{len(given)} class names for {classes} classes.")
        return list(given)
    names = [str(k) for k in range(classes)]
    stored = run.read(next(cell for cell in run.expected if cell.protocol == protocol))
    for image, label in zip(stored.ids.tolist(), stored.labels.tolist(), strict=True):
        folder, slash, _ = image.partition("/")
        if slash:
            names[label] = (
                f"{folder} {class_titles()[folder]}" if WNID.fullmatch(folder) and folder in class_titles() else folder
            )
    return names
