"""The published archives: size and md5, to tell a whole download from a broken one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from robustbench_lift.errors import DataError
from robustbench_lift.text import printable

CHUNK = 8 * 2**20


@dataclass(frozen=True, slots=True)
class Archive:
    """One published file."""

    file: str
    md5: str
    size: int | None = None
    """In bytes, where it is known."""


ARCHIVES: dict[str, tuple[Archive, ...]] = {
    "imagenet-c": (
        Archive("noise.tar", "e80562d7f6c3f8834afb1ecf27252745", 22_565_673_785),
        Archive("blur.tar", "2d8e81fdd8e07fef67b9334fa635e45c", 7_112_704_951),
        Archive("weather.tar", "33ffea4db4d93fe4a428c40a6ce0c25d", 12_797_438_995),
        Archive("digital.tar", "89157860d7b10d5797849337ca2e5c03", 7_757_510_705),
        Archive("extra.tar", "d492dfba5fc162d8ec2c3cd8ee672984", 15_789_490_144),
    ),
    "imagenet-p": (
        Archive("blur.tar", "869b2d2fb1604d1baa4316b5ecc9fdea"),
        Archive("digital.tar", "8c1f73e4912812788e2fdb637cd55372"),
        Archive("noise.tar", "619b37b5139ce764f77ce3bed3aee837"),
        Archive("weather.tar", "a597ff6db8c6fb0dbcd6eb12ed620002"),
    ),
    "cifar10-c": (Archive("CIFAR-10-C.tar", "56bf5dcef84df0e2308c6dcbcbbd8499"),),
    "cifar10-p": (Archive("CIFAR-10-P.tar", "125d6775afc5846ea84584d7524dedff"),),
}
"""Kind of data -> archives. Source: Zenodo records 2235448 (ImageNet-C), 3565846 (ImageNet-P), 2535967 (CIFAR-10)."""


def archives_beside(kind: str, path: Path) -> list[tuple[Archive, Path]]:
    """Published archives of a kind that lie at a path, in it, or beside it."""
    places = [path.parent] if path.is_file() else [path, path.parent]
    found = {}
    for archive in ARCHIVES.get(kind, ()):
        for place in places:
            file = place / archive.file
            if file.is_file() and archive.file not in found and (path.is_dir() or file == path):
                found[archive.file] = (archive, file)
    return list(found.values())


def check_archive(
    archive: Archive, path: Path, *, md5: bool, progress: Callable[[int, int], None] | None = None
) -> str | None:
    """What is wrong with an archive, None when nothing is.

    Args:
        archive: what was published.
        path: the file.
        md5: read all of it and compare the md5; otherwise compare the size alone.
        progress: called with (bytes read, bytes in all).

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
                if progress is not None:
                    progress(done, size)
    except OSError as error:
        raise DataError(f"{printable(path)} cannot be read: {error.strerror}.") from None
    if digest.hexdigest() != archive.md5:
        return f"{printable(path)} has md5 {digest.hexdigest()}, published is {archive.md5}. Get it again."
    return None
