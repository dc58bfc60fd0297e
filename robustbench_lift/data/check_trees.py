"""Check a tree of many cells: which are there, what each shows, and one line for what is wrong with many alike."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import corruptions
from robustbench_lift.data.findings import Finding, Progress, decoded
from robustbench_lift.data.opening import DataSpec
from robustbench_lift.data.places import folder_name
from robustbench_lift.data.trees import Tree
from robustbench_lift.errors import RobustbenchError
from robustbench_lift.text import some

CELL_IMAGES = 50_000
"""Images of each cell of ImageNet-C."""


def tree_findings(spec: DataSpec, tree: Tree, samples: int | None, tell: Progress) -> Iterator[Finding]:
    """Everything there is to say about a tree.

    Args:
        spec: what it was named as.
        tree: the tree.
        samples: files that are decoded in all, spread over the cells, others in each; None decodes all.
        tell: told where the check stands.
    """
    sequences = spec.kind.endswith("-p")
    benchmark = corruptions.PERTURBATIONS if sequences else corruptions.BENCHMARK
    extra = corruptions.EXTRA_PERTURBATIONS if sequences else corruptions.EXTRA
    levels = (1,) if sequences else (1, 2, 3, 4, 5)
    cells = [(c, level) for c in (*benchmark, *extra) for level in levels if tree.holds(c, level)]
    there = {condition for condition, _ in cells}
    missing = [name for name in benchmark if name not in there]
    word = "perturbations" if sequences else "corruptions"
    lacking = f"; missing: {some(missing, most=20)}. Benchmark scores need all; extract the rest." if missing else ""
    yield Finding(
        "problem" if missing else "ok",
        f"{len(benchmark) - len(missing)} of the {len(benchmark)} {word} of the benchmark and "
        f"{len([n for n in extra if n in there])} of the {len(extra)} extra ones{lacking}",
    )
    if sequences:
        yield _difficulties(tree, sorted(there))
    try:
        tree.require([c for c in (*benchmark, *extra) if c in there], levels)
    except RobustbenchError as error:
        yield Finding("problem", str(error))
    each = None if samples is None else max(1, samples // max(1, len(cells)))
    counts: Counter[int] = Counter()
    shapes: Counter[str] = Counter()
    alike = _Alike()
    for number, (condition, level) in enumerate(cells):
        label = condition if sequences else f"{condition}/{level}"
        tell(number / len(cells), label)
        try:
            images = tree.images(condition, level)
        except RobustbenchError as error:
            alike.add("problem", condition, level, str(error))
            continue
        counts[len(images.ids)] += 1
        for finding in decoded(images, each, lambda share: None, seed=number):
            if finding.level == "ok":
                shapes[finding.text.partition("decoded, ")[2]] += 1
            else:
                alike.add(finding.level, condition, level, f"{label}: {finding.text}")
    tell(1.0, spec.kind)
    yield from alike.findings(sequences)
    for count, times in counts.items():
        yield Finding("ok", f"{_cells(times)} of {count:,} images")
    if spec.kind == "imagenet-c" and counts and CELL_IMAGES not in counts:
        yield Finding("note", f"ImageNet-C has {CELL_IMAGES:,} images a cell; this is a part of it.")
    if shapes:
        shown = ", ".join(f"{text} ({_cells(times)})" for text, times in shapes.items())
        yield Finding("ok", f"files of every cell decoded: {shown}")


class _Alike:
    """Findings that differ in nothing but the cell become one."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, str], str] = {}
        self._cells: dict[tuple[str, str], dict[str, list[int]]] = {}

    def add(self, level: str, condition: str, severity: int, text: str) -> None:
        """One finding on a cell; words that hold its path are left out of the comparison."""
        key = level, re.sub(rf"\S*{re.escape(condition)}\S*", "", text)
        self._first.setdefault(key, text)
        self._cells.setdefault(key, {}).setdefault(condition, []).append(severity)

    def findings(self, sequences: bool) -> Iterator[Finding]:
        """The first of each kind, and how many more cells have the same."""
        for (level, text), first in self._first.items():
            cells = self._cells[level, text]
            more = sum(map(len, cells.values())) - 1
            names = [c if sequences else f"{c}/{_span(severities)}" for c, severities in cells.items()]
            also = f" The same in {more} more, in all: {some(names, most=20)}." if more else ""
            yield Finding(level, first + also)


def _span(severities: list[int]) -> str:
    """Severities in a few characters.

    >>> _span([1, 2, 3, 4, 5]), _span([2, 5])
    ('1-5', '2+5')
    """
    whole = severities == list(range(severities[0], severities[-1] + 1))
    return f"{severities[0]}-{severities[-1]}" if whole and len(severities) > 2 else "+".join(map(str, severities))


def _cells(count: int) -> str:
    return f"{count} cell" if count == 1 else f"{count} cells"


def _difficulties(tree: Tree, there: list[str]) -> Finding:
    hard = [folder_name(c, d) for c in there for d in (2, 3) if folder_name(c, d) != c and tree.holds(c, d)]
    return Finding(
        "note",
        f"difficulty 2 and 3 have folders for noise only ({', '.join(hard) if hard else 'none here'}); for every other "
        "perturbation difficulty is the stride between compared frames, so nothing is missing.",
    )
