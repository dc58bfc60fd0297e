"""What `check` finds: sentences, and the files of one image set decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from robustbench_lift.data.base import ImageSet
from robustbench_lift.data.subset import subset_rows
from robustbench_lift.errors import RobustbenchError

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


def decoded(
    images: ImageSet, samples: int | None, tell: Callable[[float], None], *, original: bool = False, seed: int = 0
) -> Iterator[Finding]:
    """Decode a fixed, class-balanced choice of files.

    Args:
        images: the set.
        samples: how many; None decodes all.
        tell: told the share that is done.
        original: whether these should be ImageNet's own files, of many sizes.
        seed: another choice.
    """
    count = len(images.ids) if samples is None else min(samples, len(images.ids))
    whole = count == len(images.ids)
    rows: Sequence[int] = range(count) if whole else subset_rows(images.ids, images.labels, count, seed)
    sizes: Counter[tuple[int, ...]] = Counter()
    broken: Counter[str] = Counter()
    first: dict[str, str] = {}
    for done, row in enumerate(rows, start=1):
        try:
            sizes[images.read(row).shape] += 1
        except RobustbenchError as error:
            reason = str(error).replace(images.ids[row].rpartition("/")[2], "").partition(" ")[2]
            first.setdefault(reason, str(error))
            broken[reason] += 1
        tell(done / len(rows))
    if broken:
        shown = " | ".join(
            first[reason] + (f" ({times:,} files of this kind)" if times > 1 else "")
            for reason, times in broken.most_common(3)
        )
        yield Finding("problem", f"{broken.total():,} of {len(rows):,} files cannot be used. {shown}")
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
