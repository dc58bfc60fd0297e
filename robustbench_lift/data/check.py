"""Look at data before a long run: layout, counts, a sample of files decoded, sizes, frame counts, known md5s.

Nothing is changed and nothing is fetched. Every finding is one sentence; a problem says what to do.
"""

from __future__ import annotations

import functools
import hashlib
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np

from metrics import VOID
from robustbench_lift.data.base import ImageSet, LabelMaps, has_maps, left_out_of, notes_of
from robustbench_lift.data.folders import BESIDE, BROKEN, StoredImages
from robustbench_lift.data.kinds import Kind, kind_of, open_images, open_tree, parse_specs
from robustbench_lift.data.spec import DataSpec
from robustbench_lift.data.subset import subset_rows
from robustbench_lift.data.suites import SUITES
from robustbench_lift.data.tree import Tree, folder_name
from robustbench_lift.errors import DataError, RobustbenchError, UsageError
from robustbench_lift.text import listed, printable

SAMPLES = 200
"""Files of a data set that are decoded by default."""
CHUNK = 8 * 2**20

Progress = Callable[[float, str], None]
"""Called with the share that is done, 0..1, and what is under way."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about the data."""

    level: str
    """ok, note or problem."""
    text: str


@dataclass(frozen=True, slots=True)
class CheckReport:
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
) -> list[CheckReport]:
    """Check every part of a data spec.

    Args:
        spec: as `open_images` and `open_tree` take it, parts joined by commas.
        samples: files of each part that are decoded, a fixed choice; None decodes all.
        md5: compare the md5 of published archives that lie there (reads all of them).
        progress: called as the check goes on.

    Raises:
        UsageError: the spec means nothing.

    >>> [finding.level for finding in check_data("photos")[0].findings]
    ['ok', 'ok']
    """
    if samples is not None and samples < 1:
        raise UsageError(f"--samples {samples}: expected 1 or more, or --all.")
    reports = []
    for part in parse_specs(spec):
        name = f"{part.kind}:{printable(part.path)}" if kind_of(part).takes_path else part.kind
        findings: list[Finding] = []
        try:
            for finding in _part(part, samples, md5, progress or (lambda share, doing: None)):
                findings.append(finding)
        except RobustbenchError as error:
            findings.append(Finding("problem", str(error)))
        reports.append(CheckReport(name, tuple(findings)))
    return reports


def _part(spec: DataSpec, samples: int | None, md5: bool, progress: Progress) -> Iterator[Finding]:
    yield from _archives(spec, md5, progress)
    kind = kind_of(spec)
    if kind.tree is not None:
        yield from _tree(kind, open_tree(spec), samples, progress)
        return
    images = open_images(spec)
    if has_maps(images):
        yield from _left_out(images)
        yield from _maps(images, samples, lambda share: progress(share, images.name))
        return
    yield from _counts(kind, images)
    yield from _left_out(images)
    deeper = [name for name in images.ids if name.count("/") > 1]
    if deeper:
        yield Finding("note", f"{len(deeper):,} images lie deeper than their class folder ({listed(deeper, most=3)})")
    yield from (Finding("note", note) for note in notes_of(images))
    yield from _decoded(images, samples, lambda share: progress(share, images.name), original=kind.expected.original)


def _counts(kind: Kind, images: ImageSet) -> Iterator[Finding]:
    each = np.bincount(images.labels, minlength=len(images.class_names))
    there = each[each > 0]
    yield Finding(
        "ok",
        f"{len(images.ids):,} images in {len(there):,} classes, {there.min():,} to {there.max():,} a class",
    )
    expected = kind.expected
    if expected.images is not None and len(images.ids) != expected.images:
        yield Finding(
            "problem" if len(images.ids) < expected.images else "note",
            f"{kind.name} has {expected.images:,} images, here are {len(images.ids):,}: it is cut short, or another "
            "data set lies here. Extract the archive again.",
        )
    if expected.all_classes and len(there) < len(each):
        yield Finding(
            "problem",
            f"{len(each):,} classes were expected, {len(there):,} have images: it is another data set, or rows "
            "of a file that is sorted by class. A score on them is a score on that part of the classes alone.",
        )
    if expected.each is None or len(there) < len(each) or len(images.ids) in expected.parts.values():
        return
    if there.max() <= expected.each:
        short = [images.class_names[k] for k in np.flatnonzero(each < expected.each)]
        yield Finding(
            "problem" if there.max() == expected.each else "note",
            f"{kind.name}'s val has {expected.each} images in each class ({expected.parts['val']:,}); {len(short):,} "
            f"classes have fewer: {listed(short)}. Extract the archive again, unless this is a subset on purpose.",
        )
    else:
        parts = " nor ".join(f"{name} ({count:,} images)" for name, count in expected.parts.items())
        yield Finding("note", f"neither {parts} of {kind.name}.")


def _maps(images: LabelMaps, samples: int | None, progress: Callable[[float], None]) -> Iterator[Finding]:
    """Images and label maps: what is wrong with some, and the share of pixels of each class."""
    yield Finding("ok", f"{len(images.ids):,} images with label maps of {len(images.class_names):,} classes")
    whole = samples is None or samples >= len(images.ids)
    rows = range(len(images.ids)) if whole else subset_rows(images.ids, images.labels, samples or 0)
    counts = np.zeros(256, dtype=np.int64)
    wrong: list[str] = []
    void: list[str] = []
    for done, row in enumerate(rows, start=1):
        try:
            target = images.target(row, images.read(row).shape[:2])
        except RobustbenchError as error:
            wrong.append(str(error))
        else:
            counts += np.bincount(target.ravel(), minlength=256)
            if (target == VOID).all():
                void.append(images.ids[row])
        progress(done / len(rows))
    if wrong:
        yield Finding("problem", f"{len(wrong):,} of {len(rows):,} pairs cannot be used. {' | '.join(wrong[:3])}")
    if void:
        yield Finding(
            "note", f"{len(void):,} label maps are void throughout ({listed(void, most=3)}): they count nothing"
        )
    if not counts.sum():
        return
    of_classes = list(zip(images.class_names, counts[: len(images.class_names)], strict=True))  # void follows
    shares = [f"{name} {count / counts.sum():.1%}" for name, count in of_classes]
    text = f"pixels of {len(rows) - len(wrong):,} maps: {', '.join(shares)}, void {counts[VOID] / counts.sum():.1%}"
    yield Finding("ok", text.replace("%", " %"))
    absent = [name for name, count in of_classes if not count]
    if absent and whole:
        yield Finding(
            "note", f"no pixel of {listed(absent)}: mIoU is a mean over the classes that are there or predicted"
        )


def _left_out(images: ImageSet) -> Iterator[Finding]:
    """One line a reason for which files are left out, with the first of them."""
    names = images.omitted if isinstance(images, StoredImages) else {}
    for reason, count in left_out_of(images).items():
        examples = f" ({listed(names[reason], most=3)})" if reason in names else ""
        level = "problem" if reason in (BESIDE, BROKEN) else "note"
        yield Finding(level, f"{count:,} files are left out: {reason}{examples}")


def _decoded(
    images: ImageSet,
    samples: int | None,
    progress: Callable[[float], None],
    *,
    original: bool = False,
    seed: int = 0,
) -> Iterator[Finding]:
    """Decode a fixed, class-balanced choice of files.

    Args:
        images: the set.
        samples: how many; None decodes all.
        progress: called with the share that is done.
        original: whether these should be ImageNet's own files, of many sizes.
        seed: another choice.
    """
    count = len(images.ids) if samples is None else min(samples, len(images.ids))
    whole = count == len(images.ids)
    rows: Sequence[int] = range(count) if whole else subset_rows(images.ids, images.labels, count, seed)
    sizes: Counter[tuple[int, ...]] = Counter()
    broken: Counter[str] = Counter()
    first: dict[str, str] = {}
    pictures: dict[bytes, int] = {}
    twins: list[str] = []
    for done, row in enumerate(rows, start=1):
        try:
            pixels = images.read(row)
            sizes[pixels.shape] += 1
            other = pictures.setdefault(hashlib.blake2b(pixels.tobytes(), digest_size=16).digest(), row)
            if images.labels[other] != images.labels[row]:
                twins.append(f"{images.ids[other]} and {images.ids[row]}")
        except RobustbenchError as error:
            reason = str(error).replace(images.ids[row].rpartition("/")[2], "").partition(" ")[2]
            first.setdefault(reason, str(error))
            broken[reason] += 1
        progress(done / len(rows))
    if broken:
        reasons = [
            first[reason] + (f" ({times:,} files of this kind)" if times > 1 else "")
            for reason, times in broken.most_common(3)
        ]
        yield Finding("problem", f"{broken.total():,} of {len(rows):,} files cannot be used. {' | '.join(reasons)}")
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
    if twins:
        yield Finding(
            "note",
            f"{len(twins):,} of these pictures lie in another class too ({listed(twins, most=3)}): whatever a network "
            "answers to them, it is wrong once.",
        )
    if original and times == len(rows) and len(rows) > 1:
        yield Finding(
            "note",
            f"every image is {shape[0]}x{shape[1]}: this is a resized copy, not the original files. Scores differ from "
            "those of the originals; say so, or use the originals.",
        )


class CheckedCell(NamedTuple):
    """A cell of a tree and what was found in it."""

    condition: str
    severity: int
    finding: Finding


def _tree(kind: Kind, tree: Tree, samples: int | None, progress: Progress) -> Iterator[Finding]:
    """Which cells are there, what each shows, and one line for what is wrong with many alike.

    `samples` files are decoded in all, spread over the cells, others in each.
    """
    sequences = kind.serves == "perturbation"
    suite = SUITES[kind.suites[kind.serves]]
    benchmark = suite.conditions
    extra = SUITES[f"{suite.name}-extra"].conditions if f"{suite.name}-extra" in SUITES else ()
    levels = (1,) if sequences else (1, 2, 3, 4, 5)
    cells = [(c, level) for c in (*benchmark, *extra) for level in levels if tree.holds(c, level)]
    there = list(dict.fromkeys(condition for condition, _ in cells))
    missing = [name for name in benchmark if name not in there]
    word = "perturbations" if sequences else "corruptions"
    lacking = f"; missing: {listed(missing, most=20)}. Benchmark scores need all; extract the rest." if missing else ""
    others = f" and {len([n for n in extra if n in there])} of the {len(extra)} extra ones" if extra else ""
    yield Finding(
        "problem" if missing else "ok",
        f"{len(benchmark) - len(missing)} of the {len(benchmark)} {word} of {suite.title}{others}{lacking}",
    )
    if sequences:
        yield _difficulties(tree, sorted(there))
    try:
        tree.require(there, levels)
    except RobustbenchError as error:
        yield Finding("problem", str(error))
    each = None if samples is None else max(1, samples // max(1, len(cells)))
    counts: Counter[int] = Counter()
    shapes: Counter[str] = Counter()
    found: list[CheckedCell] = []
    for number, (condition, level) in enumerate(cells):
        label = condition if sequences else f"{condition}/{level}"
        progress(number / len(cells), label)
        try:
            images = tree.images(condition, level)
        except RobustbenchError as error:
            found.append(CheckedCell(condition, level, Finding("problem", str(error))))
            continue
        counts[len(images.ids)] += 1
        for finding in (*_left_out(images), *_decoded(images, each, lambda share: None, seed=number)):
            if finding.level == "ok":
                shapes[finding.text.partition("decoded, ")[2]] += 1
            else:
                found.append(CheckedCell(condition, level, Finding(finding.level, f"{label}: {finding.text}")))
    progress(1.0, kind.name)
    yield from _merged(found, sequences)
    for count, times in counts.items():
        yield Finding("ok", f"{_cells(times)} of {count:,} images")
    if kind.expected.cell is not None and counts and kind.expected.cell not in counts:
        yield Finding("note", f"{kind.name} has {kind.expected.cell:,} images a cell; this is a part of it.")
    if shapes:
        shown = ", ".join(f"{text} ({_cells(times)})" for text, times in shapes.items())
        yield Finding("ok", f"files of every cell decoded: {shown}")


def _merged(cells: Iterable[CheckedCell], sequences: bool) -> Iterator[Finding]:
    """Findings that differ in nothing but the cell become one: the first, and which cells have the same."""
    alike: dict[tuple[str, str], list[CheckedCell]] = {}
    for cell in cells:
        # words that hold the path of the cell are left out of the comparison
        text = re.sub(rf"\S*{re.escape(cell.condition)}\S*", "", cell.finding.text)
        alike.setdefault((cell.finding.level, text), []).append(cell)
    for (level, _), same in alike.items():
        severities: dict[str, list[int]] = {}
        for cell in same:
            severities.setdefault(cell.condition, []).append(cell.severity)
        names = [c if sequences else f"{c}/{_ranges(found)}" for c, found in severities.items()]
        also = f" The same in {len(same) - 1} more, in all: {listed(names, most=20)}." if len(same) > 1 else ""
        yield Finding(level, same[0].finding.text + also)


def _ranges(severities: list[int]) -> str:
    """Severities in a few characters.

    >>> _ranges([1, 2, 3, 4, 5]), _ranges([2, 5])
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


class Archive(NamedTuple):
    """One published file."""

    md5: str
    size: int | None = None
    """In bytes, where it is known."""


@functools.cache
def published_archives() -> dict[str, dict[str, Archive]]:
    """Kind of data -> file name -> what was published.

    >>> published_archives()["imagenet-c"]["noise.tar"].size
    22565673785
    """
    text = resources.files("robustbench_lift.data").joinpath("archives.toml").read_text(encoding="utf-8")
    return {
        kind: {name: Archive(**entry) for name, entry in files.items()} for kind, files in tomllib.loads(text).items()
    }


def _archives(spec: DataSpec, md5: bool, progress: Progress) -> Iterator[Finding]:
    """Published archives that lie at a path, in it, or beside it, compared with what was published."""
    path = spec.path
    for name, archive in published_archives().get(spec.kind, {}).items():
        places = [path.parent] if path.is_file() else [path, path.parent]
        file = next((place / name for place in places if (place / name).is_file()), None)
        if file is None or (path.is_file() and file != path):
            continue
        wrong = check_archive(archive, file, md5=md5, progress=progress)
        if wrong is not None and spec.options.get("classes") in ("partial", "subset"):
            yield Finding("note", f"{wrong} (?classes={spec.options['classes']}: taken for an archive of your own.)")
        elif wrong is not None:
            yield Finding("problem", wrong)
        elif md5:
            yield Finding("ok", f"{name}: md5 {archive.md5}, as published")
        elif archive.size is not None:
            yield Finding("ok", f"{name}: {archive.size:,} bytes, as published (--checksums compares its md5)")


def check_archive(archive: Archive, path: Path, *, md5: bool, progress: Progress) -> str | None:
    """What is wrong with an archive, None when nothing is.

    Args:
        archive: what was published.
        path: the file.
        md5: read all of it and compare the md5; otherwise compare the size alone.
        progress: called as the file is read.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        size = path.stat().st_size
        if archive.size is not None and size != archive.size:
            verb = "is cut short" if size < archive.size else "is too long"
            return (
                f"{printable(path)} {verb}: {size:,} bytes, published are {archive.size:,}. Resume the download, or "
                "get it again."
            )
        if not md5:
            return None
        digest = hashlib.md5(usedforsecurity=False)
        done = 0
        with path.open("rb") as stream:
            while piece := stream.read(CHUNK):
                digest.update(piece)
                done += len(piece)
                progress(done / max(size, 1), f"md5 of {path.name}")
    except OSError as error:
        raise DataError(f"{printable(path)} cannot be read: {error.strerror}.") from None
    if digest.hexdigest() != archive.md5:
        return f"{printable(path)} has md5 {digest.hexdigest()}, published is {archive.md5}. Get it again."
    return None
