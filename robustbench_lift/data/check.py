"""Look at data before a long run: layout, counts, a sample of files decoded, sizes, frame counts, known md5s.

Nothing is changed and nothing is fetched. Every finding is one sentence; a problem says what to do.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from robustbench_lift.data.archives import archives_beside, check_archive
from robustbench_lift.data.base import ImageSet
from robustbench_lift.data.decode import SUFFIXES
from robustbench_lift.data.names import printable, some
from robustbench_lift.data.opening import DataSpec, open_images, open_tree, parse_specs
from robustbench_lift.data.stores import open_store
from robustbench_lift.data.subset import subset_rows
from robustbench_lift.data.trees import ArrayTree, FileTree, Tree, folder_name
from robustbench_lift.errors import RobustbenchError, UsageError

SAMPLES = 200
"""Files of a data set that are decoded unless told."""
VAL_IMAGES, VAL_EACH, TRAIN_IMAGES = 50_000, 50, 1_281_167
"""Images of ILSVRC2012: val, val in each class, train."""

Progress = Callable[[float, str], None]
"""Called with the share that is done, 0..1, and what is under way."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about the data."""

    level: str
    """ok, note or problem."""
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """All findings on one target."""

    target: str
    findings: tuple[Finding, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """What must be mended before a run."""
        return tuple(finding.text for finding in self.findings if finding.level == "problem")


def check_data(
    spec: str,
    *,
    samples: int | None = SAMPLES,
    md5: bool = False,
    progress: Progress | None = None,
) -> list[Report]:
    """Check every part of a data spec.

    Args:
        spec: as `open_images` and `open_tree` take it, parts joined by commas.
        samples: files of each part that are decoded, a fixed choice; None decodes all.
        md5: compare the md5 of published archives that lie there (reads all of them).
        progress: told where the check stands.

    Raises:
        UsageError: the spec means nothing.

    >>> [finding.level for finding in check_data("photos")[0].findings]
    ['ok', 'ok']
    """
    if samples is not None and samples < 1:
        raise UsageError(f"--samples {samples}: expected 1 or more, or --all.")
    tell = progress or (lambda share, doing: None)
    reports = []
    for part in parse_specs(spec):
        name = part.kind if part.kind == "photos" else f"{part.kind}:{printable(part.path)}"
        findings: list[Finding] = []
        try:
            for finding in _part(part, samples, md5, tell):
                findings.append(finding)
        except RobustbenchError as error:
            findings.append(Finding("problem", str(error)))
        reports.append(Report(name, tuple(findings)))
    return reports


def _part(spec: DataSpec, samples: int | None, md5: bool, tell: Progress) -> Iterator[Finding]:
    yield from _archives(spec, md5, tell)
    if spec.kind.endswith(("-c", "-p")):
        yield from _tree(spec, open_tree(spec), samples, tell)
        return
    images = open_images(spec)
    yield from _counts(spec, images)
    yield from _strays(spec)
    yield from _decode(images, samples, lambda share: tell(share, images.name), spec.kind == "imagenet")


def _archives(spec: DataSpec, md5: bool, tell: Progress) -> Iterator[Finding]:
    for archive, path in archives_beside(spec.kind, spec.path):

        def follow(done: int, total: int, name: str = archive.file) -> None:
            tell(done / max(total, 1), f"md5 of {name}")

        wrong = check_archive(archive, path, md5=md5, progress=follow)
        if wrong is not None:
            yield Finding("problem", wrong)
        elif md5:
            yield Finding("ok", f"{archive.file}: md5 {archive.md5}, as published")
        elif archive.size is not None:
            yield Finding("ok", f"{archive.file}: {archive.size:,} bytes, as published (--checksums compares its md5)")


def _counts(spec: DataSpec, images: ImageSet) -> Iterator[Finding]:
    each = np.bincount(images.labels, minlength=len(images.class_names))
    there = each[each > 0]
    yield Finding(
        "ok",
        f"{len(images.ids):,} images in {len(there):,} classes, {there.min():,} to {there.max():,} a class",
    )
    if spec.kind != "imagenet" or len(there) != 1000:
        return
    if there.max() <= VAL_EACH and len(images.ids) != VAL_IMAGES:
        short = [images.class_names[k] for k in np.flatnonzero(each < VAL_EACH)]
        yield Finding(
            "problem" if there.max() == VAL_EACH else "note",
            f"ImageNet's val has {VAL_EACH} images in each class ({VAL_IMAGES:,}); {len(short):,} classes have fewer: "
            f"{some(short)}. Extract the archive again, unless this is a subset on purpose.",
        )
    elif there.max() > VAL_EACH and len(images.ids) != TRAIN_IMAGES:
        yield Finding("note", f"neither val ({VAL_IMAGES:,} images) nor train ({TRAIN_IMAGES:,}) of ILSVRC2012.")


def _strays(spec: DataSpec) -> Iterator[Finding]:
    """Files in class folders that are left out: AppleDouble files, and endings that are no image's."""
    if not spec.path.is_dir() or spec.kind not in ("imagenet", "folder"):
        return
    apple, other = [], []
    store = open_store(spec.path)
    for folder in store.folders(""):
        with os.scandir(spec.path / folder) as entries:
            for entry in entries:
                if entry.name.startswith("._"):
                    apple.append(f"{folder}/{entry.name}")
                elif entry.is_file() and os.path.splitext(entry.name)[1].lower() not in SUFFIXES:  # noqa: PTH122
                    other.append(f"{folder}/{entry.name}")
    if apple:
        yield Finding("note", f"{len(apple):,} AppleDouble files of macOS are left out ({some(apple, most=2)})")
    if other:
        yield Finding("note", f"{len(other):,} files are left out, no images by their ending ({some(other, most=3)})")


def _decode(
    images: ImageSet, samples: int | None, tell: Callable[[float], None], original: bool = False
) -> Iterator[Finding]:
    """Decode a fixed, class-balanced choice of files."""
    count = len(images.ids) if samples is None else min(samples, len(images.ids))
    rows: Sequence[int] = range(count) if count == len(images.ids) else subset_rows(images.ids, images.labels, count)
    sizes: Counter[tuple[int, ...]] = Counter()
    broken: list[str] = []
    for done, row in enumerate(rows, start=1):
        try:
            sizes[images.read(row).shape] += 1
        except RobustbenchError as error:
            broken.append(str(error))
        tell(done / len(rows))
    if broken:
        yield Finding("problem", f"{len(broken):,} of {len(rows):,} files cannot be used. {' | '.join(broken[:3])}")
    if not sizes:
        return
    (shape, times), *_ = sizes.most_common(1)
    if len(sizes) == 1:
        frames = f"{shape[0]} frames of " if len(shape) == 4 else ""
        text = f"all {frames}{shape[-3]}x{shape[-2]} pixels"
    else:
        sides = [side for found in sizes for side in found[-3:-1]]
        text = f"sides {min(sides)} to {max(sides)} pixels"
    yield Finding("ok", f"{sum(sizes.values()):,} files decoded, {text}")
    if original and times == len(rows) and len(rows) > 1:
        yield Finding(
            "note",
            f"every image is {shape[0]}x{shape[1]}: this is a resized copy, not the original files. Scores differ from "
            "those of the originals; say so, or use the originals.",
        )


def _tree(spec: DataSpec, tree: Tree, samples: int | None, tell: Progress) -> Iterator[Finding]:
    import corruptions

    sequences = spec.kind.endswith("-p")
    benchmark = corruptions.PERTURBATIONS if sequences else corruptions.BENCHMARK
    extra = corruptions.EXTRA_PERTURBATIONS if sequences else corruptions.EXTRA
    there = {name for name in (*benchmark, *extra) if _has(tree, name)}
    missing = [name for name in benchmark if name not in there]
    word = "perturbations" if sequences else "corruptions"
    lacking = f"; missing: {some(missing, most=20)}. Benchmark scores need all; extract the rest." if missing else ""
    yield Finding(
        "problem" if missing else "ok",
        f"{len(benchmark) - len(missing)} of the {len(benchmark)} {word} of the benchmark and "
        f"{len([n for n in extra if n in there])} of the {len(extra)} extra ones{lacking}",
    )
    if sequences:
        yield from _difficulties(tree, sorted(there))
    levels = (1,) if sequences else (1, 2, 3, 4, 5)
    cells = [(c, level) for c in (*benchmark, *extra) if c in there for level in levels]
    each = None if samples is None else max(1, samples // max(1, len(cells)))
    counts: Counter[int] = Counter()
    shapes: Counter[str] = Counter()
    for number, (condition, level) in enumerate(cells):
        label = condition if sequences else f"{condition}/{level}"
        tell(number / len(cells), label)
        try:
            images = tree.images(condition, level)
        except RobustbenchError as error:
            yield Finding("problem", str(error))
            continue
        counts[len(images.ids)] += 1
        for finding in _decode(images, each, lambda share: None):
            if finding.level == "ok":
                shapes[finding.text.partition("decoded, ")[2]] += 1
            else:
                yield Finding(finding.level, f"{label}: {finding.text}")
    tell(1.0, spec.kind)
    for count, times in counts.items():
        yield Finding("ok", f"{times} cells of {count:,} images")
    if spec.kind == "imagenet-c" and counts and VAL_IMAGES not in counts:
        yield Finding("note", f"ImageNet-C has {VAL_IMAGES:,} images a cell; this is a part of it.")
    if shapes:
        shown = ", ".join(f"{text} ({times} cells)" for text, times in shapes.items())
        yield Finding("ok", f"files of every cell decoded: {shown}")


def _has(tree: Tree, name: str) -> bool:
    if isinstance(tree, FileTree):
        return name in tree.places
    assert isinstance(tree, ArrayTree)
    return (tree.root / f"{name}.npy").is_file()


def _difficulties(tree: Tree, there: list[str]) -> Iterator[Finding]:
    folders = [folder_name(c, d) for c in there for d in (2, 3)]
    hard = [folder for folder in dict.fromkeys(folders) if folder not in there and _has(tree, folder)]
    yield Finding(
        "note",
        f"difficulty 2 and 3 have folders for noise only ({', '.join(hard) if hard else 'none here'}); for every other "
        "perturbation difficulty is the stride between compared frames, so nothing is missing.",
    )
