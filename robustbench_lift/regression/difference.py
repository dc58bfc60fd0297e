"""What a comparison consists of: numbers of two runs side by side, each with its confidence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from robustbench_lift.scores.frames import COLUMNS, place, tidy
from robustbench_lift.scores.numbers import sign

if TYPE_CHECKING:
    import pandas as pd


def p_words(p: float) -> str:
    """A p-value as printed: what is smaller than any test can vouch for is not given digits.

    >>> p_words(0.0123), p_words(1e-80)
    ('0.012', '<1e-6')
    """
    return "<1e-6" if p < 1e-6 else f"{p:.2g}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One number of the candidate against the baseline; fractions."""

    name: str
    """Headline name, ce/<corruption>, fr/<perturbation>, or the key of a cell."""
    baseline: float
    """The baseline's number."""
    candidate: float
    """The candidate's number."""
    low: float
    """Lower end of the interval of the difference."""
    high: float
    """Upper end of the interval of the difference."""
    p_value: float
    """One-sided: how likely so bad a difference is if the candidate were worse by no more than the margin."""
    p_improved: float = math.nan
    """One-sided the other way."""
    p_adjusted: float = math.nan
    """p_value, corrected for the number of tests."""
    p_improved_adjusted: float = math.nan
    """p_improved, corrected alike."""
    margin: float = 0.0
    """Loss that is tolerated."""
    detectable: float = math.nan
    """Smallest difference that is found with 80 % power at level 0.05, two-sided."""
    gained: int | None = None
    """Images that became right (cells only)."""
    lost: int | None = None
    """Images that became wrong (cells only)."""
    verdict: str = "same"
    """regressed, improved, or same (no difference beyond margin and chance)."""

    @property
    def delta(self) -> float:
        """candidate - baseline."""
        return self.candidate - self.baseline

    @property
    def worsening(self) -> float:
        """How much worse the candidate is; negative when it is better."""
        return sign(self.name) * self.delta


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Everything that differs between two sides."""

    baseline: str
    """Name of the baseline."""
    candidate: str
    """Name of the candidate."""
    signature: str
    """The signature that both share."""
    metrics: dict[str, Difference]
    """Headline numbers, ce/..., fr/..., error/..., fp/... ."""
    cells: dict[str, Difference] = field(default_factory=dict)
    """Errors of clean and corruption cells."""
    same_weights: bool = False
    """Whether both are known to be of the same weights."""
    one_sided: tuple[str, ...] = ()
    """Numbers that only one of the two has."""
    missing_cells: tuple[str, ...] = ()
    """Cells that only one of the two has."""
    lacking: tuple[str, ...] = ()
    """Cells of the baseline that the candidate does not have."""
    changed_labels: Mapping[str, int] = field(default_factory=dict)
    """Predicted labels that differ, cell by cell."""
    compared_labels: Mapping[str, int] = field(default_factory=dict)
    """Predicted labels that were compared, cell by cell."""
    alpha: float
    """Level of the tests."""
    correction: str
    """Correction for multiplicity."""
    confidence: float
    """Level of the intervals."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Where the two sides come from: weights and git revisions."""
    notes: tuple[str, ...] = ()
    """What a reader must know, such as a protocol difference that was allowed."""

    @property
    def worst(self) -> list[Difference]:
        """Cells, worst first; equal ones by name, so that two reports of one comparison are the same."""
        return sorted(self.cells.values(), key=lambda d: (-d.worsening, d.name))

    def frame(self) -> pd.DataFrame:
        """The differences as a pandas frame, one row a (protocol, condition, severity, number).

        `value` is candidate - baseline, `low` and `high` its interval, `p_value` one-sided and `p_adjusted` corrected.
        """
        records = [
            {
                "model": self.candidate,
                **place(d.name),
                "value": d.delta,
                "low": d.low,
                "high": d.high,
                "baseline": d.baseline,
                "candidate": d.candidate,
                "p_value": d.p_value,
                "p_adjusted": d.p_adjusted,
                "verdict": d.verdict,
            }
            for d in (*self.metrics.values(), *self.cells.values())
        ]
        return tidy(records, COLUMNS)
