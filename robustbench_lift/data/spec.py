"""The grammar of data specs: `<kind>:<path>?<option>=<value>&...`, several joined by commas.

photos                                    a kind that takes no path
imagenet:/data/imagenet/val               a kind and where it lies
imagenet:/data/val?resize=232&crop=224    options of that kind
imagenet:/data/val,imagenet-c:/data/c     clean images and official corruptions of one run

What the kinds are is said in `data.kinds`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from robustbench_lift.errors import UsageError
from robustbench_lift.text import printable


@dataclass(frozen=True, slots=True)
class DataSpec:
    """One part of a data spec."""

    kind: str
    """Name of the kind of data."""
    path: Path = field(default_factory=Path)
    """Where it lies; nothing for a kind that takes no path."""
    options: dict[str, str] = field(default_factory=dict)
    """As they were written."""

    def __str__(self) -> str:
        """The spec as a user writes it.

        >>> str(DataSpec("imagenet", Path("/d/val"), {"resize": "232"}))
        'imagenet:/d/val?resize=232'
        """
        options = "&".join(f"{key}={value}" for key, value in self.options.items())
        place = "" if self.path == Path() else f":{self.path}"
        return self.kind + place + (f"?{options}" if options else "")

    def pixels(self, key: str, default: int | None) -> int | None:
        """An option that is a number of pixels, or `none`.

        Raises:
            UsageError: it is neither.
        """
        text = self.options.get(key)
        if text is None:
            return default
        if text == "none":
            return None
        if not re.fullmatch(r"[1-9][0-9]{0,4}", text):
            raise UsageError(f"?{key}={printable(text)}: expected a number of pixels, or none.")
        return int(text)


def split(text: str, kinds: Collection[str]) -> list[str]:
    """The parts of a data spec; a comma inside a path is part of the path.

    >>> split("imagenet:/a,b/val,imagenet-c:/c", ["imagenet", "imagenet-c"])
    ['imagenet:/a,b/val', 'imagenet-c:/c']
    """
    return re.split(rf",(?=(?:{'|'.join(map(re.escape, kinds))}):)", text)


def parse(text: str, kinds: Collection[str], *, without_path: Collection[str] = ()) -> DataSpec:
    """One part of a data spec.

    Args:
        text: the part.
        kinds: names of all kinds.
        without_path: those of them that take no path.

    Raises:
        UsageError: no known kind, no path, an option without a value or one that is given twice.

    >>> parse("imagenet:/d/val?resize=232&crop=none", ["imagenet"]).options
    {'resize': '232', 'crop': 'none'}
    """
    kind, colon, rest = text.partition(":")
    if text in without_path:
        return DataSpec(text)
    if kind in without_path:
        raise UsageError(f"{printable(text)!r}: {kind} takes no path and no options; write {kind}.")
    if kind in kinds and not rest:
        raise UsageError(f"{printable(text)!r} names no folder: write {kind}:PATH.")
    if not colon or not rest or "/" in kind:
        raise UsageError(
            f"{printable(text)!r} is no data spec. Say what it is: imagenet:{printable(text)}, folder:... "
            f"Kinds: {', '.join(kinds)}."
        )
    match = re.fullmatch(r"(.*?)(?:\?([A-Za-z_]+=[^?]*))?", rest, re.DOTALL)
    assert match is not None
    options: dict[str, str] = {}
    for part in (match[2] or "").split("&"):
        key, equals, value = part.partition("=")
        if part and (not equals or not value):
            raise UsageError(
                f"{printable(text)!r}: option {printable(part)!r} has no value; write ?{printable(key)}=..."
            )
        if key in options:
            raise UsageError(f"{printable(text)!r}: option {printable(key)!r} is given twice.")
        if part:
            options[key] = value
    return DataSpec(kind, Path(match[1]).expanduser(), options)
