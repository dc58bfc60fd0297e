"""What a comparison consists of: numbers of two runs side by side with their confidence; which runs may be compared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from robustbench_lift.errors import IncomparableError
from robustbench_lift.regression.statistics import adjust
from robustbench_lift.runs import Run, differences
from robustbench_lift.scores.frames import COLUMNS, place, tidy
from robustbench_lift.scores.numbers import sign

if TYPE_CHECKING:
    import pandas as pd


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

    def __repr__(self) -> str:
        """One line; `frame()` has the numbers."""
        verdicts = [one.verdict for one in self.metrics.values()]
        counts = ", ".join(f"{verdicts.count(word)} {word}" for word in ("regressed", "improved", "same"))
        return f"Comparison({self.candidate!r} against {self.baseline!r}: {counts})"

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


def judged(found: Mapping[str, Difference], *, alpha: float, correction: str) -> dict[str, Difference]:
    """Correct the p-values of tests that are made together, and say which differences count.

    A difference counts when it is larger than its margin *and* its corrected p-value is below alpha.
    """
    worse = adjust([one.p_value for one in found.values()], correction)
    better = adjust([one.p_improved for one in found.values()], correction)
    result = {}
    for (name, one), p, q in zip(found.items(), worse, better, strict=True):
        verdict = "same"
        if p < alpha and one.worsening > one.margin:
            verdict = "regressed"
        elif q < alpha and -one.worsening > one.margin:
            verdict = "improved"
        result[name] = replace(one, p_adjusted=p, p_improved_adjusted=q, verdict=verdict)
    return result


def judged_by_family(found: Mapping[str, Difference], *, alpha: float, correction: str) -> dict[str, Difference]:
    """`judged` for headline numbers, CE, FR and so on apart: the CE of fog repeats the error of fog."""
    families: dict[str, dict[str, Difference]] = {}
    for name, one in found.items():
        families.setdefault(name.partition("/")[0] if "/" in name else "", {})[name] = one
    result: dict[str, Difference] = {}
    for members in families.values():
        result |= judged(members, alpha=alpha, correction=correction)
    return {name: result[name] for name in found}


def comparable(run_a: Run, run_b: Run, *, allow_protocol_diff: bool = False) -> tuple[str, ...]:
    """Notes on protocol differences that were allowed.

    Protocols that only one of the two ran do not matter here: their numbers are on one side only.

    Raises:
        IncomparableError: other images, or another protocol without leave; the message names each field.
    """
    shared = [p for p in run_a.manifest.signature if p in run_b.manifest.signature]
    protocols = differences(
        {p: run_a.manifest.signature[p] for p in shared}, {p: run_b.manifest.signature[p] for p in shared}, "signature."
    )
    images = _image_differences(run_a, run_b)
    if images:
        images.sort(key=lambda line: not line.partition(":")[0].endswith("images"))  # counts say more than hashes
        raise IncomparableError(
            f"{run_a.path} and {run_b.path} are over different images:\n  "
            + "\n  ".join(images)
            + "\nPaired statistics need the same images; run one of them again."
        )
    if protocols and not allow_protocol_diff:
        raise IncomparableError(
            f"{run_a.path} and {run_b.path} are different protocols:\n  "
            + "\n  ".join(protocols)
            + "\nRun one of them again, or use --allow-protocol-diff to compare nevertheless, with a banner."
        )
    if not set(shared) - {"common"}:
        raise IncomparableError(f"{run_a.path} and {run_b.path} share no protocol: nothing can be compared.")
    return tuple(f"PROTOCOLS DIFFER: {line}" for line in protocols)


def _image_differences(run_a: Run, run_b: Run) -> list[str]:
    """Differences of the image sets of protocols that both ran."""
    a, b = dict(run_a.manifest.data), dict(run_b.manifest.data)
    sets_a, sets_b = a.pop("sets", {}), b.pop("sets", {})
    both = [protocol for protocol in sets_a if protocol in sets_b]
    if both:
        # the count of all images follows from the sets; with sets on both sides those decide
        a.pop("images", None)
        b.pop("images", None)
    return differences(a, b, "data.") + differences(
        {p: sets_a[p] for p in both}, {p: sets_b[p] for p in both}, "data.sets."
    )
