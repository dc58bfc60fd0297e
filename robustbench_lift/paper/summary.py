"""Tables over seeds: what each network scores on average, and how two networks differ, paired by image and by seed.

Two spreads are kept apart. An interval over images says how far the number of *these* trainings would move with other
test images. The smallest and largest over seeds say how far it moves with another training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean, stdev

import numpy as np
import numpy.typing as npt

from robustbench_lift.errors import IncomparableError, UsageError
from robustbench_lift.paper.results import Results
from robustbench_lift.runs import Run
from robustbench_lift.scores.bootstrap import percentile_interval, resample
from robustbench_lift.scores.evidence import contributions, evidence_of
from robustbench_lift.scores.numbers import number_of
from robustbench_lift.scores.scoring import normaliser_of
from robustbench_lift.tables.table import Column, Entry, Row, Table

Vectors = Mapping[str, npt.NDArray[np.float64]]
REPLICATES = 2000
CONFIDENCE = 0.95
SEVERAL = (
    "Means over trainings (seeds); in brackets the smallest and the largest of them, which is not a confidence "
    "interval. Nothing is marked as best."
)
ONE = "One training each: nothing here says how far another seed would move a number. Nothing is marked as best."


def means_table(results: Results, name: str, title: str, numbers: Sequence[str] = ("clean_error",)) -> Table:
    """One row a network: the mean over its trainings, in brackets the smallest and largest, and the deviation.

    Args:
        results: whose networks.
        name: of the table's files.
        title: of the table.
        numbers: names of numbers, `miou` or `trimap_miou/2`; those that no network has are left out.
    """
    found = results.by_network()
    scores = {label: {seed: _values(run, numbers) for seed, run in runs.items()} for label, runs in found.items()}
    known = [key for key in numbers if any(key in one for runs in scores.values() for one in runs.values())]
    several = any(len(runs) > 1 for runs in found.values())
    columns = [Column("network", "Network", "text"), Column("seeds", "Seeds", "text")]
    for key in known:
        one = _column(key)
        columns.append(one)
        if several:
            columns.append(Column(f"{one.key}_sd", f"{one.title}, deviation over seeds", digits=2))
    columns.append(Column("parameters", "Parameters", "count"))
    rows = []
    for label, runs in found.items():
        entries = [Entry(label), Entry(",".join(map(str, runs)))]
        for key in known:
            values = [one[key] for one in scores[label].values() if key in one]
            complete = len(values) == len(runs)
            entries.append(mean_and_range(values) if complete else Entry())
            if several:
                entries.append(Entry(stdev(values) if complete and len(values) > 1 else None))
        first = next(iter(runs.values()))
        rows.append(Row((*entries, Entry(int(first.manifest.model.get("parameters", 0))))))
    return Table(
        name=name,
        title=title,
        columns=tuple(columns),
        rows=tuple(rows),
        notes=(SEVERAL if several else ONE,),
        signatures=_signatures(results.runs()),
    )


def mean_and_range(values: Sequence[float]) -> Entry:
    """The mean of one value a training, and the smallest and the largest of them.

    >>> mean_and_range([0.25, 0.75])
    Entry(value=0.5, low=0.25, high=0.75, mark='', tie=False, words='')
    """
    return Entry(fmean(values), min(values), max(values)) if len(values) > 1 else Entry(values[0])


def differences_table(
    results: Results, name: str, title: str, pairs: Sequence[tuple[str, str]], numbers: Sequence[str] = ("clean_error",)
) -> Table:
    """One row a pair of networks: first minus second, paired image by image within each seed that both have.

    The interval is a bootstrap over images of the mean over the common seeds, the same images for all of them; the
    smallest and the largest difference of a single seed stand beside it.

    Args:
        results: whose networks.
        name: of the table's files.
        title: of the table.
        pairs: labels of two networks; a pair that lacks one, or has no common seed, is left out.
        numbers: keys of `NUMBERS`.
    """
    found = results.by_network()
    columns = [
        Column("first", "Network", "text"),
        Column("second", "minus", "text"),
        Column("seeds", "Common seeds", "text"),
    ]
    wanted = [(a, b) for a, b in pairs if a in found and b in found and set(found[a]) & set(found[b])]
    vectors = {
        label: {seed: _vectors(run, numbers) for seed, run in found[label].items()}
        for label in dict.fromkeys(label for pair in wanted for label in pair)
    }
    scores = {label: {seed: _values(found[label][seed], numbers) for seed in runs} for label, runs in vectors.items()}
    known = [key for key in numbers if any(key in one for runs in vectors.values() for one in runs.values())]
    several = any(len(set(found[a]) & set(found[b])) > 1 for a, b in wanted)
    for key in known:
        one = _column(key)
        columns.append(Column(one.key, f"{one.title}, difference", one.unit, digits=2))
        if several:
            columns.append(Column(f"{one.key}_seeds", "single seeds", "text"))
    rows = []
    for a, b in wanted:
        seeds = sorted(set(vectors[a]) & set(vectors[b]))
        entries = [Entry(a), Entry(b), Entry(",".join(map(str, seeds)))]
        for key in known:
            if all(key in vectors[side][seed] for side in (a, b) for seed in seeds):
                each = [vectors[a][seed][key] - vectors[b][seed][key] for seed in seeds]
                points = [scores[a][seed][key] - scores[b][seed][key] for seed in seeds]
                # a number that is no mean over images has pseudo-values, whose mean is off by the order of 1/n
                shift = fmean(points) - float(np.mean(each))
                low, high = (end + shift for end in paired_interval(each))
                entries.append(Entry(fmean(points), low, high))
                each_seed = [Entry(" ".join(f"{100 * point:+.2f}" for point in points))]
            else:
                entries.append(Entry())
                each_seed = [Entry()]
            entries += each_seed if several else []
        rows.append(Row(tuple(entries)))
    spread = (
        "the differences of the single seeds beside it show how far another training moves it."
        if several
        else "one seed each, so nothing says how far another training would move it."
    )
    notes = (
        (
            f"Percentage points, negative: the first network has less. In brackets {CONFIDENCE:.0%} intervals over "
            f"test images, paired, of the mean over the common seeds; {spread}"
        ),
    )
    signatures = _signatures(results.runs())
    return Table(name=name, title=title, columns=tuple(columns), rows=tuple(rows), notes=notes, signatures=signatures)


def paired_interval(differences: Sequence[npt.NDArray[np.float64]]) -> tuple[float, float]:
    """The interval over images of the mean of paired differences [n], one an image and seed.

    Raises:
        IncomparableError: the seeds were tested on another number of images.

    >>> low, high = paired_interval([np.array([0.0, 1.0] * 50)])
    >>> 0.35 < low < 0.5 < high < 0.65
    True
    """
    if len({len(one) for one in differences}) > 1:
        raise IncomparableError("trainings of one network were tested on different numbers of images.")
    mean = np.mean(differences, axis=0)
    found = percentile_interval(resample({"d": mean}, replicates=REPLICATES, seed=0)["d"], CONFIDENCE)
    return found.low, found.high


def against(results: Results, reference: str) -> list[tuple[str, str]]:
    """Pairs of one network with every other.

    Raises:
        UsageError: there is no such network.
    """
    labels = list(results.by_network())
    if reference not in labels:
        raise UsageError(f"{results.name} has no complete training of {reference}; it has {', '.join(labels)}.")
    return [(reference, label) for label in labels if label != reference]


def _column(name: str) -> Column:
    """The column of a number, or of one member of a family.

    >>> _column("miou").title, _column("trimap_miou/2").title
    ('mIoU', 'Trimap mIoU (2)')
    """
    column, (_, slash, member) = Column.of(number_of(name)), name.partition("/")
    return replace(column, key=f"{column.key}_{member}", title=f"{column.title} ({member})") if slash else column


def _keys(numbers: Sequence[str]) -> list[str]:
    return [number_of(name).key for name in numbers]


def _vectors(run: Run, numbers: Sequence[str]) -> Vectors:
    found = contributions(run, normaliser_of(run), numbers=_keys(numbers))
    return {key: one for key, one in found.items() if key in numbers}


def _values(run: Run, numbers: Sequence[str]) -> dict[str, float]:
    found = evidence_of(run, numbers=_keys(numbers)).values(normaliser_of(run))
    return {key: value for key, value in found.items() if key in numbers}


def _signatures(runs: Sequence[Run]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(run.signature) for run in runs))
