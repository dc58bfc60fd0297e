"""A run's predictions -> its numbers. Pure: it reads cells and writes nothing; what lacks a cell is not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import metrics
from robustbench_lift.errors import IncompleteError
from robustbench_lift.runs import Cell, Run
from robustbench_lift.scores.evidence import Evidence, evidence_of
from robustbench_lift.scores.measures import flips

FEW_FLIPS = 100
"""Flips of a normaliser below which a flip rate is rough: with 100 its own error is a tenth."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores(Mapping[str, float]):
    """Every number of one run that is known, by name: `scores["mce"]`, `scores["ce/fog"]`; all but ranks are fractions.

    A number of which a cell is missing is not in it: `scores.get("mce")` is None then, and `missing` says why.
    """

    name: str
    """Short name of the model."""
    spec: str
    """Model spec."""
    arch: str
    """Backbone."""
    pooling: str | None
    """Pooling, None when it is unknown."""
    parameters: int
    """Parameters of the network."""
    images: int
    """Images of the largest protocol."""
    signature: str
    """The line that fixes the protocol."""
    normaliser: str | None
    """Name of the normaliser of CE and FR."""
    numbers: Mapping[str, float]
    """The numbers, in printed order."""
    errors: Mapping[Cell, float]
    """Top-1 error of every clean and corruption cell that is there."""
    calibration: Mapping[Cell, float]
    """Expected calibration error of the same cells."""
    missing: tuple[str, ...] = ()
    """Keys of expected cells that are not there."""

    def __getitem__(self, name: str) -> float:
        if name not in self.numbers:
            raise KeyError(f"{name}: not known of {self.name}; it has {', '.join(self.numbers) or 'no number'}")
        return self.numbers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    def family(self, key: str) -> dict[str, float]:
        """The members of a family: `family("ce")` is {corruption: CE}."""
        return {name[len(key) + 1 :]: value for name, value in self.numbers.items() if name.startswith(f"{key}/")}


def score(run: Run, normaliser: metrics.Baseline | None) -> Scores:
    """All numbers of a run, CE and FR divided by `normaliser` (None: no normalised numbers).

    Raises:
        DataError: a cell is damaged.
    """
    return scores_of(run, evidence_of(run), normaliser)


def scores_of(run: Run, evidence: Evidence, normaliser: metrics.Baseline | None) -> Scores:
    """`score` of evidence that was gathered already."""
    record = run.manifest.model
    return Scores(
        name=run.name,
        spec=str(record.get("spec", "")),
        arch=str(record.get("arch", "")),
        pooling=record.get("pooling"),
        parameters=int(record.get("parameters", 0)),
        images=int(run.manifest.data["images"]),
        signature=run.signature,
        normaliser=normaliser.name if normaliser else None,
        numbers=evidence.values(normaliser),
        errors=evidence.errors,
        calibration={cell: metrics.binned_calibration_error(bins) for cell, bins in evidence.reliability.items()},
        missing=tuple(cell.key for cell in run.missing()),
    )


def measured_normaliser(run: Run, *, evidence: Evidence | None = None) -> metrics.Baseline:
    """A run's own errors and flip probabilities as the normaliser of others.

    Args:
        run: a complete run.
        evidence: its cells, where they were read already.

    Raises:
        IncompleteError: cells are missing; a normaliser with holes would move every score.
    """
    missing = run.missing()
    if missing:
        raise IncompleteError(
            f"the normaliser {run.path} lacks {len(missing)} of {len(run.expected)} cells (first: {missing[0].key}). "
            "Run it to its end first."
        )
    if evidence is None:
        evidence = evidence_of(run, numbers=("clean_error", "error", "fp", "top5_distance"))
    scores = scores_of(run, evidence, None)
    clean, degraded = scores.get("clean_error", float("nan")), dict[str, tuple[float, ...]]()
    if evidence.ious:  # a segmentation network: what degrades is 1 - mIoU
        clean = next((1 - iou for cell, iou in evidence.ious.items() if cell.protocol == "clean"), float("nan"))
        for cell in sorted(evidence.ious):
            if cell.protocol == "corruption":
                degraded[cell.condition] = (*degraded.get(cell.condition, ()), 1 - evidence.ious[cell])
    for corruption in scores.family("error"):
        degraded[corruption] = tuple(evidence.errors[Cell("corruption", corruption, s)] for s in range(1, 6))
    return metrics.Baseline(
        name=run.name,
        source=f"measured: {run.manifest.model['spec']} on {run.manifest.data['name']}",
        clean_error=clean,
        corruption_errors=degraded,
        flip_probabilities=scores.family("fp"),
        top5_distances=scores.family("top5_distance") or None,
    )


def normaliser_of(run: Run) -> metrics.Baseline | None:
    """What the run's manifest names as normaliser: AlexNet's published constants, another run, or nothing.

    Raises:
        IncompleteError: the run that it names is absent or incomplete.
    """
    named = run.manifest.normaliser
    if named is None:
        return None
    if named == "alexnet":
        return metrics.ALEXNET
    folder = (run.path / named).resolve()
    if not (folder / "run.json").exists():
        raise IncompleteError(
            f"{run.path} names {named} as its normaliser, what CE and FR are divided by, and there is no run in "
            f"{folder}. A run is copied together with its normaliser: copy that folder too."
        )
    return measured_normaliser(Run.open(folder))


def few_flips(normaliser: metrics.Baseline, evidence: Evidence) -> dict[str, int]:
    """On how many frame pairs a normaliser changes its class, by perturbation, where these are fewer than `FEW_FLIPS`.

    A flip rate divides by that count: with 16 flips it is rough, however many digits it has. The published AlexNet was
    measured on all of ImageNet-P and is never in this list.

    Args:
        normaliser: what FR is divided by, measured on the same clips.
        evidence: of a run over these clips.
    """
    if normaliser is metrics.ALEXNET or normaliser.source == metrics.ALEXNET.source:
        return {}
    pairs = evidence.events(flips)
    counts = {
        name: round(share * pairs[name]) for name, share in normaliser.flip_probabilities.items() if name in pairs
    }
    return {name: count for name, count in counts.items() if count < FEW_FLIPS}


def few_flips_note(name: str, few: Mapping[str, int]) -> str:
    """`few_flips` in a sentence, empty where there are none."""
    if not few:
        return ""
    counts = ", ".join(f"{perturbation.replace('_', ' ')} {count}" for perturbation, count in few.items())
    return (
        f"FEW FLIPS: the normaliser {name} changes its class on fewer than {FEW_FLIPS} frame pairs of some "
        f"perturbations ({counts}), so their FR, and mFR, are rough; read the flip probability beside them."
    )
