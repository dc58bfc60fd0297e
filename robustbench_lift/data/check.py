"""Look at data before a long run: layout, counts, a sample of files decoded, sizes, frame counts, known md5s.

Nothing is changed and nothing is fetched. Every finding is one sentence; a problem says what to do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from robustbench_lift.data.archives import archives_beside, check_archive
from robustbench_lift.data.base import ImageSet
from robustbench_lift.data.check_trees import tree_findings
from robustbench_lift.data.decode import SUFFIXES
from robustbench_lift.data.findings import Finding, Progress, Report, decoded
from robustbench_lift.data.opening import DataSpec, open_images, open_tree, parse_specs
from robustbench_lift.data.stores import open_store
from robustbench_lift.errors import RobustbenchError, UsageError
from robustbench_lift.text import printable, some

__all__ = ["SAMPLES", "Finding", "Progress", "Report", "check_data"]

SAMPLES = 200
"""Files of a data set that are decoded unless told."""
VAL_IMAGES, VAL_EACH, TRAIN_IMAGES = 50_000, 50, 1_281_167
"""Images of ILSVRC2012: val, val in each class, train."""


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
        yield from tree_findings(spec, open_tree(spec), samples, tell)
        return
    images = open_images(spec)
    yield from _counts(spec, images)
    yield from _strays(spec)
    yield from decoded(images, samples, lambda share: tell(share, images.name), original=spec.kind == "imagenet")


def _archives(spec: DataSpec, md5: bool, tell: Progress) -> Iterator[Finding]:
    for archive, path in archives_beside(spec.kind, spec.path):

        def follow(done: int, total: int, name: str = archive.file) -> None:
            tell(done / max(total, 1), f"md5 of {name}")

        wrong = check_archive(archive, path, md5=md5, progress=follow)
        if wrong is not None and spec.options.get("classes") == "partial":
            yield Finding("note", f"{wrong} (?classes=partial: taken for an archive of your own.)")
        elif wrong is not None:
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
    if spec.kind.startswith(("cifar", "tiny")) and len(there) < len(each):
        yield Finding(
            "problem",
            f"{len(each):,} classes were expected, {len(there):,} have images: it is another data set, or rows "
            "of a file that is sorted by class. A score on them is a score on that part of the classes alone.",
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
