"""Numbers as tidy pandas frames: one row a (model, protocol, condition, severity, number)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import metrics
from robustbench_lift.runs import Run
from robustbench_lift.scores.bootstrap import intervals
from robustbench_lift.scores.numbers import number_of
from robustbench_lift.scores.scoring import Scores, normaliser_of, score

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("model", "protocol", "condition", "severity", "number", "value")
"""Columns of a frame; `low` and `high` follow when intervals are wanted."""


def place(name: str) -> dict[str, Any]:
    """Where a number belongs: protocol, condition, severity and the number's key; None where it has none.

    >>> place("ce/fog")
    {'protocol': 'corruption', 'condition': 'fog', 'severity': None, 'number': 'ce'}
    >>> place("corruption/fog/3")
    {'protocol': 'corruption', 'condition': 'fog', 'severity': 3, 'number': 'error'}
    """
    number, parts = number_of(name), name.split("/")
    if len(parts) == 3:
        return {"protocol": parts[0], "condition": parts[1], "severity": int(parts[2]), "number": number.key}
    condition = parts[1] if number.family else None
    return {"protocol": number.protocol, "condition": condition, "severity": None, "number": number.key}


def frame_of(scores: Scores, spans: dict[str, tuple[float, float]] | None = None) -> pd.DataFrame:
    """Scores as a frame: headline numbers, families by condition, then error and ECE of each cell."""
    records: list[dict[str, Any]] = []
    for name, value in scores.items():
        records.append({**place(name), "value": value, "name": name})
    for number, by_cell in (("error", scores.errors), ("ece", scores.calibration)):
        for cell, value in by_cell.items():
            records.append({**place(cell.key), "number": number, "value": value, "name": cell.key})
    for record in records:
        name = record.pop("name")
        if spans is not None:
            record["low"], record["high"] = spans.get(name, (None, None))
    return tidy([{"model": scores.name, **record} for record in records], COLUMNS)


def tidy(records: list[dict[str, Any]], columns: tuple[str, ...]) -> pd.DataFrame:
    """Records as a frame whose severities are whole numbers where there are any."""
    import pandas as pd

    frame = pd.DataFrame.from_records(records, columns=None if records else list(columns))
    return frame.astype({"severity": "Int64"})


class ScoredRun(Run):
    """A run that knows its numbers: `robustbench_lift.Run`.

    Example:
        >>> run = ScoredRun.open("runs/photos/resnet-lift")  # doctest: +SKIP
        >>> run.scores()["mce"]  # doctest: +SKIP
        1.0273892817183492
        >>> run.frame().query("number == 'ce'")  # doctest: +SKIP
    """

    def __repr__(self) -> str:
        missing = len(self.missing())
        cells = f"{len(self.expected) - missing} of {len(self.expected)} cells"
        return f"<run of {self.name} in {self.path}: {cells}, {self.signature}>"

    def scores(self, *, normaliser: metrics.Baseline | None = None) -> Scores:
        """Every number that is known, by name.

        Args:
            normaliser: what CE and FR are divided by; the one that the run names unless given.

        Raises:
            DataError: a cell is damaged.
            IncompleteError: the normaliser that the run names is absent or incomplete.
        """
        return score(self, normaliser or normaliser_of(self))

    def frame(
        self,
        *,
        normaliser: metrics.Baseline | None = None,
        replicates: int = 0,
        confidence: float = 0.95,
        seed: int = 0,
    ) -> pd.DataFrame:
        """The same as a pandas frame, one row a (model, protocol, condition, severity, number, value).

        Args:
            normaliser: what CE and FR are divided by; the one that the run names unless given.
            replicates: bootstrap samples of intervals, in columns `low` and `high`; 0 leaves them out.
            confidence: level of the intervals.
            seed: seed of the draws.

        Raises:
            DataError: a cell is damaged.
            IncompleteError: the normaliser that the run names is absent or incomplete.
        """
        divisor = normaliser or normaliser_of(self)
        spans: dict[str, tuple[float, float]] | None = None
        if replicates:
            found = intervals(self, normaliser=divisor, replicates=replicates, confidence=confidence, seed=seed)
            spans = {name: (one.low, one.high) for name, one in found.items()}
        return frame_of(score(self, divisor), spans)
