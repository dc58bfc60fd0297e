"""What the numbers need of one run, gathered in one pass: each cell is read once, and none is kept.

Sums over the cells of a condition stay [n] whole numbers, so memory grows with conditions and images, not with cells.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

import metrics
from metrics.corruption import SEVERITIES
from robustbench_lift.data.suites import suite_of
from robustbench_lift.errors import DataError
from robustbench_lift.runs import Cell, PixelCounts, Predictions, Record, Run
from robustbench_lift.scores.measures import Array, Bins, Counts
from robustbench_lift.scores.numbers import NUMBERS, Means, Measure, Number

Rows = npt.NDArray[Any] | Bins
Key = tuple[Measure, str, str]
"""Measure, protocol, and condition (or condition/severity where cells are not added up)."""


class ClassesOnly(Run):
    """A run of which top-1 classes and labels are kept, and nothing else."""


@dataclass(slots=True)
class _Sum:
    """Rows of one measure, added up over the cells of a condition."""

    total: int = 0
    cells: set[Cell] = field(default_factory=set)
    rows: Rows | None = None
    binned: Array | None = None
    images: int = 0

    def mean(self) -> Array:
        sums = self.binned
        if sums is None:
            assert isinstance(self.rows, np.ndarray)
            sums = self.rows.sum(axis=0, dtype=np.float64)
        return np.asarray(sums / (self.images * self.total))


class Evidence:
    """Sums over the cells of one run; `values`, `rows` and `vectors` turn them into numbers.

    Args:
        expected: all cells of the run, so that a condition with a hole is known.
        numbers: keys of the numbers that are wanted, all unless given.
        classes_only: whether the run keeps top-1 classes alone.
        bins: keep the calibration of every image (5 bytes a cell and image), which intervals of ECE need.
        classes: names of the classes, where numbers have a member each.
    """

    def __init__(
        self,
        expected: Iterable[Cell],
        *,
        numbers: Collection[str] | None = None,
        classes_only: bool = False,
        bins: bool = False,
        classes: Sequence[str] = (),
    ) -> None:
        self._expected: dict[tuple[str, str], list[Cell]] = {}
        for cell in expected:
            self._expected.setdefault((cell.protocol, cell.condition), []).append(cell)
        self.numbers = tuple(
            number
            for key, number in NUMBERS.items()
            if (numbers is None or key in numbers) and (number.from_top1 or not classes_only)
        )
        self.errors: dict[Cell, float] = {}
        """Top-1 error of each clean and corruption cell."""
        self.reliability: dict[Cell, Array] = {}
        """Sums by bin of confidence [3, bins] of each clean and corruption cell: `metrics.calibration_bins`."""
        self._calibrated = not classes_only and any(not number.pooled for number in self.numbers)
        self._bins = bins
        self._classes = tuple(classes)
        self._blocks: dict[str, npt.NDArray[np.int64]] = {}
        self.ious: dict[Cell, float] = {}
        """mIoU of each cell of a segmentation network."""
        self._ids: dict[str, tuple[str, npt.NDArray[np.str_]]] = {}
        self._sums: dict[Key, _Sum] = {}
        self._pooled = dict.fromkeys(
            (protocol, number.measure, number.pooled, number.record)
            for number in self.numbers
            for protocol in number.protocols
        )

    def add(self, cell: Cell, predictions: Record) -> None:
        """Take in a cell.

        Raises:
            DataError: it holds other images than the protocol's first cell, so rows are not the same images.
        """
        first, ids = self._ids.setdefault(cell.protocol, (cell.key, predictions.ids))
        if ids is not predictions.ids and not np.array_equal(ids, predictions.ids):
            raise DataError(f"{cell.key} holds other images than {first} of the same run. Delete it and run again.")
        if "block" in predictions.arrays() and cell.protocol not in self._blocks:
            found = np.unique(predictions.arrays()["block"], return_inverse=True)[1].astype(np.int64)
            if len(found) and int(found.max()) + 1 < len(found):  # some images are drawn together
                self._blocks[cell.protocol] = found
        if isinstance(predictions, PixelCounts):
            self.ious[cell] = float(metrics.mean_iou(predictions.counts.sum(axis=0, dtype=np.int64)))
        if isinstance(predictions, Predictions) and cell.protocol in ("clean", "corruption"):
            right = predictions.top5[:, 0, 0] == predictions.labels
            self.errors[cell] = float(np.mean(~right))
            if self._calibrated:
                self.reliability[cell] = metrics.calibration_bins(predictions.confidence[:, 0], right)
        for protocol, measure, pooled, record in self._pooled:
            if protocol == cell.protocol and isinstance(predictions, record):
                self._measure(cell, predictions, measure, pooled)

    def _measure(self, cell: Cell, predictions: Record, measure: Measure, pooled: bool) -> None:
        found = measure(cell, predictions)
        if found is None:
            return
        condition = cell.condition if pooled else f"{cell.condition}/{cell.severity}"
        one = self._sums.setdefault((measure, cell.protocol, condition), _Sum())
        one.cells.add(cell)
        one.images = len(predictions.ids)
        if isinstance(found, Bins):
            one.total, one.binned = 1, found.sums()
            one.rows = found._replace(gap=found.gap.astype(np.float32)) if self._bins else None
            return
        rows, total = found if isinstance(found, Counts) else (np.asarray(found), 1)
        if rows.dtype.kind in "biu":
            rows = rows.astype(np.int32)
        one.total += total
        one.rows = rows if one.rows is None or isinstance(one.rows, Bins) else one.rows + rows

    def _whole(self, key: Key, *, every: bool = False) -> bool:
        """Whether every cell of a condition was seen; of a corruption, unless `every`, whether all five severities."""
        _, protocol, condition = key
        name, slash, _ = condition.partition("/")
        wanted = set(self._expected.get((protocol, name), ()))
        five = set(range(1, SEVERITIES + 1))
        if protocol == "corruption" and not slash and not every and {cell.severity for cell in wanted} != five:
            return False
        if slash:  # a cell for itself, and all others of its condition
            measure = key[0]
            return bool(wanted) and all((measure, protocol, f"{name}/{cell.severity}") in self._sums for cell in wanted)
        return bool(wanted) and wanted <= self._sums[key].cells

    def sums_of(self, number: Number) -> dict[str, Key]:
        """Where a number's rows are, by condition; conditions with a hole are left out."""
        found = {
            condition: (measure, protocol, condition)
            for measure, protocol, condition in self._sums
            if measure is number.measure
            and protocol in number.protocols
            and number.pooled != ("/" in condition)
            and self._whole((measure, protocol, condition), every=number.every)
        }
        if number.every or number.suite:
            wanted = self._wanted(number)
            if not wanted or not set(wanted) <= found.keys():
                return {}
            also = [name for name, key in found.items() if key[1] in number.also]
            found = {name: found[name] for name in (*wanted, *also)}
        return found

    def _wanted(self, number: Number) -> tuple[str, ...]:
        """The conditions without which a number over all of them is unknown; empty where it is unknown anyway."""
        cells = [cell for (protocol, _), some in self._expected.items() if protocol == number.protocol for cell in some]
        if number.suite:
            suite = suite_of(number.protocol, {cell.condition for cell in cells})
            order = suite.conditions if suite is not None else ()
            cells = [cell for condition in order for cell in self._expected[number.protocol, condition]]
        names = dict.fromkeys(c.condition if number.pooled else f"{c.condition}/{c.severity}" for c in cells)
        if number.suite and not number.pooled and len(names) != SEVERITIES * len({cell.condition for cell in cells}):
            return ()  # a part of the severities
        return tuple(names)

    def values(self, normaliser: metrics.Baseline | None) -> dict[str, float]:
        """Every number that is known, by name."""
        found: dict[str, float] = {}
        for number in self.numbers:
            means: Means = {condition: self._sums[key].mean() for condition, key in self.sums_of(number).items()}
            known = number.known_from(means, normaliser, classes=self._classes)
            found |= {name: float(v) for name, v in known.items() if np.isfinite(v)}
        return found

    def rows(self) -> dict[Key, Rows]:
        """The rows of every measure that can be resampled; one a block where images are drawn together."""
        return {key: self._drawn(key, one.rows) for key, one in self._sums.items() if one.rows is not None}

    def _drawn(self, key: Key, rows: Rows) -> Rows:
        """Rows of what a bootstrap draws: of images, or of blocks of them, whose mean is that over images."""
        block = self._blocks.get(key[1])
        if block is None or isinstance(rows, Bins):
            return rows
        count = int(block.max()) + 1
        sums = np.zeros((count, *rows.shape[1:]), dtype=np.float64)
        np.add.at(sums, block, rows)
        return np.asarray(sums * (count / len(rows)))

    def events(self, measure: Measure) -> dict[str, int]:
        """How often a measure looked, by condition: images times what a count is out of."""
        return {condition: s.images * s.total for (one, _, condition), s in self._sums.items() if one is measure}

    def images(self, protocol: str) -> int:
        """Images (or clips) of a protocol."""
        return len(self._ids[protocol][1])

    def resampled(self, means: Mapping[Key, Array], normaliser: metrics.Baseline | None) -> dict[str, Array]:
        """Every number out of means of rows over drawn images, [replicates] or [replicates, k] each."""
        found: dict[str, Array] = {}
        for number in self.numbers:
            keys = self.sums_of(number)
            if self._same_images(number) and all(key in means for key in keys.values()):
                parts = {condition: means[key] / self._sums[key].total for condition, key in keys.items()}
                found |= number.known_from(parts, normaliser, classes=self._classes)
        return found

    def vectors(self, normaliser: metrics.Baseline | None) -> dict[str, Array]:
        """Each number as a vector [n] over images whose mean it is.

        A number that is not linear has the jackknife's pseudo-values, n value(all) - (n - 1) value(all but image i),
        whose mean is the number up to its bias of order 1/n, and whose spread gives its standard error. A number that
        is undefined without one of the images (the IoU of a class that only this image has) has no vector.

        Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 11.
        """
        found: dict[str, Array] = {}
        for number in self.numbers:
            keys = self.sums_of(number)
            parts: dict[str, Array] = {}
            if not self._same_images(number) or (not number.linear and self.images(number.protocol) < 2):
                continue
            for condition, key in keys.items():
                one = self._sums[key]
                if one.rows is None:
                    break
                drawn = self._drawn(key, one.rows)
                rows = drawn.dense() if isinstance(drawn, Bins) else drawn
                n = len(rows)
                shares = np.asarray(rows / one.total, dtype=np.float64)
                parts[condition] = shares if number.linear else (n * one.mean() - shares) / (n - 1)
            else:
                part = number.known_from(parts, normaliser, classes=self._classes)
                if not number.linear and part:
                    n = len(next(iter(part.values())))
                    means = {c: self._sums[k].mean() for c, k in keys.items()}
                    whole = number.known_from(means, normaliser, classes=self._classes)
                    part = {name: n * whole[name] - (n - 1) * without for name, without in part.items()}
                found |= {name: vector for name, vector in part.items() if np.isfinite(vector).all()}
        return found

    def _same_images(self, number: Number) -> bool:
        """Whether the protocols of a number show the same images, so that their rows can be subtracted."""
        shown = [self._ids[protocol][1] for protocol in number.protocols if protocol in self._ids]
        return len(shown) == len(number.protocols) and all(np.array_equal(shown[0], other) for other in shown[1:])


def empty_evidence(run: Run, *, numbers: Collection[str] | None = None, bins: bool = False) -> Evidence:
    """The evidence of a run before a cell is read."""
    return Evidence(
        run.expected,
        numbers=numbers,
        classes_only=isinstance(run, ClassesOnly),
        bins=bins,
        classes=[str(name).replace("/", "-") for name in run.manifest.data.get("class_names", ())],
    )


def stored_cell(run: Run, cell: Cell) -> Record:
    """What a cell holds: predicted classes, or counts of pixels where labels are maps.

    Raises:
        IncompleteError, DataError: as `Run.record`.
    """
    return run.record(cell, Record) if "class_names" in run.manifest.data else run.read(cell)


def evidence_of(run: Run, *, numbers: Collection[str] | None = None, bins: bool = False) -> Evidence:
    """The evidence of a run, every cell that is there read once.

    Raises:
        DataError: a cell is damaged, or holds other images than the rest of its protocol.
    """
    evidence = empty_evidence(run, numbers=numbers, bins=bins)
    for cell in run.expected:
        if run.has(cell):
            evidence.add(cell, stored_cell(run, cell))
    return evidence


def contributions(
    run: Run, normaliser: metrics.Baseline | None, *, numbers: Collection[str] | None = None
) -> dict[str, Array]:
    """Each number of a run as a vector [n] whose mean it is (`Evidence.vectors`); what lacks a cell is left out.

    Raises:
        DataError: a cell is damaged, or holds other images than the rest of its protocol.
    """
    return evidence_of(run, numbers=numbers).vectors(normaliser)
