"""The images that a tree is made from."""

from __future__ import annotations

import hashlib
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from corruptions.errors import CorruptionError

SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".bmp", ".ppm", ".tif", ".tiff", ".webp"})
"""Files that count as images, by ending in lower case."""


@dataclass(frozen=True, slots=True)
class SourceImage:
    """One image of the source folder."""

    id: str
    """`<class>/<name>` without ending: the same on every machine."""
    path: str
    """Path below the source folder."""
    label: int
    """Index of its class in sorted order."""


@dataclass(frozen=True, slots=True)
class SourceFolder:
    """All images of a folder of class folders, sorted by id."""

    root: Path
    images: tuple[SourceImage, ...]
    classes: tuple[str, ...]
    ignored: int
    """Files that are no images by their ending, or lie elsewhere than one folder deep."""

    @property
    def digest(self) -> str:
        """sha256 over all ids and labels."""
        text = "".join(f"{image.id}\t{image.label}\n" for image in self.images)
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def scan(root: Path, limit: int | None = None) -> SourceFolder:
    """Find the images.

    Args:
        root: folder of class folders.
        limit: the first so many images of every class; None takes all.

    Raises:
        CorruptionError: no such folder, no class folders, no images, a line break in a name, or two images with one id.
    """
    if not root.is_dir():
        bare = Path(str(root).partition(":")[2])
        meant = f" A path is meant here, no kind of data: {bare}." if ":" in str(root) and bare.is_dir() else ""
        raise CorruptionError(f"{root} is not a folder.{meant or ' Name a folder of class folders of images.'}")
    classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    ignored = sum(1 for entry in os.scandir(root) if entry.is_file())
    images: list[SourceImage] = []
    used: list[str] = []
    for name in classes:
        found: dict[str, str] = {}
        for entry in sorted(os.scandir(root / name), key=lambda entry: entry.name):
            stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122 - a name, millions of times
            if not entry.is_file() or suffix.lower() not in SUFFIXES or entry.name.startswith("."):
                ignored += 1
                continue
            if stem in found:
                raise CorruptionError(
                    f"{name}/{found[stem]} and {name}/{entry.name} would be written to the same file. Rename one."
                )
            if "\n" in name + stem:
                raise CorruptionError(
                    f"the name {name}/{entry.name!r} holds a line break: checksum lists have no room for it. Rename it."
                )
            found[stem] = entry.name
        kept = sorted(found)[:limit]
        if kept:
            images += [SourceImage(f"{name}/{stem}", f"{name}/{found[stem]}", len(used)) for stem in kept]
            used.append(name)
    if not images:
        hint = "images lie directly in it: put each class in a folder" if ignored else "it is empty"
        raise CorruptionError(f"{root} holds no class folders with images ({hint}).")
    return SourceFolder(root, tuple(images), tuple(used), ignored)


def read(path: Path) -> Image.Image:
    """Decode an image to RGB.

    Raises:
        CorruptionError: the file cannot be decoded; the message is the reason.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata; broken pixels raise
            with Image.open(path) as image:
                return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        reason = "not an image in a format that is known" if isinstance(error, UnidentifiedImageError) else error
        raise CorruptionError(f"{reason}") from None
