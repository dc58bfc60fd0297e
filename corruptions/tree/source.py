"""The images that a tree is made from, and how each becomes what is corrupted.

Preparation (hendrycks/robustness, `create_c` and `create_p`; Pillow's antialiased bilinear throughout):

| size | image of ImageNet-C                                  | base of ImageNet-P                                    |
|------|------------------------------------------------------|-------------------------------------------------------|
| 224  | shorter side to 256, centre crop 224                 | shorter side to 256; frames show the centre 224       |
| 299  | centre 87.5 % of each side, resized to 299 x 299     | the same; translate, rotate, tilt and shear warp the  |
|      |                                                      | whole image, then each frame is cropped and resized   |
| 64   | resized to 64 x 64                                   | the same; motion_blur blurs the whole image first     |
| 32   | as it is                                             | as it is                                              |
"""

from __future__ import annotations

import hashlib
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError

from corruptions.errors import CorruptionError
from corruptions.perturbations import perturb
from corruptions.randomness import Draws
from corruptions.sequences import NOISE, TABLES, frames

Pixels = npt.NDArray[np.uint8]

SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".bmp", ".ppm", ".tif", ".tiff", ".webp"})
"""Files that count as images, by ending in lower case."""

FULL_IMAGE: dict[int, frozenset[str]] = {
    299: frozenset({"translate", "rotate", "tilt", "shear"}),
    64: frozenset({"motion_blur"}),
}
"""Sequences that work on the unprepared image, by size; each frame is prepared afterwards."""


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
        return hashlib.sha256(text.encode()).hexdigest()


def scan(root: Path, limit: int | None = None) -> SourceFolder:
    """Find the images.

    Args:
        root: folder of class folders.
        limit: the first so many images of every class; all unless told.

    Raises:
        CorruptionError: no such folder, no class folders, no images, or two images with one id.
    """
    if not root.is_dir():
        raise CorruptionError(f"{root} is not a folder. Name a folder of class folders of images.")
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


def resized(image: Image.Image, side: int) -> Image.Image:
    """Shorter side to `side`, longer side in proportion, fraction dropped."""
    width, height = image.size
    if width < height:
        return image.resize((side, int(side * height / width)), Image.Resampling.BILINEAR)
    return image.resize((int(side * width / height), side), Image.Resampling.BILINEAR)


def centre_cropped(image: Image.Image, width: int, height: int) -> Image.Image:
    """The centre; offsets rounded half to even."""
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def prepared(image: Image.Image, size: int) -> Image.Image:
    """The square that is corrupted.

    Raises:
        CorruptionError: size 32 and the image is not 32 x 32.

    >>> prepared(Image.new("RGB", (500, 375)), 224).size
    (224, 224)
    """
    if size == 224:
        return centre_cropped(resized(image, 256), 224, 224)
    if size == 299:
        inner = centre_cropped(image, int(image.width * 0.875), int(image.height * 0.875))
        return inner.resize((299, 299), Image.Resampling.BILINEAR)
    if size == 64:
        return image if image.size == (64, 64) else image.resize((64, 64), Image.Resampling.BILINEAR)
    if image.size != (size, size):
        raise CorruptionError(f"is {image.width}x{image.height} pixels; size {size} takes images as they are")
    return image


def sequence(
    image: Image.Image, name: str, *, size: int, difficulty: int, seed: int, image_id: str, device: str
) -> Pixels:
    """The perturbation sequence of one image, prepared as the benchmark of this size was: uint8 [T, size, size, 3]."""
    if name in FULL_IMAGE.get(size, ()):
        whole = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].to(device)
        draws = Draws(seed, name, difficulty if name in NOISE else 1, [image_id], device)
        made = frames(whole, name, TABLES[size], draws, difficulty=difficulty)
        shown = (Image.fromarray(frame[0].permute(1, 2, 0).contiguous().cpu().numpy()) for frame in made)
        return np.stack([np.asarray(prepared(frame, size)) for frame in shown])
    base = resized(image, 256) if size == 224 else prepared(image, size)
    batch = torch.from_numpy(np.array(base)).permute(2, 0, 1)[None].to(device)
    crop = 224 if size == 224 else None
    found = perturb(batch, name, difficulty=difficulty, seed=seed, ids=[image_id], table=size, crop=crop)
    return found[0].permute(0, 2, 3, 1).contiguous().cpu().numpy()
